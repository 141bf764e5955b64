"""What was verified, study by study and request by request: the file beside the checkpoint that says how much."""

import csv
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from niffler.errors import WrongInputError
from niffler.files import csv_chunks
from niffler.vocabulary import Request


class Record(NamedTuple):
    """One study of one request as it was verified, or, without a UID, a request whose answer is complete.

    ``studies`` is how many the request has in all. The record of a request stands after those of its studies; that of
    its only study says it all, but has 0 there as long as the request is not complete. A tuple, as
    a list can have a million of them.
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
    values = request.values
    together = "".join(values)
    if not (together.isascii() and together.isalnum()):  # quote() would leave those as they are, but takes its time
        values = tuple([quote(value, safe=" ") for value in values])
    return _form(request.keywords) % values


@functools.cache
def _form(keywords: tuple[str, ...]) -> str:
    return "&".join(f"{keyword}=%s" for keyword in keywords)


def request_of(text: str) -> Request:
    """The request that a text stands for."""
    pairs = [pair.partition("=") for pair in text.split("&")]
    return Request(tuple(keyword for keyword, _, _ in pairs), tuple(unquote(value) for _, _, value in pairs))


def header_line() -> str:
    """The first line of a ledger."""
    return ",".join(_HEADER) + "\n"


def record_lines(records: Iterable[Record]) -> str:
    """Records as lines of CSV."""
    return "".join(csv_chunks(records))


def read_ledger(path: Path, *, being_written: bool = False) -> list[Record]:
    """The records of a ledger, none where there is no file; raises WrongInputError where it is no ledger.

    In one that is ``being_written`` by another run the last line may not be whole, and does not count then.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = (line for line in stream if line.endswith(("\n", "\r"))) if being_written else stream
            return list(_records(path, csv.reader(lines)))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, str(error)) from None


def _records(path: Path, lines: Iterable[list[str]]) -> Iterable[Record]:
    last_request = last_finished = ""
    for number, cells in enumerate(lines, 1):
        if number == 1 and tuple(cells) == _HEADER:
            continue
        try:
            (request, studies, patient, uid, accession, expected, received, attempts, seconds, size, finished,
             detail) = cells  # fmt: skip
            # Neighbours have much in common, and each text is kept once.
            request = last_request = last_request if request == last_request else request
            finished = last_finished = last_finished if finished == last_finished else finished
            yield Record(request, int(studies), patient, uid, accession, int(expected), int(received), int(attempts),
                         float(seconds), int(size), finished, detail)  # fmt: skip
        except ValueError:
            raise _unreadable(path, f"line {number} is not a record") from None


def _unreadable(path: Path, why: str) -> WrongInputError:
    return WrongInputError(f"{path}: {why}; to start from scratch, move it away together with the pickle beside it")


assert len(_HEADER) == len(Record._fields)
