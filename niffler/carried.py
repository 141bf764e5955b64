"""What a checkpoint lets a run carry over, and what a run enters into it."""

from collections.abc import Container, Mapping, Sequence

from niffler.ledger import Record, request_text
from niffler.vocabulary import Outcome, Request, RowResult, Study, StudyResult

NOT_VERIFIED = "from an earlier checkpoint, not verified"


def study_entry(study: Study) -> str:
    """The checkpoint's entry of a study."""
    return f"{study.patient_id},{study.study_instance_uid}"


def row_entries(request: Request) -> tuple[str, ...]:
    """The checkpoint's entries of a whole row, for the two kinds of list that Niffler enters by row."""
    keys = request.keys
    if set(keys) == {"PatientID"}:
        return (keys["PatientID"],)
    if set(keys) == {"PatientID", "AccessionNumber"}:
        return (f"{keys['PatientID']},{keys['AccessionNumber']}",)
    return ()


def carried_row(request: Request, entries: Container[str], records: Sequence[Record]) -> RowResult | None:
    """The result of a row that is complete according to the checkpoint, else None.

    Our own ledger decides where it knows the row: every study of the row has to be in it, and its entry in the
    pickle. Entries of an earlier Niffler have no ledger.
    """
    if records:
        studies = len(records)
        if any(record.studies != studies or _entry_of(record) not in entries for record in records):
            return None
        return RowResult(
            Outcome.RETRIEVED,
            studies=studies,
            expected=sum(record.expected for record in records),
            received=sum(record.received for record in records),
            attempts=max(record.attempts for record in records),
        )
    for entry in row_entries(request):
        if entry in entries or entry.replace(",", ", ", 1) in entries:
            return RowResult(Outcome.RETRIEVED, detail=NOT_VERIFIED)
    return None


def carried_find(request: Request, entries: Container[str], records: Sequence[Record]) -> RowResult | None:
    """The same for the C-FIND modes, whose entries are the requests themselves."""
    if not records or request_text(request) not in entries:
        return None
    return RowResult(Outcome.FOUND, studies=records[-1].studies, attempts=records[-1].attempts)


def carried_study(study: Study, entries: Container[str], known: Mapping[str, Record]) -> StudyResult | None:
    """The result of a study that the checkpoint has, else None; ``known`` are records by StudyInstanceUID."""
    entry = study_entry(study)
    if entry not in entries and entry.replace(",", ", ", 1) not in entries:
        return None
    record = known.get(study.study_instance_uid)
    if record is None:
        return StudyResult(study, Outcome.RETRIEVED, detail=NOT_VERIFIED)
    return StudyResult(
        study, Outcome.RETRIEVED, expected=record.expected, received=record.received, attempts=record.attempts
    )


def _entry_of(record: Record) -> str:
    return f"{record.patient_id},{record.study_instance_uid}"
