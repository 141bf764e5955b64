"""What was verified, study by study and request by request: the file beside the checkpoint that says how much."""

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from urllib.parse import quote

from niffler.errors import WrongInputError
from niffler.files import csv_chunks
from niffler.vocabulary import Request


@dataclass(frozen=True, slots=True)
class Record:
    """One study of one request as it was verified, or, without a UID, a request whose answer is complete.

    ``studies`` is how many the request has in all. The record of a request stands after those of its studies.
    """

    request: str
    studies: int
    patient_id: str
    study_instance_uid: str
    accession_number: str
    expected: int
    received: int
    attempts: int
    seconds: float
    size: int
    """Bytes received."""
    finished: str
    """Local time, ISO 8601."""
    detail: str = ""


_HEADER = ("Request", "Studies", "PatientID", "StudyInstanceUID", "AccessionNumber", "Expected", "Received", "Attempts",
           "Seconds", "Bytes", "Finished", "Detail")  # fmt: skip


def request_text(request: Request) -> str:
    """A request as one unambiguous text, equal for equal requests only."""
    return "&".join(
        f"{keyword}={quote(value, safe=' ')}" for keyword, value in zip(request.keywords, request.values, strict=True)
    )


def header_line() -> str:
    """The first line of a ledger."""
    return ",".join(_HEADER) + "\n"


def record_line(record: Record) -> str:
    """One record as a line of CSV."""
    return "".join(csv_chunks([astuple(record)]))


def read_ledger(path: Path) -> list[Record]:
    """The records of a ledger, none where there is no file; raises WrongInputError where it is no ledger."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return list(_records(path, csv.reader(stream)))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, str(error)) from None


def _records(path: Path, lines: Iterable[list[str]]) -> Iterable[Record]:
    for number, cells in enumerate(lines, 1):
        if number == 1 and tuple(cells) == _HEADER:
            continue
        try:
            (request, studies, patient, uid, accession, expected, received, attempts, seconds, size, finished,
             detail) = cells  # fmt: skip
            yield Record(request, int(studies), patient, uid, accession, int(expected), int(received), int(attempts),
                         float(seconds), int(size), finished, detail)  # fmt: skip
        except ValueError:
            raise _unreadable(path, f"line {number} is not a record") from None


def _unreadable(path: Path, why: str) -> WrongInputError:
    return WrongInputError(f"{path}: {why}; to start from scratch, move it away together with the pickle beside it")


assert len(_HEADER) == len(fields(Record))
