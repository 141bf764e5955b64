"""The dry run: check everything that could fail tonight, ask the PACS by C-FIND alone, say what a run would do.

It takes no place, starts no receiver, and writes nothing but the plan; the checkpoint is read from a copy.
"""

import contextlib
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Never

from tqdm import tqdm

from niffler import findings, forecast, readiness, signals, slots
from niffler.checkpoint import read_other_splits, read_verified
from niffler.dcm4che import Tools
from niffler.errors import CannotStartError, NifflerError, StoppedError
from niffler.findings import MATCHED, Finding, Found, Plan
from niffler.known import Known, carried_rows
from niffler.ledger import Record, read_ledger
from niffler.lookup import LookupRules
from niffler.metadata import OUTPUT_NAME
from niffler.part import read_part
from niffler.plan_words import in_words
from niffler.readiness import Check, Verdict
from niffler.settings import InformationModel, Mode, Settings
from niffler.shards import modified_csv, of_shard
from niffler.survey import Survey

_MOST_MATCHES = 1000
_SECONDS_BETWEEN_LINES = 60.0


def run(settings: Settings) -> int:
    """Check, ask, plan; returns the exit code."""
    _say(f"Dry run of {settings.csv_file}: nothing is moved, and no extraction is hindered.\n")
    with tempfile.TemporaryDirectory(prefix=slots.PRIVATE_FOLDER) as name:
        folder = Path(name)
        exit_codes: list[int] = []

        def passes(check: Check) -> bool:
            _say(f"{check.verdict:<6}{check.text}")
            exit_codes.extend([check.exit_code] if check.verdict is Verdict.WRONG else [])
            return check.verdict is not Verdict.WRONG

        plan = Plan()
        tools = Tools.of(settings.system, folder)
        for warning in settings.warnings:
            passes(readiness.note(warning))
        has_list = passes(readiness.tried(lambda: _read_list(settings, plan))) and passes(
            readiness.tried(lambda: _take_up_checkpoint(settings, plan))
        )
        for check in readiness.of_folders(settings):
            passes(check)
        can_ask = passes(readiness.of_tools(tools))
        if settings.wants_email:
            passes(readiness.of_email(settings))
        passes(readiness.of_time(settings, datetime.now()))
        if passes(_source_is_free(settings)):
            for check in readiness.of_places(settings):
                passes(check)
            can_ask = passes(readiness.of_pacs(settings)) and can_ask
            if settings.mode is Mode.RETRIEVE:
                passes(readiness.of_way_back(settings))
        else:
            can_ask = False
        if not has_list:
            return exit_codes[0]
        reason = _ask(settings, plan, tools, folder) if can_ask else None
        modified = settings.modified_csv
        findings.write_plan(modified, plan.worklist, plan.findings)
        _say("\n" + "\n".join(in_words(settings, plan, forecast.measured(_known_records(modified, plan)))))
        if exit_codes:
            _say("An extraction could not start now: see the lines that begin with WRONG.")
            return min(exit_codes)
        if reason is not None:
            return reason.exit_code
        counts = findings.count(plan.worklist, plan.findings)
        return 0 if set(counts) - {Found.NOT_ASKED} <= MATCHED else 1


def _read_list(settings: Settings, plan: Plan) -> str:
    plan.worklist = read_part(settings)
    plan.findings = [findings.NOT_ASKED] * len(plan.worklist.requests)
    for warning in plan.worklist.warnings:
        _say(f"{Verdict.NOTE:<6}{warning}")
    table, faults = plan.worklist.table, plan.worklist.faults
    asked_by = ", ".join(f"{one.keyword} (column {one.index})" for one in settings.attributes)
    return f"{settings.csv_file}: {len(table)} rows, {len(faults)} of them invalid, asked by {asked_by}"


def _take_up_checkpoint(settings: Settings, plan: Plan) -> str:
    """What is complete already is not asked about, as in a run."""
    retrieves = settings.mode is Mode.RETRIEVE
    whole = modified_csv(settings.csv_file) if retrieves else settings.storage_folder / OUTPUT_NAME
    here = read_verified(of_shard(whole, settings.shard))
    plan.known = Known(here, read_other_splits(whole, settings.shard))
    for index, result in carried_rows(plan.known, plan.worklist.requests, retrieves=retrieves).items():
        images = result.expected if retrieves and result.studies else None
        plan.findings[index] = Finding(Found.COMPLETE, result.studies, images, detail=result.detail)
    rows = findings.count(plan.worklist, plan.findings).get(Found.COMPLETE, 0)
    return f"the checkpoint beside the list: {rows} rows are complete already" if rows else "no row is complete yet"


def _source_is_free(settings: Settings) -> Check:
    source = str(settings.system.src_aet)
    if not slots.is_source_in_use(source):
        return Check(f"no extraction asks {source} at the moment")
    return readiness.wrong(
        CannotStartError(
            f"an extraction uses {source} now, and is left alone: neither the PACS nor the port is tried; the dry run "
            "can be started again when that has ended"
        )
    )


def _ask(settings: Settings, plan: Plan, tools: Tools, folder: Path) -> NifflerError | None:
    """Ask for every row, or for a sample of them; returns why not all of them were asked."""
    system = settings.system
    retrieves = settings.mode is Mode.RETRIEVE
    rules = LookupRules(
        patient_root=system.information_model is InformationModel.PATIENT_ROOT,
        return_keywords=("ModalitiesInStudy",),
        most_studies=system.max_studies_per_row if retrieves else None,
        most_matches=max(system.max_studies_per_row, _MOST_MATCHES),
    )
    plan.wanted = [index for index, one in enumerate(plan.findings) if one.found is Found.NOT_ASKED]
    chosen = findings.sample(plan.wanted, settings.dry_run_rows)
    survey = Survey(plan.worklist.requests, chosen, rules, system)
    whole = "" if len(chosen) == len(plan.wanted) else f" of {len(plan.wanted)}, spread over the list"
    _say(f"\nAsking {system.src_aet} by C-FIND, over one association: {len(chosen)} different rows{whole}.")

    def leave_to_extraction() -> None:
        if slots.is_source_in_use(str(system.src_aet)):
            raise CannotStartError("an extraction from the same PACS has begun; start the dry run again after it")

    asked = 0
    bar: tqdm[Never] = tqdm(total=len(chosen), unit="row", disable=not sys.stderr.isatty())
    said_at = time.monotonic()
    try:
        with signals.stopping(survey.stop):
            for request, lookup in survey.answers(tools, folder, before_asking=leave_to_extraction):
                plan.note(request, lookup, system.max_studies_per_row if retrieves else rules.most_matches)
                asked += 1
                bar.update()
                if bar.disable and time.monotonic() - said_at > _SECONDS_BETWEEN_LINES:
                    said_at = time.monotonic()
                    _say(f"{asked} of {len(chosen)} are asked")
    except NifflerError as reason:
        bar.close()
        why = "stopped" if isinstance(reason, StoppedError) else str(reason)
        _say(f"{why}: {asked} of {len(chosen)} were asked")
        return reason
    bar.close()
    return None


def _known_records(modified: Path, plan: Plan) -> list[Record]:
    """What this list and those beside it have retrieved so far."""
    records = list(plan.known.records)
    for ledger in sorted(modified.parent.glob("*_mod*.csv.studies.csv")):
        if ledger.name != f"{modified.name}.studies.csv":
            with contextlib.suppress(NifflerError):  # a run may be writing it
                records += read_ledger(ledger)
    return records


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
