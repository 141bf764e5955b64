"""The long form of the fault tests: a long list, everything that goes wrong at random, restarts until it is done.

python -m tests.faults.soak --rows 5000 --seed 1 --results tests/faults
"""

import argparse
import contextlib
import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from demo.studies import WrittenStudy, write_study
from tests.extraction import TOOLS, Extraction, wait_until
from tests.faults.promises import PROMISES, Evidence, broken
from tests.faults.scenarios import SCENARIOS, cannot_mount
from tests.faults.stage import Stage, staged
from tests.pacs import faults
from tests.pacs.fault import Fault, Occasion

ROWS = 5000
SHARE = 0.03
_LONGEST_RUN_SECONDS = 3600.0
_LONGEST_STANDSTILL_SECONDS = 180.0
_LONGEST_DISTURBANCE_SECONDS = 2400.0
"""Then nothing goes wrong any more, so that a slow machine comes to an end within the hour."""
_AT_THE_START = 0.3
"""This share of the kills comes in the first seconds of a run."""


# What goes wrong with a row


def row_faults(other: str) -> dict[str, Fault]:
    """Everything that a PACS does to a single study, by the name in the table; ``other`` is some other study."""
    statuses = (0xA700, 0xA701, 0xA702, 0x0213, 0xA900, 0xB000, 0xC000, 0xC512, 0x0110, 0x0122, 0x0124, 0xFE00)
    return {
        **{f"C-FIND ends with {status:04X}H": faults.answer_find(status) for status in statuses},
        **{
            f"C-MOVE ends with {status:04X}H after an image": faults.answer_move(status, after=1) for status in statuses
        },
        "C-MOVE ends with A801H": faults.answer_move(0xA801),
        "C-FIND: association aborted": faults.abort("find"),
        "C-FIND: connection cut after a match": faults.drop("find", after=1),
        "C-FIND: no answer": faults.hang("find"),
        "C-FIND: PatientID ignored": faults.ignore_key("PatientID"),
        "C-FIND: AccessionNumber ignored": faults.ignore_key("AccessionNumber"),
        "C-FIND: the whole archive": faults.ignore_key(),
        "C-FIND: every match three times": faults.repeat_matches(3),
        "C-FIND: cut off with A700H": faults.cut_off(0),
        "C-FIND: no PatientID": faults.omit("PatientID"),
        "C-FIND: no number of instances": faults.omit("NumberOfStudyRelatedInstances"),
        "C-FIND: number of instances 0": faults.announce(0),
        "C-FIND: one instance more announced": faults.announce_more(1),
        "C-FIND: PatientID with blanks": faults.pad(),
        "C-FIND: another patient's ID": faults.answer_with("PatientID", "SOMEBODY"),
        "C-MOVE: association aborted after an image": faults.abort("move", after=1),
        "C-MOVE: connection cut after an image": faults.drop("move", after=1),
        "C-MOVE: no answer after an image": faults.hang("move", after=1),
        "C-MOVE: one instance fewer, counted as sent": faults.withhold(1),
        "C-MOVE: success with 0 images": faults.send_nothing(),
        "C-MOVE: one instance failed": faults.fail_instances(1),
        "C-MOVE: everything twice": faults.send_twice(is_counted=True),
        "C-MOVE: one instance twice for another": faults.repeat_one_for_another(),
        "C-MOVE: another patient's image too": faults.send_other(other),
        "C-MOVE: another patient's image instead": faults.send_other(other, instead=True),
        "C-MOVE: no counts": faults.no_counts(),
        "C-MOVE: no pending responses": faults.no_pending_responses(),
        "C-MOVE: goes on sending when the association is gone": faults.keep_sending(),
    }


def association_faults(seed: int) -> dict[str, Fault]:
    """What happens to any association, whatever it is for."""
    return {
        "association rejected": faults.reject().at_random(SHARE, seed),
        "association aborted at its beginning": faults.abort("association").at_random(SHARE, seed + 1),
        "association aborted midway": faults.abort("find", "move").at_random(SHARE / 5, seed + 2),
    }


# What goes wrong with everything


@dataclass
class Soak:
    """One soak: its stage, what was tried how often, and when what comes next."""

    stage: Stage
    chance: random.Random
    disk: Path | None
    """A small file system, where one could be mounted."""
    tried: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    @property
    def images(self) -> Path:
        """Where StorageFolder really is."""
        return self.stage.folder / "disk" / "images"

    def signal(self, number: int) -> Callable[["subprocess.Popen[str]"], bool]:
        def send(process: "subprocess.Popen[str]") -> bool:
            process.send_signal(number)
            return self.has_ended(process)

        return send

    def kill_tool(self, name: str) -> Callable[["subprocess.Popen[str]"], bool]:
        def kill(process: "subprocess.Popen[str]") -> bool:
            end = time.monotonic() + 10
            while process.poll() is None and time.monotonic() < end:
                if self.stage.kill_tool(name):
                    return True
                time.sleep(0.02)
            return False

        return kill

    def send_the_pacs_away(self, process: "subprocess.Popen[str]") -> bool:
        self.stage.pacs.go_away(self.chance.uniform(0.2, 4.0))
        return True

    def fill_the_disk(self, process: "subprocess.Popen[str]") -> bool:
        if self.disk is None:
            return False
        ballast = self.disk / "ballast"
        try:
            with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
                while True:
                    stream.write(bytes(1 << 20))
            with ballast.open("ab", buffering=0) as stream, contextlib.suppress(OSError):
                while True:
                    stream.write(bytes(1 << 12))
            return self.has_ended(process)
        finally:
            ballast.unlink()

    def take_the_storage_away(self, process: "subprocess.Popen[str]") -> bool:
        if not self.images.exists():
            return False
        elsewhere = self.images.with_name("elsewhere")
        self.images.rename(elsewhere)
        try:
            return self.has_ended(process)
        finally:
            shutil.rmtree(self.images, ignore_errors=True)
            elsewhere.rename(self.images)

    def start_another(self, process: "subprocess.Popen[str]") -> bool:
        one = self.stage.extraction
        other = Extraction(
            self.stage.folder / "other", one.source, port=one.port,
            config={"CsvFile": str(one.list_file), "StorageFolder": str(one.storage)},
        )  # fmt: skip
        running = other.start()
        try:
            exit_code: int | None = running.wait(60)
        except subprocess.TimeoutExpired:
            running.terminate()
            exit_code = None
        if exit_code != 3 and process.poll() is None:
            self.complaints.append(f"P2: a second extraction of the list ended with {exit_code}")
        return True

    def has_ended(self, process: "subprocess.Popen[str]") -> bool:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            return False
        return True

    def disturbances(self) -> dict[str, tuple[int, Callable[["subprocess.Popen[str]"], bool]]]:
        """Name → how often in 5,000 rows, and what is done; it says whether it came about."""
        return {
            "kill -9 of the script": (30, self.signal(signal.SIGKILL)),
            "SIGTERM": (5, self.signal(signal.SIGTERM)),
            "SIGINT": (5, self.signal(signal.SIGINT)),
            "SIGHUP": (5, self.signal(signal.SIGHUP)),
            "kill -9 of storescp": (10, self.kill_tool("storescp")),
            "kill -9 of findscu": (10, self.kill_tool("findscu")),
            "kill -9 of movescu": (10, self.kill_tool("movescu")),
            "PACS dies and returns": (10, self.send_the_pacs_away),
            "disk full": (5, self.fill_the_disk),
            "StorageFolder gone": (5, self.take_the_storage_away),
            "a second extraction of the same list": (5, self.start_another),
        }

    # The run

    def disturb(self, rows: int) -> None:
        """Start the script again and again, with everything going wrong, until it has come to the end of its list."""
        known = self.disturbances()
        share = rows / ROWS
        names = [name for name, (times, _) in known.items() for _ in range(max(1, round(times * share)))]
        self.chance.shuffle(names)
        due = deque(sorted((self.chance.uniform(0, 0.9 * rows), name) for name in names))
        cuts = max(1, round(5 * share))
        end = time.monotonic() + _LONGEST_DISTURBANCE_SECONDS
        while True:
            finished_run = self.run_once(known, due, end)
            if finished_run in (0, 1):
                return
            if finished_run == 2:
                self.complaints.append("P5: a run refused its own state")
                return
            if cuts and self.chance.random() < 0.3:
                cuts -= 1
                self.cut_the_checkpoint()

    def run_once(
        self,
        known: dict[str, tuple[int, Callable[["subprocess.Popen[str]"], bool]]],
        due: "deque[tuple[float, str]]",
        end: float,
    ) -> int:
        """One run, with what is due in it until the end of all disturbance."""

        def meanwhile(process: "subprocess.Popen[str]") -> None:
            standstill, before = time.monotonic(), -1
            at_start = bool(due) and due[0][1] == "kill -9 of the script" and self.chance.random() < _AT_THE_START
            is_at_work = False
            while process.poll() is None:
                if time.monotonic() > end:
                    due.clear()
                    self.stage.script()
                requests = len(self.stage.pacs.requests())
                if requests != before:
                    standstill, before = time.monotonic(), requests
                if time.monotonic() - standstill > _LONGEST_STANDSTILL_SECONDS:
                    self.complaints.append("P5: a run stood still")
                    process.kill()
                is_at_work = is_at_work or "storescp listens" in self.stage.extraction.output
                if due and (at_start or (is_at_work and len(self.stage.pacs.requests("move")) >= due[0][0])):
                    _, name = due.popleft()
                    time.sleep(self.chance.uniform(0.0, 3.0 if at_start else 0.5))
                    at_start = False
                    if process.poll() is None and known[name][1](process):
                        self.tried[name] += 1
                time.sleep(0.1)

        exit_code = self.stage.run(meanwhile=meanwhile).exit_code
        say(f"run {len(self.stage.runs)} ended with {exit_code}, {len(set(self.stage.pacs.moved()))} studies moved")
        return exit_code

    def cut_the_checkpoint(self) -> None:
        """A checkpoint that cannot be read is refused and left alone; nothing is asked."""
        checkpoint = self.stage.extraction.state(".pickle")
        if not checkpoint.exists() or len(whole := checkpoint.read_bytes()) < 10:
            return
        checkpoint.write_bytes(whole[: self.chance.randrange(len(whole) - 1)])
        asked = len(self.stage.pacs.requests())
        if self.stage.extraction.run().exit_code != 2 or len(self.stage.pacs.requests()) != asked:
            self.complaints.append("P2: a checkpoint that cannot be read was not refused")
        checkpoint.write_bytes(whole)
        self.tried["checkpoint cut"] += 1

    def counted(self, name: str, fault: Fault) -> Fault:
        """The fault, noting how often it strikes."""

        def strike(occasion: Occasion) -> None:
            self.tried[name] += 1
            fault.strike(occasion)

        return replace(fault, strike=strike)


def make_list(soak: Soak, rows: int) -> tuple[WrittenStudy, ...]:
    """Studies and a list of their PatientIDs and AccessionNumbers, with some rows that ask for nothing there is."""
    stage, chance = soak.stage, soak.chance
    studies: list[WrittenStudy] = []
    patient = 0
    while len(studies) < rows * 0.95:
        patient += 1
        for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
            studies.append(
                write_study(
                    stage.folder / "studies",
                    patient_id=f"{patient:08}",
                    accession_number=f"S{len(studies):07}",
                    instances_per_series=chance.choice((2, 2, 3)),
                    size=16,
                )
            )
    stage.serve(studies)
    asked = [[study.patient_id, study.accession_number] for study in studies]
    others = (
        lambda: list(chance.choice(asked)),
        lambda: [f"N{chance.randrange(10**7):07}", "S0000000"],
        lambda: [chance.choice(asked)[0], f"N{chance.randrange(10**7):07}"],
        lambda: [chance.choice(asked)[0], ""],
        lambda: [chance.choice(("0000*", "1.23E+11", "a\\b", "x" * 65, "tab\there")), "S0000001"],
    )
    asked += [chance.choice(others)() for _ in range(max(len(others), rows - len(asked)))]
    chance.shuffle(asked)
    stage.extraction.write_list("EMPI,Accession", asked)
    return tuple(studies)


def soak_through(soak: Soak, rows: int, seed: int) -> dict[str, object]:
    """Everything goes wrong, then nothing does; returns what is to be reported."""
    stage = soak.stage
    begun = time.monotonic()
    stage.attributes = ("PatientID", "AccessionNumber")
    stage.extraction.config |= {"NumberOfQueryAttributes": 2}
    stage.extraction.system |= {
        "ParallelRetrievals": 4, "GiveUpMinutes": 1, "ResponseTimeoutSeconds": 4, "RetrieveTimeoutSeconds": 4,
        "ConnectTimeoutSeconds": 4, "MaxAttempts": 3,
    }  # fmt: skip
    stage.longest_seconds = _LONGEST_RUN_SECONDS
    soak.images.mkdir(parents=True)
    stage.extraction.storage.symlink_to(soak.images)
    studies = make_list(soak, rows)
    say(f"{rows} rows, {len(studies)} studies")
    stage.script(*_script(soak, studies, seed))
    soak.disturb(rows)
    disturbed = stage.evidence()
    found = [*broken(disturbed), *soak.complaints]
    say(f"everything went wrong: {dict(_outcomes(disturbed))}")
    stage.script()
    wait_until(lambda: _listens(stage.pacs.port))
    stage.run(meanwhile=lambda process: soak.has_ended(process) or process.wait(_LONGEST_RUN_SECONDS))
    healed = stage.evidence(is_finished=True)
    found += broken(healed)
    say(f"nothing went wrong: {dict(_outcomes(healed))}")
    return {
        "rows": len(healed.rows),
        "studies": len(studies),
        "seed": seed,
        "date": f"{date.today()}",
        "tools": TOOLS,
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "runs": len(stage.runs),
        "exit codes": dict(sorted(Counter(run.exit_code for run in stage.runs).items())),
        "outcomes when everything went wrong": _outcomes(disturbed),
        "outcomes after one more run with a PACS in good order": _outcomes(healed),
        "tried": dict(sorted(soak.tried.items())),
        "promises": {promise: [one for one in found if one.startswith(promise)] for promise in PROMISES},
    }


def _script(soak: Soak, studies: Sequence[WrittenStudy], seed: int) -> Iterator[Fault]:
    chance = soak.chance
    struck = chance.sample(studies, max(len(row_faults("")), round(SHARE * len(studies))))
    for number, study in enumerate(struck):
        other = next(one for one in iter(lambda: chance.choice(studies), None) if one.patient_id != study.patient_id)
        known = row_faults(other.study_instance_uid)
        name = list(known)[number % len(known)]
        fault = soak.counted(name, known[name].study(study.study_instance_uid))
        yield fault if chance.random() < 0.3 else fault.first(chance.choice((1, 1, 2)))
    for name, fault in association_faults(seed).items():
        yield soak.counted(name, fault)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _outcomes(evidence: Evidence) -> dict[str, int]:
    return dict(sorted(Counter(row["Outcome"] for row in evidence.outcomes).items()))


# What is told


def in_markdown(report: dict[str, object]) -> str:
    """The report as tables: the promises, what was tried, what is tried by the tests."""
    promises, tried = report["promises"], report["tried"]
    assert isinstance(promises, dict)
    assert isinstance(tried, dict)
    lines = [
        f"{report['rows']} rows, {report['studies']} studies, seed {report['seed']}, {report['tools']} tools, "
        f"{report['date']}: {report['runs']} runs in {report['minutes']} minutes.",
        "",
        "| promise | held |",
        "|---|---|",
        *(
            f"| {promise}: {words} | {f'broken {len(promises[promise])} times' if promises[promise] else 'yes'} |"
            for promise, words in PROMISES.items()
        ),
        "",
        "| outcome | when everything went wrong | after one more run with a PACS in good order |",
        "|---|---|---|",
    ]
    before, after = (report[name] for name in report if name.startswith("outcomes"))
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    lines += [f"| `{word}` | {before.get(word, 0)} | {after.get(word, 0)} |" for word in sorted({*before, *after})]
    lines += [
        "",
        "| what went wrong | times |",
        "|---|---|",
        *(f"| {name} | {times} |" for name, times in tried.items()),
    ]
    lines += ["", "The scenarios of `make test`:", "", "| scenario | promises |", "|---|---|"]
    lines += [f"| {scenario.name} | {scenario.promises} |" for scenario in SCENARIOS]
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@contextlib.contextmanager
def small_disk(folder: Path, rows: int) -> Iterator[Path | None]:
    """A file system that can be filled, where this user may mount one."""
    place = folder / "disk"
    place.mkdir()
    if reason := cannot_mount(folder):
        say(f"no small file system, the disk is never full: {reason}")
        yield None
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={32 + rows // 30}m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and report; 0 where every promise held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent, help="where soak.json and soak.md go")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the extraction")
    options = parser.parse_args(arguments)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whatever was started is ended
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    say(f"in {folder}")
    try:
        with small_disk(folder, options.rows) as disk, staged(folder) as stage:
            report = soak_through(Soak(stage, random.Random(options.seed), disk), options.rows, options.seed)
            if options.keep:
                shutil.copytree(folder / "disk", folder / "disk-kept", symlinks=True)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    text = in_markdown(report)
    (options.results / "soak.json").write_text(json.dumps(report, indent=1) + os.linesep)
    (options.results / "soak.md").write_text(text)
    promises = report["promises"]
    assert isinstance(promises, dict)
    found = [one for told in promises.values() for one in told]
    print(text, *found[:50], sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
