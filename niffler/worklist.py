"""The CSV → requests, the modified CSV, and the reason for each row that cannot be asked for."""

import csv
import io
import itertools
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from niffler.cell import cell_reader
from niffler.errors import CellError, WrongInputError
from niffler.files import write_csv
from niffler.keywords import is_keyword
from niffler.settings import ExtractionSettings
from niffler.vocabulary import Request

OUTCOME_COLUMNS = ("Outcome", "Studies", "Expected", "Received", "Attempts", "Detail")
"""The columns that the outcome files add to the input; an input that ends with them has them replaced."""

_STUDY_MONTH = "StudyMonth"


@dataclass(frozen=True)
class Column:
    """One attribute of the query: its DICOM keyword (or StudyMonth) and the index of its CSV column."""

    keyword: str
    index: int


@dataclass(frozen=True)
class Worklist:
    """The rows of a CSV and what they ask for.

    ``table`` holds the input as text, a row each; ``lines`` the line of the file on which each row begins.
    ``request_of_row`` gives the index into ``requests``, or -1 for a row in ``faults`` (row → reason). Rows
    with the same keys share one request.
    """

    table: pd.DataFrame
    lines: Sequence[int]
    requests: Sequence[Request]
    request_of_row: Sequence[int]
    faults: dict[int, str]
    warnings: tuple[str, ...] = ()


def rows_by_request(worklist: Worklist) -> Callable[[int], Sequence[int]]:
    """A function that tells the rows of a request."""
    requests = np.asarray(worklist.request_of_row)
    order = np.argsort(requests, kind="stable")
    starts = np.searchsorted(requests[order], np.arange(len(worklist.requests) + 1))

    def rows_of(request: int) -> Sequence[int]:
        rows: list[int] = order[starts[request] : starts[request + 1]].tolist()
        return rows

    return rows_of


def without_value(fault: str) -> str:
    """The reason of a fault alone, equal for equal reasons: no line, and nothing of what stood in the cell."""
    reason = re.sub(r"^line \d+: ", "", fault)
    reason = re.sub(r" '.*' (?=\w)", " ", reason, count=1, flags=re.DOTALL)
    return re.sub(r" writes it \(.*\);", " writes it;", reason)


def columns_asked(settings: ExtractionSettings) -> list[Column]:
    """The columns that a row is asked by."""
    return [Column(attribute.keyword, attribute.index) for attribute in settings.attributes]


def read_list(settings: ExtractionSettings, csv_file: Path) -> Worklist:
    """Read a CSV as config.json says; see ``read_worklist``."""
    return read_worklist(
        csv_file,
        columns_asked(settings),
        date_format=settings.date_format,
        long_accession=settings.long_accession,
        allow_wildcards=settings.allow_wildcards,
    )


def read_worklist(
    csv_file: Path, columns: Sequence[Column], *, date_format: str, long_accession: bool, allow_wildcards: bool
) -> Worklist:
    """Read the CSV; raise WrongInputError where the file as a whole cannot be used."""
    header, rows, lines, warnings = _read_table(csv_file)
    last = max(column.index for column in columns)
    if last >= len(header):
        named = next(column for column in columns if column.index == last)
        raise WrongInputError(
            f"{csv_file}: column index {last} for {named.keyword} is beyond the {len(header)} columns of the file "
            f"({', '.join(header)}); indexes start at 0"
        )
    warnings += [warning for column in columns if (warning := _doubt_of_header(csv_file, header, column))]
    is_month = [
        column.keyword == _STUDY_MONTH or (column.keyword == "StudyDate" and header[column.index] == _STUDY_MONTH)
        for column in columns
    ]
    keywords = tuple("StudyDate" if column.keyword == _STUDY_MONTH else column.keyword for column in columns)
    readers = [
        (
            column.index,
            keyword,
            cell_reader(
                keyword,
                months=months,
                date_format=date_format,
                long_accession=long_accession,
                allow_wildcards=allow_wildcards,
            ),
        )
        for column, keyword, months in zip(columns, keywords, is_month, strict=True)
    ]
    known: dict[tuple[str, ...], int] = {}
    request_of_row = array("q")
    faults: dict[int, str] = {}
    for row, cells in enumerate(rows):
        values: list[str] = []
        try:
            for index, keyword, read in readers:
                cell = cells[index].strip()
                if not cell:
                    raise CellError(f"column {index} ({keyword}) is empty")
                try:
                    values.append(read(cell))
                except CellError as fault:
                    raise CellError(f"{keyword} '{_shown(cell)}' {fault}") from None
        except CellError as fault:
            faults[row] = f"line {lines[row]}: {fault}"
            request_of_row.append(-1)
        else:
            request_of_row.append(known.setdefault(tuple(values), len(known)))
    requests = [Request(keywords, values) for values in known]
    # pandas names columns uniquely only when it reads a file itself; here they stay as they were written.
    table = pd.DataFrame(rows, columns=pd.Index(header, dtype=object), dtype=object)
    return Worklist(table, lines, requests, request_of_row, faults, tuple(warnings))


def lines_of_rows(csv_file: Path) -> Sequence[int]:
    """The line of the file on which each row begins; raises WrongInputError where it cannot be used."""
    return _read_table(csv_file)[2]


def write_modified_csv(path: Path, worklist: Worklist, columns: Sequence[Column]) -> None:
    """Write the list as it will be queried: dates as YYYYMMDD, months as ranges, accessions shortened."""
    header = [str(name) for name in worklist.table.columns]
    cells = [worklist.table.iloc[:, index].tolist() for index in range(len(header))]
    for position, column in enumerate(columns):
        if header[column.index] == _STUDY_MONTH:
            header[column.index] = "StudyDate"
        for row, request in enumerate(worklist.request_of_row):
            if request >= 0:
                cells[column.index][row] = worklist.requests[request].values[position]
    write_csv(path, itertools.chain([header], zip(*cells, strict=True)))


def _read_table(csv_file: Path) -> tuple[list[str], list[list[str]], "array[int]", list[str]]:
    text = _read_text(csv_file)
    first_line = next((line for line in io.StringIO(text) if line.strip(' ,;\t"\r\n')), "")
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in first_line and "," not in first_line:
            raise WrongInputError(f"{csv_file}: the columns are separated by {name}; save the list with commas")
    rows: list[list[str]] = []
    lines = array("q")
    warnings: list[str] = []
    width = 0
    header: list[str] | None = None
    for line, last_line, cells in _records(csv_file, text):
        if not any(cell and not cell.isspace() for cell in cells):
            continue
        if header is None:
            header = cells
            continue
        if last_line > line:
            warnings.append(f"{csv_file}: line {line}: one row reaches to line {last_line}; if that is not meant, a "
                            "quotation mark is missing or too many")  # fmt: skip
        width = max(width, len(cells))
        rows.append(cells)
        lines.append(line)
    if header is None:
        raise WrongInputError(f"{csv_file}: the file is empty; its first line names the columns, each other is a row")
    if not rows:
        raise WrongInputError(f"{csv_file}: no rows; the first line names the columns and is not a row")
    header = [name.strip() for name in header]
    header, keep = _without_outcome_columns(header)
    width = len(header) if keep is not None else max(width, len(header))
    header += [""] * (width - len(header))
    for row, cells in enumerate(rows):
        if len(cells) != width:
            rows[row] = cells[:width] + [""] * (width - len(cells))
    while len(header) > 1 and not header[-1] and not any(cells[-1] for cells in rows):
        header.pop()  # lines that end in a comma, as spreadsheets write them
        for cells in rows:
            cells.pop()
    return header, rows, lines, warnings


def _without_outcome_columns(header: list[str]) -> tuple[list[str], int | None]:
    """Cut the outcome columns off the header of an outcomes file that is given as input again."""
    kept = len(header) - len(OUTCOME_COLUMNS)
    if kept > 0 and tuple(header[kept:]) == OUTCOME_COLUMNS:
        return header[:kept], kept
    return header, None


def _records(csv_file: Path, text: str) -> Iterator[tuple[int, int, list[str]]]:
    """Each record with its first and last line; a malformed one is an error, as it would swallow other rows."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise WrongInputError(
                f"{csv_file}: line {line}: not valid CSV ({error}); check the quotation marks"
            ) from None
        yield line, reader.line_num, cells
        line = reader.line_num + 1


def _doubt_of_header(csv_file: Path, header: Sequence[str], column: Column) -> str:
    """Why the header speaks against a column that was chosen by its index; empty where it does not."""
    name = header[column.index]
    if name != column.keyword and is_keyword(name) and {name, column.keyword} != {"StudyDate", _STUDY_MONTH}:
        return (
            f"{csv_file}: column {column.index} is headed {name}, but is asked as {column.keyword}; is its index right?"
        )
    if sum(character.isdigit() for character in name) > len(name) / 2:
        return f"{csv_file}: the first line looks like a row, not like a header; it is not asked for"
    return ""


def _read_text(csv_file: Path) -> str:
    try:
        content = csv_file.read_bytes()
    except OSError as error:
        raise WrongInputError(f"{csv_file}: cannot be read: {error.strerror}; check CsvFile") from None
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise WrongInputError(f"{csv_file}: is a spreadsheet (xlsx, xls), not a CSV; save it as CSV UTF-8")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or content.count(0) > len(content) // 4:
        raise WrongInputError(
            f"{csv_file}: is not a text in UTF-8 (UTF-16, or not a text at all); save it as CSV UTF-8"
        )
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise WrongInputError(f"{csv_file}: is neither UTF-8 nor Windows-1252; save it as CSV UTF-8")


def _shown(cell: str) -> str:
    """A cell in a message: no control characters, no endless text."""
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cell)
    return text if len(text) <= 40 else f"{text[:39]}…"
