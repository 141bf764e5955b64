"""The promises P1 to P5, checked from outside: on files, checkpoint, outcomes, output, and what the PACS was asked.

Nothing of niffler's own is used here, so that an error there cannot hide itself.
"""

import csv
import json
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydicom import dcmread

from tests.pacs.journal import Request

OUTCOMES = {"retrieved", "found", "not-found", "partial", "failed", "refused", "invalid", "pending"}
NOT_VERIFIED = "from an earlier checkpoint, not verified"
EXIT_CODES = {0, 1, 2, 3, 4, 129, 130, 143}
PROMISES = {
    "P1": "a row is retrieved only if all of its images are on disk, readable, of the right study and patient",
    "P2": "whatever dies, the same command ends with the files and outcomes of an undisturbed run, and what is "
    "verified is not asked for again",
    "P3": "nothing is moved that does not match the row's keys exactly, and nothing is written outside of its folder",
    "P4": "every row is in the outcomes, with one outcome and a reason",
    "P5": "trouble delays or ends the run with one clear line, and never marks a row as done or not-found",
}
_LINE = re.compile(r"(?:INFO|WARNING|ERROR):root:\S")
_KEPT_BESIDE_THE_LIST = re.compile(
    r"list\.csv|list_mod\.csv(\.[a-z]+)*|niffler1\.log|storescp\.out(\.1)?|output\.txt|(system|config)\.json"
)
_PATIENT_KEYS = ("PatientID", "AccessionNumber")


@dataclass(frozen=True)
class Holding:
    """A study that the PACS holds: the values that lists ask by, and its instances."""

    study_instance_uid: str
    values: Mapping[str, str]
    instances: frozenset[str]


@dataclass(frozen=True)
class Image:
    """A file below StorageFolder, as its own header tells; without a UID it cannot be read."""

    path: Path
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    patient_id: str = ""


@dataclass(frozen=True)
class Run:
    """A run that has ended, and what was verified when it began."""

    exit_code: int
    output: str
    seconds: float
    verified_before: frozenset[str]
    moved: tuple[str, ...]
    was_killed: bool = False


@dataclass(frozen=True)
class Evidence:
    """What a run, or several runs of one list, left behind."""

    work: Path
    """The folder in which it ran, with list.csv and its state."""
    storage: Path
    attributes: tuple[str, ...]
    """The keywords of the list's first columns."""
    holdings: Mapping[str, Holding]
    requests: Sequence[Request] = ()
    runs: Sequence[Run] = ()
    strangers: frozenset[Path] = frozenset()
    """Files that appeared in places where nothing may be written."""
    longest_seconds: float = 120.0
    is_finished: bool = False
    """Whether the last run had a PACS in good order, so that nothing excuses an unfinished row."""
    grown: frozenset[str] = frozenset()
    """Studies that the PACS took in more of, which are rightly moved again."""

    @cached_property
    def rows(self) -> list[list[str]]:
        """The input rows, cells stripped; a line without any text is none."""
        return _rows(self.work / "list.csv")[1:]

    @cached_property
    def outcomes(self) -> list[dict[str, str]]:
        """The rows of the outcomes file; none where there is no file."""
        path = self.work / "list_mod.csv.outcomes.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream, strict=True))

    @cached_property
    def images(self) -> list[Image]:
        """Every file below StorageFolder but those that a receiver had not finished."""
        return [_read_image(path) for path in _files(self.storage) if path.suffix != ".part"]

    @cached_property
    def on_disk(self) -> dict[str, dict[str, set[str]]]:
        """StudyInstanceUID → SOPInstanceUID → the patients of the readable files of this instance."""
        found: dict[str, dict[str, set[str]]] = {}
        for image in self.images:
            patients = found.setdefault(image.study_instance_uid, {}).setdefault(image.sop_instance_uid, set())
            patients.add(image.patient_id)
        return found

    @cached_property
    def verified(self) -> frozenset[str]:
        """The studies that the checkpoint has now."""
        return verified_studies(self.work / "list_mod.csv.pickle")

    def wanted(self, row: Sequence[str]) -> list[Holding]:
        """The studies that the PACS holds for a row: every key equal, nothing else."""
        asked = dict(zip(self.attributes, row, strict=False))
        return [study for study in self._candidates(asked) if all(study.values[key] == asked[key] for key in asked)]

    def _candidates(self, asked: Mapping[str, str]) -> list[Holding]:
        keyword = self.attributes[0]
        return self._by_first_attribute.get(asked.get(keyword, ""), [])

    @cached_property
    def _by_first_attribute(self) -> dict[str, list[Holding]]:
        found: dict[str, list[Holding]] = {}
        for study in self.holdings.values():
            found.setdefault(study.values[self.attributes[0]], []).append(study)
        return found

    @cached_property
    def wanted_studies(self) -> set[str]:
        """The studies that any usable row asks for."""
        told = self.outcomes or [{}] * len(self.rows)
        return {
            study.study_instance_uid
            for row, outcome in zip(self.rows, told, strict=False)
            if outcome.get("Outcome") != "invalid"
            for study in self.wanted(row)
        }

    def missing(self, study: Holding) -> set[str]:
        """The instances of a study that are not on disk for its patient and no other."""
        there = self.on_disk.get(study.study_instance_uid, {})
        return {uid for uid in study.instances if there.get(uid) != {study.values["PatientID"]}}


def holdings(folder: Path) -> dict[str, Holding]:
    """What a PACS holds that serves the files of a folder."""
    instances: dict[str, set[str]] = {}
    values: dict[str, dict[str, str]] = {}
    for path in _files(folder):
        header = dcmread(path, stop_before_pixels=True)
        uid = str(header.StudyInstanceUID)
        instances.setdefault(uid, set()).add(str(header.SOPInstanceUID))
        values.setdefault(uid, {key: _text(header.get(key)) for key in ("PatientID", "AccessionNumber", "StudyDate")})[
            "StudyInstanceUID"
        ] = uid
    return {uid: Holding(uid, values[uid], frozenset(found)) for uid, found in instances.items()}


def verified_studies(checkpoint: Path) -> frozenset[str]:
    """The StudyInstanceUIDs in a pickle and in the journal beside it."""
    entries: list[str] = []
    if not checkpoint.exists():
        return frozenset()
    entries += pickle.loads(checkpoint.read_bytes())
    journal = checkpoint.with_name(f"{checkpoint.name}.journal")
    if journal.exists():
        for line in journal.read_bytes().split(b"\n")[:-1]:
            entries += json.loads(line).get("entries", [])
    last = (entry.rpartition(",")[2].strip() for entry in entries)
    return frozenset(uid for uid in last if re.fullmatch(r"[0-9.]{20,64}", uid))


def broken(evidence: Evidence) -> list[str]:
    """Everything that contradicts a promise, each beginning with the promise's number."""
    checks: dict[str, Callable[[Evidence], Iterable[str]]] = {
        "P1": _retrieved_is_complete,
        "P2": _nothing_is_lost_or_asked_again,
        "P3": _nothing_else_is_moved_or_written,
        "P4": _no_row_disappears,
        "P5": _trouble_is_told_as_trouble,
    }
    return [f"{promise}: {what}" for promise, check in checks.items() for what in check(evidence)]


def _retrieved_is_complete(evidence: Evidence) -> Iterator[str]:
    for number, (row, outcome) in enumerate(zip(evidence.rows, evidence.outcomes, strict=False), 1):
        if outcome["Outcome"] != "retrieved" or outcome["Detail"] == NOT_VERIFIED:
            continue
        wanted = evidence.wanted(row)
        if not wanted:
            yield f"row {number} is retrieved, but the PACS holds nothing for it"
        for study in wanted:
            if lacking := len(evidence.missing(study)):
                yield (
                    f"row {number} is retrieved, but {lacking} of {len(study.instances)} images of study "
                    f"{study.study_instance_uid} are missing, unreadable or another patient's"
                )
        held = sum(len(study.instances) for study in wanted)
        if int(outcome["Received"]) != held:
            yield f"row {number} says that it received {outcome['Received']} images, it has {held}"
    if any(NOT_VERIFIED in outcome["Detail"] for outcome in evidence.outcomes):
        return
    for uid in evidence.verified:
        if uid not in evidence.holdings or evidence.missing(evidence.holdings[uid]):
            yield f"the checkpoint has study {uid}, which is not complete on disk"


def _nothing_is_lost_or_asked_again(evidence: Evidence) -> Iterator[str]:
    for number, run in enumerate(evidence.runs, 1):
        again = set(run.moved) & run.verified_before - evidence.grown
        if again:
            yield f"run {number} had {len(again)} studies moved that were verified before"
    if not evidence.is_finished:
        return
    for number, (row, outcome) in enumerate(zip(evidence.rows, evidence.outcomes, strict=False), 1):
        wanted = evidence.wanted(row)
        due = "retrieved" if wanted else "not-found"
        if outcome["Outcome"] not in (due, "invalid"):
            yield f"row {number} is {outcome['Outcome']} in the end, undisturbed it is {due}"
        elif outcome["Outcome"] == "retrieved" and int(outcome["Studies"]) != len(wanted):
            yield f"row {number} has {outcome['Studies']} studies in the end, undisturbed {len(wanted)}"
    lost = {
        uid for uid in evidence.wanted_studies if evidence.missing(evidence.holdings[uid])
    }  # fmt: skip
    if lost:
        yield f"{len(lost)} studies are not complete in the end"
    if parts := [path for path in _files(evidence.storage) if path.suffix == ".part"]:
        yield f"{len(parts)} .part files are left"
    if (evidence.work / "list_mod.csv.pickle.journal").exists():
        yield "the journal is left after an orderly end"


def _nothing_else_is_moved_or_written(evidence: Evidence) -> Iterator[str]:
    asked_for = {cell for row in evidence.rows for cell in row if cell}
    for request in evidence.requests:
        uids = request.study_instance_uids
        if request.kind == "move" and (len(uids) != 1 or request.level != "STUDY"):
            yield f"a C-MOVE at level {request.level} names {len(uids)} studies"
        elif request.kind == "move" and uids[0] not in evidence.wanted_studies:
            yield f"study {uids[0]} was moved, which no row asks for"
        elif request.kind == "find":
            values = [value for keyword, of_key in request.keys.items() if keyword != "StudyDate" for value in of_key]
            if not any(request.keys.values()):
                yield "a C-FIND has no key: it matches the whole archive"
            if wide := [value for value in values if set(value) & set("*?")]:
                yield f"a C-FIND asks with wildcards: {wide}"
            if invented := [value for value in values if value not in asked_for and value not in evidence.holdings]:
                yield f"a C-FIND asks for what is in no row: {invented}"
    told = {Path(row[0]) for row in _rows(evidence.work / "list_mod.csv.unrequested.csv")[1:]}
    for image in evidence.images:
        if image.study_instance_uid not in evidence.wanted_studies and image.path not in told:
            yield f"{image.path} is on disk, but no row asks for it and it is not reported as unrequested"
    for path in sorted(evidence.strangers):
        yield f"{path} was written outside of StorageFolder"
    for path in evidence.work.iterdir():
        if path.is_file() and not _KEPT_BESIDE_THE_LIST.fullmatch(path.name):
            yield f"{path.name} was left beside the list"


def _no_row_disappears(evidence: Evidence) -> Iterator[str]:
    ended_in_order = [run for run in evidence.runs if not run.was_killed and run.exit_code not in (2, 3)]
    if not evidence.outcomes:
        if ended_in_order:
            yield "there is no outcomes file"
        return
    if len(evidence.outcomes) != len(evidence.rows):
        yield f"the list has {len(evidence.rows)} rows, the outcomes {len(evidence.outcomes)}"
    unfinished = 0
    for number, (row, outcome) in enumerate(zip(evidence.rows, evidence.outcomes, strict=False), 1):
        told = [cell.strip() for cell in list(outcome.values())[: len(row)]]
        if told != row:
            yield f"row {number} is {row} in the list and {told} in the outcomes"
        if outcome["Outcome"] not in OUTCOMES:
            yield f"row {number} has the outcome {outcome['Outcome']!r}"
        if outcome["Outcome"] not in ("retrieved", "found") and not outcome["Detail"].strip():
            yield f"row {number} is {outcome['Outcome']} without a reason"
        unfinished += outcome["Outcome"] not in ("retrieved", "found")
    given_again = len(_rows(evidence.work / "list_mod.csv.unfinished.csv")[1:])
    if given_again != unfinished:
        yield f"{unfinished} rows are unfinished, unfinished.csv has {given_again}"


def _trouble_is_told_as_trouble(evidence: Evidence) -> Iterator[str]:
    values = {cell for row in evidence.rows for cell in row[: len(evidence.attributes)] if len(cell) >= 6}
    values |= {study.values[key] for study in evidence.holdings.values() for key in _PATIENT_KEYS} | set(
        evidence.holdings
    )
    for number, run in enumerate(evidence.runs, 1):
        if not run.was_killed and run.exit_code not in EXIT_CODES:
            yield f"run {number} ended with exit code {run.exit_code}"
        if run.seconds > evidence.longest_seconds:
            yield f"run {number} took {run.seconds:.0f} s"
        if "Traceback" in run.output:
            yield f"run {number} ended with a traceback: {run.output.splitlines()[-1]}"
        lines = run.output.splitlines()
        if run.exit_code == 2 and lines and all(re.match(r"[\w ]+(\.json)?: \S", line) for line in lines):
            continue  # the settings cannot be used: all of their faults, and no log yet
        if odd := [line for line in lines if not _LINE.match(line) and "Traceback" not in run.output]:
            yield f"run {number} says lines that are no log: {odd[:3]}"
        errors = [line for line in lines if line.startswith("ERROR:root:")]
        if run.exit_code in (2, 3, 4, 129, 130, 143) and not run.was_killed and not 1 <= len(errors) <= 2:
            yield f"run {number} ended with exit code {run.exit_code} and {len(errors)} lines that say why"
        if named := values & set(re.findall(r"[^\s,;:'()]{6,}", run.output)):
            yield f"run {number} names {len(named)} patients in its output"
    for number, (row, outcome) in enumerate(zip(evidence.rows, evidence.outcomes, strict=False), 1):
        if outcome["Outcome"] == "not-found" and evidence.wanted(row):
            yield f"row {number} is not-found, but the PACS holds it"


def _read_image(path: Path) -> Image:
    try:
        dataset = dcmread(path)
        if len(dataset.PixelData) != 2 * dataset.Rows * dataset.Columns:
            return Image(path)
        return Image(path, str(dataset.SOPInstanceUID), str(dataset.StudyInstanceUID), _text(dataset.get("PatientID")))
    except Exception:  # a damaged file can raise nearly anything
        return Image(path)


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _rows(path: Path) -> list[list[str]]:
    """The lines of a CSV that have any text, cells stripped; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = [[cell.strip() for cell in row] for row in csv.reader(stream)]
    return [row for row in rows if any(row)]
