"""What is verified complete: what earlier runs entered, and what this run enters, into checkpoint and ledger."""

import functools
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from niffler.checkpoint import Checkpoint
from niffler.ledger import Record, request_of, request_text
from niffler.vocabulary import Outcome, Request, RowResult, Study, StudyResult

NOT_VERIFIED = "from an earlier checkpoint, not verified"


class Books:
    """The checkpoint of a run and what is about to be entered; nothing counts before ``commit`` returns."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._by_request: dict[str, tuple[Record, ...]] = {}
        self._rows: dict[str, Record] = {}
        self._by_study: dict[str, Record] = {}
        self.verified_images = 0
        self.verified_size = 0
        for record in checkpoint.records:
            self._note(record)
        self._new_entries: list[str] = []
        self._new_records: list[Record] = []

    @property
    def verified_studies(self) -> int:
        """How many studies were verified."""
        return len(self._by_study)

    @property
    def studies(self) -> Sequence[tuple[str, str]]:
        """PatientID and StudyInstanceUID of every study that was verified."""
        return [(record.patient_id, record.study_instance_uid) for record in self.records]

    @property
    def records(self) -> Sequence[Record]:
        """The last record of each of them."""
        return [record for record in self._by_study.values() if self._has(_study_entry(record))]

    def carried_row(self, request: Request) -> RowResult | None:
        """The result of a row whose retrieval is complete according to the checkpoint, else None.

        Our own ledger decides where it knows the row: the row has to be complete in it, and each of its studies in the
        pickle. Entries of an earlier Niffler have no ledger.
        """
        text = request_text(request)
        row = self._rows.get(text)
        if row is not None:
            studies = self._studies_of(row)
            if len(studies) == row.studies and not [study for study in studies if not self._has(_study_entry(study))]:
                return _row_result(row)
            return None
        if text not in self._by_request and [entry for entry in _earlier_entries(request) if self._has(entry)]:
            return RowResult(Outcome.RETRIEVED, detail=NOT_VERIFIED)
        return None

    def begun_row(self, request: Request) -> RowResult | None:
        """The result of a row whose studies are verified, but of which it was not asked again whether it has more."""
        text = request_text(request)
        records = self._by_request.get(text)
        if not records or text in self._rows:
            return None
        count = len(records)
        if any(max(one.studies, 1) != count or not self._has(_study_entry(one)) for one in records):
            return None  # some are missing, or the row had other studies when it was looked up before
        expected, received = sum(one.expected for one in records), sum(one.received for one in records)
        detail = records[0].detail if count == 1 else ""
        return _retrieved(count, expected, received, max(one.attempts for one in records), detail)

    def carried_find(self, request: Request) -> RowResult | None:
        """The result of a row whose metadata is in the output already, else None."""
        text = request_text(request)
        row = self._rows.get(text)
        if row is None or not self._has(text):
            return None
        return RowResult(Outcome.FOUND, studies=row.studies, attempts=row.attempts, detail=row.detail)

    def verified(self, study: Study) -> StudyResult | None:
        """The result of a study that the checkpoint has, else None."""
        if not self._has(f"{study.patient_id},{study.study_instance_uid}"):
            return None
        record = self._by_study.get(study.study_instance_uid)
        if record is None:
            return StudyResult(study, Outcome.RETRIEVED, detail=NOT_VERIFIED)
        if record.received < record.expected:
            return None
        return StudyResult(study, Outcome.RETRIEVED, record.expected, record.received, record.attempts, record.detail)

    def study_complete(self, result: StudyResult, seconds: float, size: int) -> None:
        """A study was verified; it is entered for every request that wants it."""
        study = result.study
        self._keep(Record(
            "", 0, study.patient_id, study.study_instance_uid, study.accession_number, result.expected, result.received,
            result.attempts, round(seconds, 3), size, _now(), result.detail,
        ))  # fmt: skip

    def enter_study(self, request: Request, studies: int, study: Study) -> None:
        """Enter a verified study as one of so many of a request; the request is not complete before ``enter_row``."""
        self._enter_study(request, studies if studies > 1 else 0, study)

    def enter_row(self, request: Request, result: RowResult, studies: Sequence[Study]) -> None:
        """Enter a row as retrieved, with exactly these studies."""
        text = request_text(request)
        known = [record.study_instance_uid for record in self._by_request.get(text, ())]
        if len(studies) == 1 or set(known[-len(studies) :]) != {study.study_instance_uid for study in studies}:
            for study in studies:  # some were completed by an earlier run, or for another row
                self._enter_study(request, len(studies), study)
        self._new_entries.extend(_row_entries(request))
        row = self._rows.get(text)
        if row is not None and _row_result(row) == result:
            return  # the record of its only study says it all
        if all(study.study_instance_uid in self._by_study for study in studies):
            self._enter_answer(text, result)

    def _enter_study(self, request: Request, studies: int, study: Study) -> None:
        record = self._by_study.get(study.study_instance_uid)
        if record is not None:  # an earlier Niffler's entry stays what it is: not verified
            entered = record._replace(request=request_text(request), studies=studies)
            self._note(entered)
            self._new_records.append(entered)
            self._new_entries.append(_study_entry(entered))

    def take_back(self, study: Study) -> None:
        """The PACS has more of a study than was verified: it is not complete any more, and no row with it."""
        self.commit()  # its entry may be among the new ones
        record = self._by_study.get(study.study_instance_uid)
        if record is None:
            self._checkpoint.take_back([f"{study.patient_id},{study.study_instance_uid}"])
            return
        self._checkpoint.take_back([_study_entry(record)])
        grown = record._replace(
            studies=record.studies if record.studies > 1 else 0,
            expected=study.announced_instances or record.expected,
            finished=_now(),
        )
        self._note(grown)
        self._new_records.append(grown)

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
        uid = record.study_instance_uid
        if not uid:
            self._rows[record.request] = record
            return
        self._keep(record)
        others = self._by_request.get(record.request, ())
        if others:  # the last ones are those of the row
            others = tuple(other for other in others if other.study_instance_uid != uid)
        self._by_request[record.request] = (*others, record)
        if record.studies == 1:
            self._rows[record.request] = record
        else:
            self._rows.pop(record.request, None)  # it was asked again, and is not complete before its record comes

    def _studies_of(self, row: Record) -> Sequence[Record]:
        if row.study_instance_uid:
            return (row,)
        return self._by_request.get(row.request, ())[-row.studies :] if row.studies else ()

    def _keep(self, record: Record) -> None:
        before = self._by_study.get(record.study_instance_uid)
        self.verified_images += record.received - (before.received if before else 0)
        self.verified_size += record.size - (before.size if before else 0)
        self._by_study[record.study_instance_uid] = record

    def commit(self) -> None:
        """Put on disk what was entered."""
        if self._new_entries or self._new_records:
            self._checkpoint.record(self._new_entries, self._new_records)
            self._new_entries, self._new_records = [], []

    @property
    def earlier_entries(self) -> Sequence[str]:
        """The entries that the ledger does not account for: an earlier Niffler's."""
        known: set[str] = set()
        for record in self._checkpoint.records:
            known.update(_row_entries(request_of(record.request)))
            if record.study_instance_uid:
                known.add(_study_entry(record))
        return [entry for entry in self._checkpoint.entries if entry.replace(", ", ",", 1) not in known]

    def knows(self, request: Request) -> bool:
        """Whether the ledger has anything of a request."""
        return request_text(request) in self._by_request

    def withdraw(self, studies: Collection[str], entries: Collection[str]) -> None:
        """Take out studies that are not complete after all, each row that has one, and an earlier Niffler's entries.

        The books are as they were; open them anew.
        """
        gone = [record for record in self._checkpoint.records if record.study_instance_uid in studies]
        rows = {record.request for record in gone}
        leaving = {*entries, *map(_study_entry, gone), *(record.patient_id for record in gone)}
        for text in rows:
            leaving.update(_row_entries(request_of(text)))
        leaving |= {entry.replace(",", ", ", 1) for entry in leaving}
        self._checkpoint.withdraw(
            leaving,
            lambda record: (
                record.study_instance_uid in studies or (not record.study_instance_uid and record.request in rows)
            ),
        )

    def restore(self) -> None:
        """Enter everything that the ledger has, where the pickle is lost; it has to be verified before it counts."""
        records, entries = self._checkpoint.records, self._checkpoint.entries
        entries.update(dict.fromkeys(_study_entry(record) for record in records if record.study_instance_uid))
        for text in {record.request for record in records}:
            request = request_of(text)
            if self.carried_row(request) is not None:
                entries.update(dict.fromkeys(_row_entries(request)))

    def _has(self, entry: str) -> bool:
        entries = self._checkpoint.entries
        return entry in entries or ("," in entry and entry.replace(",", ", ", 1) in entries)


def _row_result(row: Record) -> RowResult:
    return _retrieved(row.studies, row.expected, row.received, row.attempts, row.detail)


@functools.lru_cache(maxsize=1000)
def _retrieved(studies: int, expected: int, received: int, attempts: int, detail: str) -> RowResult:
    """Rows in their thousands have the same result, and it is kept once."""
    return RowResult(Outcome.RETRIEVED, studies, expected, received, attempts, detail)


def _row_entries(request: Request) -> Sequence[str]:
    """The entries of a whole row, for the two kinds of list that Niffler enters by row."""
    match request.keywords:
        case ("PatientID",):
            return request.values
        case ("PatientID", "AccessionNumber"):
            return (",".join(request.values),)
        case ("AccessionNumber", "PatientID"):
            return (",".join(reversed(request.values)),)
    return ()


def _earlier_entries(request: Request) -> Sequence[str]:
    """What an earlier Niffler would have entered, where that can be read in one way only: not "a,b,c"."""
    return () if "," in "".join(request.values) else _row_entries(request)


def _study_entry(record: Record) -> str:
    return f"{record.patient_id},{record.study_instance_uid}"


def _now() -> str:
    return datetime.now().isoformat(timespec="seconds")


def begun_rows(books: Books, requests: Sequence[Request], wanted: Iterable[int]) -> dict[int, RowResult]:
    """Of the requests that are wanted (by index) those that are verified but were not counted again."""
    return {index: result for index in wanted if (result := books.begun_row(requests[index])) is not None}


def carried_rows(books: Books, requests: Iterable[Request], *, retrieves: bool) -> dict[int, RowResult]:
    """The requests (by index) that need not be asked again, with their results."""
    carry = books.carried_row if retrieves else books.carried_find
    return {index: result for index, request in enumerate(requests) if (result := carry(request)) is not None}
