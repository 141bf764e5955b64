"""--Verify: what the checkpoint says beside what is on disk. What is not complete leaves the checkpoint."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from niffler import outcomes
from niffler.asked import Asked, header_keywords
from niffler.books import Books
from niffler.checkpoint import Checkpoint, Verified, read_other_splits
from niffler.comparison import Finding, State, compare
from niffler.errors import WrongInputError
from niffler.files import write_csv
from niffler.former import read_outcomes, results_now
from niffler.inventory import Inventory, StudyOnDisk, list_files, read_files
from niffler.known import Known, carried_rows
from niffler.metadata import OUTPUT_NAME
from niffler.part import read_part
from niffler.settings import Mode, Settings
from niffler.shards import modified_csv, shards_with
from niffler.slots import claim_list
from niffler.storage import open_storage
from niffler.vocabulary import ANSWERED, Outcome, Request, RowResult, Study, StudyResult
from niffler.worklist import Worklist, read_list

_HEADER = (
    "PatientID", "StudyInstanceUID", "AccessionNumber", "State", "Expected", "OnDisk", "Unreadable", "Withdrawn",
    "Detail",
)  # fmt: skip
_GOOD = frozenset({State.COMPLETE, State.UNVERIFIED})
_IN_WORDS = {
    State.COMPLETE: "all images are on disk",
    State.UNVERIFIED: "an earlier Niffler entered them, and nobody counted their images; they are kept",
    State.MISSING: "images are missing",
    State.UNREADABLE: "files cannot be read",
    State.OTHER_PATIENT: "images carry another PatientID than the checkpoint has; find out whose they are",
    State.UNFINISHED: "on disk, of rows that are not complete; start the same extraction again",
    State.UNKNOWN: "on disk, but no row of the list asks for them; do they belong there?",
}


def run(settings: Settings) -> int:
    """Look, withdraw, report; returns the exit code: 0 where every row has its answer and every image is there."""
    _check(settings)
    modified = settings.modified_csv
    with claim_list(settings.csv_file, settings.shard):
        worklist, former = _read_list(settings, modified)
        checkpoint = Checkpoint(modified, rebuilds=True)
        is_lost = not checkpoint.continues
        if is_lost and not checkpoint.records and (shards := shards_with(modified, ".pickle")):
            raise WrongInputError(
                f"--Verify: {settings.csv_file.name} was retrieved in shards; verify one after the other, --Shard "
                f"{shards[0]} first"
            )
        if is_lost and not checkpoint.records and not former:
            raise WrongInputError(
                f"{modified}: no extraction of this list left anything to compare with; start it first"
            )
        books = Books(checkpoint)
        if is_lost:
            _say(f"{checkpoint.path} is lost: it is built anew from what can be verified")
            books.restore()
        others = read_other_splits(modified_csv(settings.csv_file), settings.shard)
        inventory, doubts = _take_stock(settings.storage_folder, header_keywords(worklist.requests))
        asked = Asked(worklist.requests)
        carried = carried_rows(books, worklist.requests, retrieves=True)
        comparison = compare(
            books.records, books.earlier_entries, inventory, str(settings.storage_folder),
            asked_for=lambda study: any(request not in carried for request in asked.by(study.values)),
            is_of_others=_of_others(settings, worklist, others),
        )  # fmt: skip
        findings, is_incomplete = comparison.findings, bool(comparison.studies or comparison.entries)
        why_kept = _why_nothing_changes(findings, doubts, settings.storage_folder) if is_lost or is_incomplete else ""
        if why_kept:
            findings = [replace(finding, is_withdrawn=False) for finding in findings]
        elif is_lost or is_incomplete:
            answered = _answered_on_disk(books, worklist, former, asked, inventory) if is_lost else []
            books.withdraw(comparison.studies, comparison.entries)
            books = Books(checkpoint)
            if answered:
                findings = _enter(checkpoint, books, answered, findings)
        results = results_now(Known(checkpoint, others), worklist, former)
        if not why_kept and (is_lost or is_incomplete):
            outcomes.write_outcomes(modified, worklist, results)
        report = modified.with_name(f"{modified.name}.verified.csv")
        write_csv(report, _rows(findings))
    counts = outcomes.count(worklist, results)
    for line in (*_summary(findings), *doubts, *_advice(findings, why_kept), outcomes.in_one_line(counts)):
        _say(line)
    _say(f"every study: {report}")
    return 0 if {finding.state for finding in findings} <= _GOOD and set(counts) <= ANSWERED else 1


def _check(settings: Settings) -> None:
    """What can be verified lies on this machine, and is images."""
    if settings.mode is not Mode.RETRIEVE:
        raise WrongInputError(
            f"--Verify: FilePath {settings.file_path} retrieves no images, so there are none to verify; give the "
            "FilePath of the retrieval"
        )
    if not settings.receives_here:
        raise WrongInputError(
            f"--Verify: the images go to another machine (DestAet {settings.system.dest_aet} is not the AE of QueryAet "
            f"{settings.system.query_aet}), so verify them there"
        )
    if not settings.storage_folder.is_dir():
        raise WrongInputError(f"StorageFolder {settings.storage_folder}: is no folder; is its disk mounted?")


def _read_list(settings: Settings, modified: Path) -> tuple[Worklist, dict[Request, RowResult]]:
    """The list, and what the last run made of it."""
    return read_part(settings), read_outcomes(outcomes.outcomes_csv(modified), partial(read_list, settings))


def _of_others(settings: Settings, worklist: Worklist, others: Sequence[Verified]) -> Callable[[StudyOnDisk], bool]:
    """Whether a study on disk is complete in another split, or rows of other shards ask for it."""
    complete = {record.study_instance_uid for other in others for record in other.records}
    ours = set(worklist.requests)
    requests = read_list(settings, settings.csv_file).requests if settings.shard else ()
    asked = Asked([request for request in requests if request not in ours])
    return lambda study: study.study_instance_uid in complete or bool(asked.by(study.values))


def _take_stock(folder: Path, keywords: Sequence[str]) -> tuple[Inventory, list[str]]:
    """Read every file; also what could not be looked into, in a line for each kind."""
    storage = open_storage(folder, 0)
    listing = list_files(folder)
    own = str(folder / OUTPUT_NAME)
    files = [path for path in listing.files if not path.startswith(own)]
    inventory = Inventory(keywords)
    with tqdm(total=len(files), unit="file", disable=not sys.stderr.isatty()) as bar:
        for some in read_files(files, keywords):
            for file in some:
                inventory.add(file)
            bar.update(len(some))
    storage.check()
    _say(f"{folder}: {len(files)} files")
    doubts = Counter([*listing.doubts, *(f"a file cannot be read: {file.problem}" for file in inventory.refused)])
    return inventory, [f"{doubt} ({count} times)" if count > 1 else doubt for doubt, count in doubts.items()]


def _why_nothing_changes(findings: Sequence[Finding], doubts: Sequence[str], folder: Path) -> str:
    """A reason to leave the checkpoint as it is although studies are not complete; empty where there is none."""
    of_list = [one for one in findings if one.patient_id and one.state is not State.UNKNOWN]
    if not any(finding.on_disk or finding.unreadable for finding in of_list):
        return (
            f"nothing of this list is in {folder}: is that the right StorageFolder, and is its disk mounted? The "
            "checkpoint is left as it is; to retrieve everything from scratch delete the pickle"
        )
    if doubts and any(finding.is_withdrawn for finding in findings):
        return "as not everything could be looked into, the checkpoint is left as it is; mend that, then verify again"
    return ""


@dataclass(frozen=True)
class _Answered:
    """A row that the last run retrieved, and the studies on disk that are exactly as many images."""

    request: Request
    result: RowResult
    studies: tuple[StudyOnDisk, ...]


def _answered_on_disk(
    books: Books, worklist: Worklist, former: Mapping[Request, RowResult], asked: Asked, inventory: Inventory
) -> list[_Answered]:
    """The rows without a ledger that can be verified by the outcomes: so many studies, so many images."""
    studies_of: dict[int, list[StudyOnDisk]] = {}
    for patients in inventory.studies.values():
        for study in patients.values() if len(patients) == 1 else ():
            for index in asked.by(study.values):
                studies_of.setdefault(index, []).append(study)
    found = []
    for index, studies in studies_of.items():
        request = worklist.requests[index]
        result = former.get(request)
        if result is None or result.outcome is not Outcome.RETRIEVED or books.knows(request):
            continue
        images = sum(len(study.instances) for study in studies)
        if len(studies) == result.studies and images == result.received == result.expected:
            found.append(_Answered(request, result, tuple(studies)))
    return found


def _enter(
    checkpoint: Checkpoint, books: Books, answered: Sequence[_Answered], findings: Sequence[Finding]
) -> list[Finding]:
    """Enter rows that the outcomes and the disk agree about; returns the findings with that."""
    entered: set[str] = set()
    checkpoint.begin()
    for row in answered:
        studies = []
        for on_disk in row.studies:
            accession = next(iter(on_disk.accession_numbers), "")
            images = len(on_disk.instances)
            study = Study(on_disk.study_instance_uid, on_disk.patient_id, accession)
            studies.append(study)
            entered.add(study.study_instance_uid)
            books.study_complete(StudyResult(study, Outcome.RETRIEVED, images, images), 0.0, on_disk.size)
            books.enter_study(row.request, len(row.studies), study)
        books.enter_row(row.request, row.result, studies)
    books.commit()
    checkpoint.close()
    return [
        replace(finding, state=State.COMPLETE, expected=finding.on_disk, detail="as the outcomes say")
        if finding.study_instance_uid in entered
        else finding
        for finding in findings
    ]


def _rows(findings: Iterable[Finding]) -> Iterator[Sequence[object]]:
    yield _HEADER
    for finding in findings:
        yield (
            finding.patient_id, finding.study_instance_uid, finding.accession_number, finding.state.value,
            finding.expected or "", finding.on_disk, finding.unreadable, "yes" if finding.is_withdrawn else "no",
            finding.detail,
        )  # fmt: skip


def _summary(findings: Sequence[Finding]) -> Iterator[str]:
    """How many of each state; no patient data."""
    counts = Counter(finding.state for finding in findings)
    for state in State:
        if counts[state]:
            yield f"{state.value}: {counts[state]} ({_IN_WORDS[state]})"


def _advice(findings: Sequence[Finding], why_kept: str) -> Iterator[str]:
    """What was done to the checkpoint, and what to do about the rest."""
    if why_kept:
        yield why_kept
    withdrawn = sum(finding.is_withdrawn for finding in findings)
    if withdrawn:
        yield (
            f"withdrawn from the checkpoint: {withdrawn}; start the same extraction again to retrieve these, and no "
            "other that is complete"
        )
    if any(finding.state is State.UNREADABLE and not finding.is_withdrawn for finding in findings):
        yield "files that cannot be read and belong to no study that is withdrawn: look at them, remove them"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
