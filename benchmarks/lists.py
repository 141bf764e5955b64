"""Generated lists of any length, and checkpoints in which so many of their rows are complete."""

from pathlib import Path

from niffler.books import Books
from niffler.checkpoint import Checkpoint
from niffler.vocabulary import Outcome, Request, RowResult, Study, StudyResult

KEYWORDS = ("PatientID", "AccessionNumber")
ENTRIES_PER_ROW = 2
"""A row of these keywords has an entry for itself in the checkpoint, and one for its study."""
INSTANCES = 4
_ROWS_PER_PATIENT = 2
_ENTERED_AT_ONCE = 10_000


def write_list(path: Path, rows: int) -> None:
    """Write a list of patients and accession numbers, with a column that nobody asks by."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write(",".join((*KEYWORDS, "StudyDescription")) + "\n")
        stream.writelines(f"{','.join(_values(row))},Chest CT {row}\n" for row in range(rows))


def write_checkpoint(modified_list: Path, rows: int) -> None:
    """Enter the first rows of such a list as complete, as a run does that comes to an orderly end."""
    checkpoint = Checkpoint(modified_list)
    checkpoint.begin()
    books = Books(checkpoint)
    for row in range(rows):
        request = Request(KEYWORDS, _values(row))
        study = study_of(*request.values)
        books.study_complete(StudyResult(study, Outcome.RETRIEVED, INSTANCES, INSTANCES, 1), 1.0, INSTANCES << 13)
        books.enter_study(request, 1, study)
        books.enter_row(request, RowResult(Outcome.RETRIEVED, 1, INSTANCES, INSTANCES, 1), [study])
        if row % _ENTERED_AT_ONCE == _ENTERED_AT_ONCE - 1:
            books.commit()
    books.commit()
    checkpoint.close()


def study_of(patient_id: str, accession_number: str) -> Study:
    """The one study of a row."""
    return Study(f"1.2.826.0.1.3680043.8.498.1{accession_number[1:]}", patient_id, accession_number, INSTANCES)


def _values(row: int) -> tuple[str, str]:
    return f"{row // _ROWS_PER_PATIENT:08}", f"A{row:09}"
