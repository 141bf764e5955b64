"""What checkpoints say is complete: which rows, which studies, and how many images lie here."""

import functools
import heapq
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Protocol

from niffler.ledger import Record, request_text
from niffler.vocabulary import Outcome, Request, RowResult, Study, StudyResult

NOT_VERIFIED = "from an earlier checkpoint, not verified"
_NOTHING = Record("", 0, "", "", "", 0, 0, 0, 0.0, 0, "")


class Told(Protocol):
    """A checkpoint, open or as it was read: the entries of its pickle, and the records of its ledger."""

    @property
    def entries(self) -> Collection[str]:
        """The entries."""

    @property
    def records(self) -> Sequence[Record]:
        """The records, in the order in which they were made."""


class Known:
    """What the checkpoint of a run says, together with those of the same list in other splits.

    What is complete ``elsewhere`` counts, but stays there: the images of a study lie where it was retrieved last.
    """

    def __init__(self, here: Told, elsewhere: Sequence[Told] = ()) -> None:
        self._pickles = [one.entries for one in (here, *elsewhere)]
        self._by_request: dict[str, tuple[Record, ...]] = {}
        self._rows: dict[str, Record] = {}
        self._by_study: dict[str, Record] = {}
        self._elsewhere: set[str] = set()
        self.verified_images = 0
        self.verified_size = 0
        for record, is_here in _in_order_of_time(here, elsewhere):
            self._note(record, is_here=is_here)

    @property
    def verified_studies(self) -> int:
        """How many studies were verified here."""
        return len(self._by_study) - len(self._elsewhere)

    @property
    def studies(self) -> Sequence[tuple[str, str]]:
        """PatientID and StudyInstanceUID of every study that was verified here."""
        return [(record.patient_id, record.study_instance_uid) for record in self.records]

    @property
    def records(self) -> Sequence[Record]:
        """The last record of each of them."""
        return [
            record
            for record in self._by_study.values()
            if record.study_instance_uid not in self._elsewhere and self._is_complete(record)
        ]

    def carried_row(self, request: Request) -> RowResult | None:
        """The result of a row whose retrieval is complete according to the checkpoints, else None.

        Our own ledger decides where it knows the row: the row has to be complete in it, and each of its studies in the
        pickle. Entries of an earlier Niffler have no ledger.
        """
        text = request_text(request)
        row = self._rows.get(text)
        if row is not None:
            studies = self._studies_of(row)
            if len(studies) == row.studies and all(map(self._is_complete, studies)):
                return row_result(row)
            return None
        if text not in self._by_request and any(map(self._has, _earlier_entries(request))):
            return RowResult(Outcome.RETRIEVED, detail=NOT_VERIFIED)
        return None

    def begun_row(self, request: Request) -> RowResult | None:
        """The result of a row whose studies are verified, but of which it was not asked again whether it has more."""
        text = request_text(request)
        records = self._by_request.get(text)
        if not records or text in self._rows:
            return None
        count = len(records)
        if any(max(one.studies, 1) != count or not self._is_complete(one) for one in records):
            return None  # some are missing, or the row had other studies when it was looked up before
        expected, received = sum(one.expected for one in records), sum(one.received for one in records)
        detail = records[0].detail if count == 1 else ""
        return _retrieved(count, expected, received, max(one.attempts for one in records), detail)

    def carried_find(self, request: Request) -> RowResult | None:
        """The result of a row whose metadata is in an output already, else None."""
        text = request_text(request)
        row = self._rows.get(text)
        if row is None or not self._has(text):
            return None
        return RowResult(Outcome.FOUND, studies=row.studies, attempts=row.attempts, detail=row.detail)

    def verified(self, study: Study) -> StudyResult | None:
        """The result of a study that a checkpoint has, else None."""
        if not self._has(f"{study.patient_id},{study.study_instance_uid}"):
            return None
        record = self._by_study.get(study.study_instance_uid)
        if record is None:
            return StudyResult(study, Outcome.RETRIEVED, detail=NOT_VERIFIED)
        if has_grown(record):
            return None
        return StudyResult(study, Outcome.RETRIEVED, record.expected, record.received, record.attempts, record.detail)

    def knows(self, request: Request) -> bool:
        """Whether a ledger has anything of a request."""
        return request_text(request) in self._by_request

    def _note(self, record: Record, *, is_here: bool | None) -> None:
        uid = record.study_instance_uid
        if not uid:
            self._rows[record.request] = record
            return
        self._keep(record, is_here=is_here)
        others = self._by_request.get(record.request, ())
        if others:  # the last ones are those of the row
            others = tuple(other for other in others if other.study_instance_uid != uid)
        self._by_request[record.request] = (*others, record)
        if record.studies == 1:
            self._rows[record.request] = record
        else:
            self._rows.pop(record.request, None)  # it was asked again, and is not complete before its record comes

    def _keep(self, record: Record, *, is_here: bool | None) -> None:
        uid = record.study_instance_uid
        before = self._by_study.get(uid)
        if is_here is None:  # its images are where they were
            is_here = before is not None and uid not in self._elsewhere
        self._by_study[uid] = record
        if not is_here or self._elsewhere:  # else, as nearly always, everything is here
            if uid in self._elsewhere:
                before = None
            if record.received >= record.expected:  # else its images are where they were
                (self._elsewhere.discard if is_here else self._elsewhere.add)(uid)
            if uid in self._elsewhere:
                record = _NOTHING
        self.verified_images += record.received - (before.received if before else 0)
        self.verified_size += record.size - (before.size if before else 0)

    def _studies_of(self, row: Record) -> Sequence[Record]:
        if row.study_instance_uid:
            return (row,)
        return self._by_request.get(row.request, ())[-row.studies :] if row.studies else ()

    def _is_complete(self, study: Record) -> bool:
        """One checkpoint may have taken back what another one has an entry of, and for one request only.

        So the last record of the study decides, whichever request it is of.
        """
        last = self._by_study[study.study_instance_uid]
        return last.received >= last.expected and self._has(f"{study.patient_id},{study.study_instance_uid}")

    def _has(self, entry: str) -> bool:
        if entry in self._pickles[0]:  # as nearly always, and it is asked for each of a million rows
            return True
        spaced = entry.replace(",", ", ", 1)  # as some versions of Niffler write it
        return any(entry in entries or spaced in entries for entries in self._pickles)


def begun_rows(known: Known, requests: Sequence[Request], wanted: Iterable[int]) -> dict[int, RowResult]:
    """Of the requests that are wanted (by index) those that are verified but were not counted again."""
    return {index: result for index in wanted if (result := known.begun_row(requests[index])) is not None}


def carried_rows(known: Known, requests: Iterable[Request], *, retrieves: bool) -> dict[int, RowResult]:
    """The requests (by index) that need not be asked again, with their results."""
    carry = known.carried_row if retrieves else known.carried_find
    return {index: result for index, request in enumerate(requests) if (result := carry(request)) is not None}


def row_result(row: Record) -> RowResult:
    """What the record of a row says."""
    return _retrieved(row.studies, row.expected, row.received, row.attempts, row.detail)


@functools.lru_cache(maxsize=1000)
def _retrieved(studies: int, expected: int, received: int, attempts: int, detail: str) -> RowResult:
    """Rows in their thousands have the same result, and it is kept once."""
    return RowResult(Outcome.RETRIEVED, studies, expected, received, attempts, detail)


def row_entries(request: Request) -> Sequence[str]:
    """The entries of a whole row, for the two kinds of list that Niffler enters by row."""
    match request.keywords:
        case ("PatientID",):
            return request.values
        case ("PatientID", "AccessionNumber"):
            return (",".join(request.values),)
        case ("AccessionNumber", "PatientID"):
            return (",".join(reversed(request.values)),)
    return ()


def study_entry(record: Record) -> str:
    """The entry of a study."""
    return f"{record.patient_id},{record.study_instance_uid}"


def _earlier_entries(request: Request) -> Sequence[str]:
    """What an earlier Niffler would have entered, where that can be read in one way only: not "a,b,c"."""
    return () if "," in "".join(request.values) else row_entries(request)


def has_grown(study: Record) -> bool:
    """Whether the PACS has announced more of a study after it was verified."""
    return study.received < study.expected


def _in_order_of_time(here: Told, elsewhere: Sequence[Told]) -> Iterator[tuple[Record, bool | None]]:
    """The records of all ledgers as one would have them, and whether the images of each are here; None: as before.

    Each ledger keeps its order: a study that is entered for another row later on has its old time.
    """
    if not elsewhere:
        return zip(here.records, repeat(True))
    ledgers = [*(_told_by(one, is_here=False) for one in elsewhere), _told_by(here, is_here=True)]
    return heapq.merge(*ledgers, key=lambda told: told[0].finished)


def _told_by(one: Told, *, is_here: bool) -> Iterator[tuple[Record, bool | None]]:
    """A ledger may also name studies for a row that were retrieved elsewhere; its pickle has no entry of them."""
    return ((record, is_here if study_entry(record) in one.entries else None) for record in one.records)
