"""The report of a list, made anew from its files alone: of one run, or of all shards of the list together."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from niffler.checkpoint import Verified, ledger_of, read_other_splits, read_verified
from niffler.former import read_outcomes, results_now
from niffler.head import Head, head_json, read_head
from niffler.known import Known
from niffler.outcomes import outcomes_csv, unfinished_csv, write_outcomes
from niffler.report import figures_of, report_html, write_page
from niffler.settings import Mode, Settings
from niffler.settings_told import settings_told
from niffler.shards import other_splits
from niffler.split import Part, Standing, in_words, newest_split, parts_of
from niffler.versions import versions
from niffler.vocabulary import PENDING, Request, RowResult
from niffler.worklist import Worklist, read_list


def run(settings: Settings) -> int:
    """Make the page anew for the list that the settings name; returns the exit code."""
    modified = settings.modified_csv
    if settings.shard is None and (count := newest_split(modified)) > 1:
        return _run_for_all(settings, parts_of(modified, count))
    head = read_head(head_json(modified))
    note = ""
    if head is None:
        head, note = _head_of_now(settings)
    figures = figures_of(settings, None)
    write_page(settings, head, figures, as_of=datetime.now(), is_running=False, note_on_settings=note)
    sys.stdout.write(f"{report_html(modified)}\n")
    return 0


def _head_of_now(settings: Settings) -> tuple[Head, str]:
    head = Head(str(settings.csv_file), "", settings_told(settings), versions(), ())
    return head, "As they are now: no run has left a note with which it was made."


def _run_for_all(settings: Settings, parts: Sequence[Part]) -> int:
    """One page and one pair of outcome files for all shards of a list."""
    modified = settings.modified_csv
    worklist = _merge_outcomes(settings, parts)
    head, note = _head_of_all(settings, parts)
    figures = figures_of(settings, worklist.lines, _ledgers(settings, parts))
    write_page(
        settings, head, figures, as_of=datetime.now(), is_running=False, note_on_settings=note, state=_state_of(parts)
    )
    for file in (outcomes_csv(modified), unfinished_csv(modified), report_html(modified)):
        sys.stdout.write(f"{file}\n")
    return 0


def _merge_outcomes(settings: Settings, parts: Sequence[Part]) -> Worklist:
    """Write the outcomes of all shards as those of the list: by their checkpoints, which are ahead of their files."""
    read = partial(read_list, settings)
    worklist = read(settings.csv_file)
    former: dict[Request, RowResult] = {}
    for part in parts:
        former |= read_outcomes(outcomes_csv(part.modified), read)
    if settings.mode is Mode.RETRIEVE:
        present = [read_verified(part.modified) for part in parts]
        known = Known(Verified({}, ()), [*read_other_splits(settings.modified_csv, parts[0].shard), *present])
        results = results_now(known, worklist, former)
    else:
        results = [former.get(request, PENDING) for request in worklist.requests]
    write_outcomes(settings.modified_csv, worklist, results)
    return worklist


def _head_of_all(settings: Settings, parts: Sequence[Part]) -> tuple[Head, str]:
    """The runs of all shards, with the settings of one of them; also a note about these."""
    heads = [(part, head) for part in parts if (head := read_head(head_json(part.modified))) is not None]
    if not heads:
        return _head_of_now(settings)
    part, first = heads[0]
    *runs, last = sorted((run for _, head in heads for run in head.runs), key=lambda run: run.started)
    is_running = any(part.standing is Standing.RUNS for part in parts)
    ended = max((run.ended for run in (*runs, last) if run.ended is not None), default=None)
    last = replace(last, ended=None if is_running else ended)
    return replace(first, runs=(*runs, last)), f"Those of shard {part.shard}; others have addresses of their own."


def _ledgers(settings: Settings, parts: Sequence[Part]) -> Sequence[Path]:
    """Those of all splits, as what was complete in another one stays there; the present ones have the last word."""
    if settings.mode is not Mode.RETRIEVE:
        return ()
    others = other_splits(settings.modified_csv, parts[0].shard)
    return [ledger_of(base) for base in (*others, *(part.modified for part in parts))]


def _state_of(parts: Sequence[Part]) -> tuple[str, str]:
    """How the list stands as a whole, and which of its shards do not go on by themselves."""
    if all(part.standing is Standing.COMPLETE for part in parts):
        return "Complete", ""
    to_be_started = [f"{part.shard} ({part.standing.value})" for part in parts if part.standing.is_to_be_started]
    ending = f"{in_words(parts)} of {len(parts)} shards"
    if to_be_started:
        ending += f"; to be started again: {', '.join(to_be_started)}"
    return "Running" if any(part.standing is Standing.RUNS for part in parts) else "Not complete", ending
