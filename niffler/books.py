"""What a run enters into checkpoint and ledger: studies and rows that it verified, and what it takes out again."""

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import filterfalse

from niffler.checkpoint import Checkpoint
from niffler.known import Known, Told, has_grown, row_entries, row_result, study_entry
from niffler.ledger import Record, request_of, request_text
from niffler.vocabulary import Request, RowResult, Study, StudyResult


class Books(Known):
    """What is known, and what is about to be entered into the checkpoint; nothing counts before ``commit`` returns."""

    def __init__(self, checkpoint: Checkpoint, elsewhere: Sequence[Told] = ()) -> None:
        super().__init__(checkpoint, elsewhere)
        self._checkpoint = checkpoint
        self._new_entries: list[str] = []
        self._new_records: list[Record] = []

    def study_complete(self, result: StudyResult, seconds: float, size: int) -> None:
        """A study was verified; it is entered for every request that wants it."""
        study = result.study
        record = Record(
            "", 0, study.patient_id, study.study_instance_uid, study.accession_number, result.expected, result.received,
            result.attempts, round(seconds, 3), size, _now(), result.detail,
        )  # fmt: skip
        self._keep(record, is_here=True)

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
        self._new_entries.extend(row_entries(request))
        row = self._rows.get(text)
        if row is not None and row_result(row) == result:
            return  # the record of its only study says it all
        if all(study.study_instance_uid in self._by_study for study in studies):
            self._enter_answer(text, result)

    def _enter_study(self, request: Request, studies: int, study: Study) -> None:
        record = self._by_study.get(study.study_instance_uid)
        if record is not None:  # an earlier Niffler's entry stays what it is: not verified
            entered = record._replace(request=request_text(request), studies=studies)
            is_here = study.study_instance_uid not in self._elsewhere
            self._note(entered, is_here=is_here)
            self._new_records.append(entered)
            if is_here:  # else the row is complete with it, but its entry stays where its images are
                self._new_entries.append(study_entry(entered))

    def take_back(self, study: Study) -> None:
        """The PACS has more of a study than was verified: it is not complete any more, and no row with it."""
        self.commit()  # its entry may be among the new ones
        record = self._by_study.get(study.study_instance_uid)
        if record is None:
            entry = f"{study.patient_id},{study.study_instance_uid}"
            self._checkpoint.take_back([entry, entry.replace(",", ", ", 1)], [])
            return
        grown = record._replace(
            studies=record.studies if record.studies > 1 else 0,
            expected=study.announced_instances or record.expected,
            finished=_now(),
        )
        self._checkpoint.take_back([study_entry(record)], [grown])
        self._note(grown, is_here=True)

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
        self._note(row, is_here=True)
        self._new_records.append(row)

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
            known.update(row_entries(request_of(record.request)))
            if record.study_instance_uid:
                known.add(study_entry(record))
        return [entry for entry in self._checkpoint.entries if entry.replace(", ", ",", 1) not in known]

    def withdraw(self, studies: Collection[str], entries: Collection[str]) -> None:
        """Take out studies that are not complete after all, each row that has one, and an earlier Niffler's entries.

        That a study has grown stays on record: another split may have it as it was. The books are as they were; open
        them anew.
        """
        gone = [record for record in self._checkpoint.records if record.study_instance_uid in studies]
        rows = {record.request for record in gone}
        leaving = {*entries, *map(study_entry, gone), *(record.patient_id for record in gone)}
        for text in rows:
            leaving.update(row_entries(request_of(text)))
        leaving |= {entry.replace(",", ", ", 1) for entry in leaving}
        self._checkpoint.withdraw(
            leaving,
            lambda record: (
                (record.study_instance_uid in studies and not has_grown(record))
                or (not record.study_instance_uid and record.request in rows)
            ),
        )

    def restore(self) -> None:
        """Enter everything that the ledger has, where the pickle is lost; it has to be verified before it counts."""
        records, entries = self._checkpoint.records, self._checkpoint.entries
        entries.update(dict.fromkeys(map(study_entry, filterfalse(has_grown, self._by_study.values()))))
        for text in {record.request for record in records}:
            request = request_of(text)
            if self.carried_row(request) is not None:
                entries.update(dict.fromkeys(row_entries(request)))


def _now() -> str:
    return datetime.now().isoformat(timespec="seconds")
