"""What is verified complete: what earlier runs entered, and what this run enters, into checkpoint and ledger."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from niffler.checkpoint import Checkpoint
from niffler.ledger import Record, request_text
from niffler.vocabulary import Outcome, Request, RowResult, Study, StudyResult

NOT_VERIFIED = "from an earlier checkpoint, not verified"


class Books:
    """The checkpoint of a run and what is about to be entered; nothing counts before ``commit`` returns."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._by_request: dict[str, dict[str, Record]] = {}
        self._rows: dict[str, tuple[Record, Sequence[Record]]] = {}
        self._by_study: dict[str, Record] = {}
        for record in checkpoint.records:
            self._note(record)
        self._new_entries: list[str] = []
        self._new_records: list[Record] = []

    @property
    def studies(self) -> Sequence[tuple[str, str]]:
        """PatientID and StudyInstanceUID of every study that was verified."""
        return [(record.patient_id, uid) for uid, record in self._by_study.items() if self._has(_study_entry(record))]

    def carried_row(self, request: Request) -> RowResult | None:
        """The result of a row whose retrieval is complete according to the checkpoint, else None.

        Our own ledger decides where it knows the row: the row has to be complete in it, and each of its studies in the
        pickle. Entries of an earlier Niffler have no ledger.
        """
        text = request_text(request)
        if text in self._rows:
            row, studies = self._rows[text]
            if len(studies) == row.studies and all(self._has(_study_entry(study)) for study in studies):
                return RowResult(Outcome.RETRIEVED, row.studies, row.expected, row.received, row.attempts, row.detail)
            return None
        if text not in self._by_request and any(self._has(entry) for entry in _earlier_entries(request)):
            return RowResult(Outcome.RETRIEVED, detail=NOT_VERIFIED)
        return None

    def carried_find(self, request: Request) -> RowResult | None:
        """The result of a row whose metadata is in the output already, else None."""
        text = request_text(request)
        if text not in self._rows or not self._has(text):
            return None
        row, _ = self._rows[text]
        return RowResult(Outcome.FOUND, studies=row.studies, attempts=row.attempts, detail=row.detail)

    def verified(self, study: Study) -> StudyResult | None:
        """The result of a study that the checkpoint has, else None."""
        if not self._has(f"{study.patient_id},{study.study_instance_uid}"):
            return None
        record = self._by_study.get(study.study_instance_uid)
        if record is None:
            return StudyResult(study, Outcome.RETRIEVED, detail=NOT_VERIFIED)
        return StudyResult(study, Outcome.RETRIEVED, record.expected, record.received, record.attempts, record.detail)

    def study_complete(self, result: StudyResult, seconds: float, size: int) -> None:
        """A study was verified; it is entered for every request that wants it."""
        study = result.study
        self._by_study[study.study_instance_uid] = Record(
            "", 0, study.patient_id, study.study_instance_uid, study.accession_number, result.expected, result.received,
            result.attempts, round(seconds, 1), size, _now(), result.detail,
        )  # fmt: skip

    def enter_study(self, request: Request, studies: int, study: Study) -> None:
        """Enter a verified study as one of so many of a request."""
        record = self._by_study.get(study.study_instance_uid)
        if record is not None:  # an earlier Niffler's entry stays what it is: not verified
            entered = replace(record, request=request_text(request), studies=studies)
            self._note(entered)
            self._new_records.append(entered)
            self._new_entries.append(_study_entry(entered))

    def enter_row(self, request: Request, result: RowResult, studies: Sequence[Study]) -> None:
        """Enter a row as retrieved, with exactly these studies."""
        text = request_text(request)
        known = list(self._by_request.get(text, ()))
        if set(known[-len(studies) :]) != {study.study_instance_uid for study in studies}:
            for study in studies:  # some were completed by an earlier run, or for another row
                self.enter_study(request, len(studies), study)
        self._new_entries.extend(_row_entries(request))
        if all(study.study_instance_uid in self._by_study for study in studies):
            self._enter_answer(text, result)

    def enter_find(self, request: Request, result: RowResult) -> None:
        """Enter a row whose metadata is in the output."""
        text = request_text(request)
        self._new_entries.append(text)
        self._enter_answer(text, result)

    def _enter_answer(self, text: str, result: RowResult) -> None:
        row = Record(
            text, result.studies, "", "", "", result.expected, result.received, result.attempts, 0.0, 0, _now(),
            result.detail,
        )  # fmt: skip
        self._note(row)
        self._new_records.append(row)

    def _note(self, record: Record) -> None:
        of_request = self._by_request.setdefault(record.request, {})
        if not record.study_instance_uid:
            studies = list(of_request.values())[-record.studies :] if record.studies else []
            self._rows[record.request] = record, studies
            return
        self._by_study[record.study_instance_uid] = record
        of_request.pop(record.study_instance_uid, None)  # the last ones are those of the row
        of_request[record.study_instance_uid] = record

    def commit(self) -> None:
        """Put on disk what was entered."""
        if self._new_entries or self._new_records:
            self._checkpoint.record(self._new_entries, self._new_records)
            self._new_entries, self._new_records = [], []

    def _has(self, entry: str) -> bool:
        entries = self._checkpoint.entries
        return entry in entries or entry.replace(",", ", ", 1) in entries


def _row_entries(request: Request) -> Sequence[str]:
    """The entries of a whole row, for the two kinds of list that Niffler enters by row."""
    keys = request.keys
    if set(keys) == {"PatientID"}:
        return (keys["PatientID"],)
    if set(keys) == {"PatientID", "AccessionNumber"}:
        return (f"{keys['PatientID']},{keys['AccessionNumber']}",)
    return ()


def _earlier_entries(request: Request) -> Sequence[str]:
    """What an earlier Niffler would have entered, where that can be read in one way only: not "a,b,c"."""
    return () if any("," in value for value in request.values) else _row_entries(request)


def _study_entry(record: Record) -> str:
    return f"{record.patient_id},{record.study_instance_uid}"


def _now() -> str:
    return datetime.now().isoformat(timespec="seconds")


def carried_rows(books: Books, requests: Iterable[Request], *, retrieves: bool) -> dict[int, RowResult]:
    """The requests (by index) that need not be asked again, with their results."""
    carry = books.carried_row if retrieves else books.carried_find
    results = ((index, carry(request)) for index, request in enumerate(requests))
    return {index: result for index, result in results if result is not None}
