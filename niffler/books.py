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
        self._by_study: dict[str, Record] = {}
        for record in checkpoint.records:
            self._by_request.setdefault(record.request, {})[record.study_instance_uid] = record
            self._by_study[record.study_instance_uid] = record
        self._new_entries: list[str] = []
        self._new_records: list[Record] = []

    def carried_row(self, request: Request) -> RowResult | None:
        """The result of a row whose retrieval is complete according to the checkpoint, else None.

        Our own ledger decides where it knows the row: every study of the row has to be in it, and its entry in the
        pickle. Entries of an earlier Niffler have no ledger.
        """
        records = list(self._by_request.get(request_text(request), {}).values())
        if records:
            studies = len(records)
            if any(record.studies != studies or not self._has(_study_entry(record)) for record in records):
                return None
            return RowResult(
                Outcome.RETRIEVED,
                studies=studies,
                expected=sum(record.expected for record in records),
                received=sum(record.received for record in records),
                attempts=max(record.attempts for record in records),
            )
        if any(self._has(entry) for entry in _row_entries(request)):
            return RowResult(Outcome.RETRIEVED, detail=NOT_VERIFIED)
        return None

    def carried_find(self, request: Request) -> RowResult | None:
        """The result of a row whose metadata is in the output already, else None."""
        text = request_text(request)
        record = self._by_request.get(text, {}).get("")
        if record is None or not self._has(text):
            return None
        return RowResult(Outcome.FOUND, studies=record.studies, attempts=record.attempts)

    def verified(self, study: Study) -> StudyResult | None:
        """The result of a study that the checkpoint has, else None."""
        if not self._has(f"{study.patient_id},{study.study_instance_uid}"):
            return None
        record = self._by_study.get(study.study_instance_uid)
        if record is None:
            return StudyResult(study, Outcome.RETRIEVED, detail=NOT_VERIFIED)
        return StudyResult(study, Outcome.RETRIEVED, record.expected, record.received, record.attempts)

    def study_complete(self, result: StudyResult, seconds: float, size: int) -> None:
        """A study was verified; it is entered for every request that wants it."""
        study = result.study
        self._by_study[study.study_instance_uid] = Record(
            "", 0, study.patient_id, study.study_instance_uid, study.accession_number, result.expected, result.received,
            result.attempts, round(seconds, 1), size, _now(),
        )  # fmt: skip

    def enter_study(self, request: Request, studies: int, study: Study) -> None:
        """Enter a verified study as one of so many of a request, once."""
        record = self._by_study.get(study.study_instance_uid)
        if record is None:
            return  # an earlier Niffler's entry stays what it is: not verified
        text = request_text(request)
        of_request = self._by_request.setdefault(text, {})
        known = of_request.get(study.study_instance_uid)
        if known is None or known.studies != studies or not self._has(_study_entry(record)):
            entered = of_request[study.study_instance_uid] = replace(record, request=text, studies=studies)
            self._new_records.append(entered)
            self._new_entries.append(_study_entry(record))

    def enter_row(self, request: Request) -> None:
        """Enter a row as retrieved."""
        self._new_entries.extend(_row_entries(request))

    def enter_find(self, request: Request, studies: int) -> None:
        """Enter a row whose metadata is in the output."""
        text = request_text(request)
        self._new_entries.append(text)
        self._new_records.append(Record(text, studies, "", "", "", 0, 0, 1, 0.0, 0, _now()))

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


def _study_entry(record: Record) -> str:
    return f"{record.patient_id},{record.study_instance_uid}"


def _now() -> str:
    return datetime.now().isoformat(timespec="seconds")


def carried_rows(books: Books, requests: Iterable[Request], *, retrieves: bool) -> dict[int, RowResult]:
    """The requests (by index) that need not be asked again, with their results."""
    carry = books.carried_row if retrieves else books.carried_find
    results = ((index, carry(request)) for index, request in enumerate(requests))
    return {index: result for index, result in results if result is not None}
