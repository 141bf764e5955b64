"""What becomes of a CSV: each row a request or a fault, whatever the file holds."""

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from niffler.cell import cell_reader
from niffler.errors import CellError, WrongInputError
from niffler.outcomes import outcomes_csv, unfinished_csv, write_outcomes
from niffler.shards import modified_csv
from niffler.vocabulary import Outcome, Request, RowResult
from niffler.worklist import (
    OUTCOME_COLUMNS,
    Column,
    Worklist,
    read_worklist,
    rows_by_request,
    write_modified_csv,
)

ROOT = Path(__file__).resolve().parent.parent
PATIENT = Column("PatientID", 0)
ACCESSION = Column("AccessionNumber", 1)
DATE = Column("StudyDate", 2)
MONTH = Column("StudyMonth", 2)

Read = Callable[..., Worklist]


def read_file(
    path: Path,
    *columns: Column,
    date_format: str = "%Y%m%d",
    long_accession: bool = False,
    allow_wildcards: bool = False,
) -> Worklist:
    return read_worklist(
        path, columns, date_format=date_format, long_accession=long_accession, allow_wildcards=allow_wildcards
    )


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a CSV of this content."""

    def read_content(content: str | bytes, *columns: Column, **options: object) -> Worklist:
        path = tmp_path / "list.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_file(path, *columns, **options)  # type: ignore[arg-type]

    return read_content


def sent(
    keyword: str,
    cell: str,
    *,
    months: bool = False,
    date_format: str = "%Y%m%d",
    long_accession: bool = False,
    allow_wildcards: bool = False,
) -> str:
    """The value that a stripped cell is sent as."""
    return cell_reader(
        keyword,
        months=months,
        date_format=date_format,
        long_accession=long_accession,
        allow_wildcards=allow_wildcards,
    )(cell)


def values(worklist: Worklist) -> list[tuple[str, ...]]:
    """What each row asks for; nothing for a row with a fault."""
    return [worklist.requests[request].values if request >= 0 else () for request in worklist.request_of_row]


# Everything is text


def test_leading_zeros_stay(read: Read) -> None:
    assert values(read("EMPI\n00001234\n0\n1234\n", PATIENT)) == [("00001234",), ("0",), ("1234",)]


def test_what_looks_like_a_number_or_nothing_stays_text(read: Read) -> None:
    cells = ["1.0", "1e5", "NaN", "NA", "null", "True", "1_000", "0x1F"]
    assert values(read("EMPI\n" + "\n".join(cells) + "\n", PATIENT)) == [(cell,) for cell in cells]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_utf8_with_or_without_bom_and_windows_1252_are_read(read: Read, encoding: str) -> None:
    worklist = read("Überweiser,EMPI\nMüller,007\n".encode(encoding), PATIENT)
    assert list(worklist.table.columns) == ["Überweiser", "EMPI"]
    assert values(worklist) == [("Müller",)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_an_error_that_says_how_to_save_it(read: Read, encoding: str) -> None:
    with pytest.raises(WrongInputError, match=r"list\.csv: .*UTF-16.*save it as CSV UTF-8"):
        read("EMPI\n007\n".encode(encoding), PATIENT)


def test_bytes_that_no_encoding_knows_are_an_error(read: Read) -> None:
    with pytest.raises(WrongInputError, match=r"neither UTF-8 nor Windows-1252; save it as CSV UTF-8"):
        read(b"EMPI\n\x81\n", PATIENT)


def test_cells_are_stripped(read: Read) -> None:
    worklist = read("EMPI,Accession\n  0012 ,\tA1\u00a0\n", PATIENT, ACCESSION)
    assert values(worklist) == [("0012", "A1")]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(read: Read, line_end: str) -> None:
    worklist = read(line_end.join(["EMPI", "1", "", "2"]), PATIENT)
    assert values(worklist) == [("1",), ("2",)]
    assert list(worklist.lines) == [2, 4]


# Lines, header, columns


def test_the_header_is_skipped_whatever_it_says(read: Read) -> None:
    assert values(read("00012345\n00067890\n", PATIENT)) == [("00067890",)]


def test_columns_are_taken_by_index_whatever_their_header_says(read: Read) -> None:
    worklist = read("AccessionNumber,PatientID\nP1,A1\n", PATIENT, ACCESSION)
    assert worklist.requests == [Request(("PatientID", "AccessionNumber"), ("P1", "A1"))]


def test_attributes_may_come_in_any_order(read: Read) -> None:
    worklist = read("EMPI,Accession,Date\nP1,A1,20200115\n", DATE, ACCESSION, PATIENT)
    assert worklist.requests == [Request(("StudyDate", "AccessionNumber", "PatientID"), ("20200115", "A1", "P1"))]


def test_any_dicom_keyword_can_be_asked_for(read: Read) -> None:
    columns = (Column("Modality", 0), Column("BodyPartExamined", 1), Column("StudyInstanceUID", 2))
    worklist = read("a,b,c\nCT,CHEST,1.2.840.10008.1\n", *columns)
    assert worklist.requests[0].keys == {
        "Modality": "CT", "BodyPartExamined": "CHEST", "StudyInstanceUID": "1.2.840.10008.1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "columns", "keywords"),
    [
        ("empi.csv", (PATIENT,), ("PatientID",)),
        ("accession.csv", (Column("AccessionNumber", 0),), ("AccessionNumber",)),
        ("empi_accession.csv", (PATIENT, ACCESSION), ("PatientID", "AccessionNumber")),
        ("empi_accession_date.csv", (PATIENT, ACCESSION, DATE), ("PatientID", "AccessionNumber", "StudyDate")),
        ("empi_accession_month.csv", (PATIENT, ACCESSION, DATE), ("PatientID", "AccessionNumber", "StudyDate")),
        ("empi_accession_month.csv", (PATIENT, ACCESSION, MONTH), ("PatientID", "AccessionNumber", "StudyDate")),
    ],
)
def test_the_examples_of_each_format_can_be_asked_for(
    name: str, columns: tuple[Column, ...], keywords: tuple[str, ...]
) -> None:
    worklist = read_file(ROOT / "csv" / name, *columns)
    assert worklist.faults == {}
    assert {request.keywords for request in worklist.requests} == {keywords}
    if "month" in name:
        assert worklist.requests[0].keys["StudyDate"] == "20200101-20200131"


def test_lines_that_end_in_a_comma_shift_no_columns(read: Read) -> None:
    worklist = read("EMPI,Accession\nP1,A1,\nP2,A2,\n", PATIENT, ACCESSION)
    assert values(worklist) == [("P1", "A1"), ("P2", "A2")]
    assert list(worklist.table.columns) == ["EMPI", "Accession"]
    assert read("EMPI,Accession,,\nP1,A1,,\n", PATIENT, ACCESSION).table.to_numpy().tolist() == [["P1", "A1"]]


def test_a_line_without_any_text_is_not_a_row(read: Read) -> None:
    worklist = read('\n,,\nEMPI,Accession\n\nP1,A1\n,\n  ,\t\n"",""\nP2,A2\n\n', PATIENT, ACCESSION)
    assert values(worklist) == [("P1", "A1"), ("P2", "A2")]
    assert list(worklist.lines) == [5, 9]


def test_line_numbers_survive_blank_lines_and_cells_of_several_lines(read: Read) -> None:
    worklist = read('EMPI,Note\n\nP1,"one\ntwo\r\nthree"\n\nP*,x\n', PATIENT)
    assert list(worklist.lines) == [3, 7]
    assert worklist.faults[1].startswith("line 7: PatientID 'P*' ")


def test_a_row_that_reaches_over_lines_is_warned_of(read: Read) -> None:
    [warning] = read('EMPI,Note\nP1,"one\nP2,two"\n', PATIENT).warnings
    assert "list.csv: line 2: one row reaches to line 3" in warning


def test_short_rows_are_faults_only_where_a_key_is_missing(read: Read) -> None:
    worklist = read("EMPI,Accession,Note\nP1,A1\nP2\n,A3\nP4, ,x\n", PATIENT, ACCESSION)
    assert values(worklist) == [("P1", "A1"), (), (), ()]
    assert worklist.faults == {
        1: "line 3: column 1 (AccessionNumber) is empty",
        2: "line 4: column 0 (PatientID) is empty",
        3: "line 5: column 1 (AccessionNumber) is empty",
    }


def test_quoted_cells_may_hold_commas_and_quotation_marks(read: Read) -> None:
    worklist = read('Name,EMPI\n"Doe, ""J"", x",007\n', Column("PatientName", 0), Column("PatientID", 1))
    assert values(worklist) == [('Doe, "J", x', "007")]


def test_columns_with_the_same_header_are_kept_apart(read: Read) -> None:
    worklist = read("ID,ID\n1,2\n", PATIENT, ACCESSION)
    assert values(worklist) == [("1", "2")]
    assert list(worklist.table.columns) == ["ID", "ID"]


# Files that cannot be used


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_a_spreadsheet_given_as_csv_is_an_error(read: Read, magic: bytes) -> None:
    with pytest.raises(WrongInputError, match=r"is a spreadsheet \(xlsx, xls\), not a CSV"):
        read(magic + b"\x14\x00\x06\x00", PATIENT)


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_are_an_error_that_names_them(read: Read, separator: str, name: str) -> None:
    with pytest.raises(WrongInputError, match=f"separated by {name}; save the list with commas"):
        read(f"EMPI{separator}Accession\n1{separator}2,5\n", PATIENT)


def test_an_index_beyond_the_columns_is_an_error_that_names_both(read: Read) -> None:
    with pytest.raises(WrongInputError, match=r"column index 2 for StudyDate is beyond the 2 columns .*\(EMPI, Acc\)"):
        read("EMPI,Acc\nP1,A1\n", PATIENT, DATE)


@pytest.mark.parametrize("content", ["EMPI\n", "EMPI", "EMPI\n\n , \n"])
def test_a_file_with_no_rows_is_an_error(read: Read, content: str) -> None:
    with pytest.raises(WrongInputError, match=r"list\.csv: no rows; the first line names the columns"):
        read(content, PATIENT)


@pytest.mark.parametrize("content", ["", "\n\n", " ,\n", "\ufeff"])
def test_an_empty_file_is_an_error(read: Read, content: str) -> None:
    with pytest.raises(WrongInputError, match=r"list\.csv: the file is empty"):
        read(content, PATIENT)


def test_a_file_that_is_missing_or_a_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(WrongInputError, match=rf"{path.name}: cannot be read: .*; check CsvFile"):
            read_file(path, PATIENT)


@pytest.mark.parametrize("row", ['"P1,A1', '"P1"x,A1'])
def test_a_stray_quotation_mark_is_an_error_with_its_line(read: Read, row: str) -> None:
    with pytest.raises(WrongInputError, match=r"line 3: not valid CSV .*check the quotation marks"):
        read(f"EMPI,Acc\nP0,A0\n{row}\nP2,A2\n", PATIENT)


def test_wrong_input_ends_with_exit_code_2() -> None:
    assert WrongInputError.exit_code == 2


# Rows that cannot be used


@pytest.mark.parametrize(
    ("keyword", "cell", "reason"),
    [
        ("StudyDate", "2020-01-15", "is not a date of the form %Y%m%d; see DateFormat"),
        ("StudyDate", "20201315", "is not a date"),
        ("StudyDate", "20210229", "is not a date"),
        ("StudyDate", "202011", "is not written as %Y%m%d writes it (20200101)"),
        ("StudyDate", "2020115", "is not written as %Y%m%d"),
        ("StudyMonth", "202013", "is not a month: YYYYMM, YYYY-MM, YYYY-MM-DD or %Y%m%d"),
        ("StudyMonth", "2020", "is not a month"),
        ("PatientID", "9" * 65, "is longer than the 64 characters that PatientID can have"),
        ("AccessionNumber", "AAAAAAA2020BBBBBB", "is longer than the 16 characters"),
        ("AccessionNumber", "AAAAAAA2020BBBBBB", "see LongAccession"),
        ("PatientID", "12\x0734", "holds a control character or line break"),
        ("PatientID", "12\u202834", "holds a control character or line break"),
        ("StudyDate", "2020\x070115", "holds a control character or line break"),
        ("PatientID", "1.23E+11", "was damaged by a spreadsheet; export the column as text"),
        ("PatientID", "1,23E+11", "was damaged by a spreadsheet"),
        ("AccessionNumber", "2e+15", "was damaged by a spreadsheet"),
        ("StudyDate", "2.02E+07", "was damaged by a spreadsheet"),
        ("StudyMonth", "2.02E+05", "was damaged by a spreadsheet"),
        ("PatientID", "#N/A", "was damaged by a spreadsheet"),
        ("StudyDate", "########", "was damaged by a spreadsheet"),
        ("PatientID", "12*", "holds a DICOM wildcard or list separator (* ? \\); set AllowWildcards"),
        ("PatientID", "1?2", "holds a DICOM wildcard"),
        ("PatientID", "1\\2", "holds a DICOM wildcard or list separator"),
        ("StudyInstanceUID", "1.2.x", "is not of the form of StudyInstanceUID: digits and single dots"),
        ("StudyTime", "12:30", "is not of the form of StudyTime: HHMMSS"),
        ("PatientAge", "35", "is not of the form of PatientAge: nnnY"),
        ("SeriesNumber", "four", "is not of the form of SeriesNumber: a whole number"),
    ],
)
def test_a_row_that_cannot_be_used_has_its_line_and_reason_and_the_others_run(
    read: Read, keyword: str, cell: str, reason: str
) -> None:
    text = cell.replace('"', '""')
    good = {"StudyDate": "20200115", "StudyMonth": "202001", "StudyInstanceUID": "1.2.3", "StudyTime": "1230",
            "PatientAge": "035Y", "SeriesNumber": "4"}.get(keyword, "A1")  # fmt: skip
    worklist = read(f'Key\n{good}\n"{text}"\n{good}\n', Column(keyword, 0))
    assert list(worklist.faults) == [1]
    assert worklist.faults[1].startswith("line 3: ")
    assert reason in worklist.faults[1]
    assert list(worklist.request_of_row) == [0, -1, 0]


def test_a_fault_shows_no_control_characters_and_no_endless_text(read: Read) -> None:
    worklist = read(f'EMPI\n"1\n2"\n{"9" * 500}\n', PATIENT)
    assert all(fault.isprintable() and len(fault) < 150 for fault in worklist.faults.values())


@pytest.mark.parametrize("keyword", ["PatientID", "AccessionNumber", "StudyInstanceUID", "StudyDescription"])
@pytest.mark.parametrize("cell", ["12*", "1?", "1\\2", "*", "\\"])
def test_wildcards_are_refused_unless_they_are_allowed(keyword: str, cell: str) -> None:
    with pytest.raises(CellError, match="AllowWildcards"):
        sent(keyword, cell)


@pytest.mark.parametrize(
    ("keyword", "cell"),
    [
        ("PatientID", "12*"),
        ("AccessionNumber", "CT20?00017"),
        ("PatientName", "DOE^J*"),
        ("StudyInstanceUID", "1.2.3\\1.2.4"),
        ("AccessionNumber", "ABCDEFGHIJKLMNOP\\QRSTUVWXYZABCDEF"),
    ],
)
def test_wildcards_are_sent_where_they_are_allowed(keyword: str, cell: str) -> None:
    assert sent(keyword, cell, allow_wildcards=True) == cell


@pytest.mark.parametrize("cell", ["*", "**", "?", "? *", "\\", "P1\\", "\\P1", "P1\\*\\P2", "*?\\"])
def test_a_key_that_would_match_everything_is_never_sent(cell: str) -> None:
    with pytest.raises(CellError, match="match everything and is never sent"):
        sent("PatientID", cell, allow_wildcards=True)


@pytest.mark.parametrize(
    ("keyword", "cell"), [("StudyInstanceUID", "1.2.*"), ("StudyDate", "2020*"), ("StudyTime", "12*")]
)
def test_wildcards_in_types_without_them_are_faults_even_if_allowed(keyword: str, cell: str) -> None:
    with pytest.raises(CellError):
        sent(keyword, cell, allow_wildcards=True)


@pytest.mark.parametrize(
    ("keyword", "longest"),
    [("PatientID", 64), ("AccessionNumber", 16), ("StudyID", 16), ("StudyDescription", 64), ("Modality", 16)],
)
def test_a_value_may_be_as_long_as_its_vr_allows_and_no_longer(keyword: str, longest: int) -> None:
    assert sent(keyword, "X" * longest) == "X" * longest
    with pytest.raises(CellError, match=f"longer than the {longest} characters"):
        sent(keyword, "X" * (longest + 1))


def test_a_person_name_may_have_64_characters_in_each_group() -> None:
    assert sent("PatientName", "A" * 64 + "=" + "B" * 64)
    with pytest.raises(CellError, match="longer than the 64 characters"):
        sent("PatientName", "A" * 65 + "=B")


# Accession numbers, dates, months


def test_a_long_accession_number_loses_the_century() -> None:
    assert sent("AccessionNumber", "AAAAAAA2020BBBBBB", long_accession=True) == "AAAAAAA20BBBBBB"
    assert sent("AccessionNumber", "ABCDEFG1998HIJKLMN", long_accession=True) == "ABCDEFG98HIJKLMN"


def test_long_accession_leaves_16_characters_and_other_keywords_as_they_are() -> None:
    assert sent("AccessionNumber", "AAAAAAA2020BBBBB", long_accession=True) == "AAAAAAA2020BBBBB"
    assert sent("PatientID", "AAAAAAA2020BBBBBB", long_accession=True) == "AAAAAAA2020BBBBBB"


def test_an_accession_number_that_stays_too_long_is_a_fault() -> None:
    with pytest.raises(CellError, match="longer than the 16 characters"):
        sent("AccessionNumber", "AAAAAAA2020BBBBBBBB", long_accession=True)


@pytest.mark.parametrize(
    ("date_format", "cell"),
    [
        ("%Y%m%d", "20200115"), ("%m/%d/%y", "01/15/20"), ("%m-%d-%y", "01-15-20"), ("%m%d%y", "011520"),
        ("%d.%m.%Y", "15.01.2020"), ("%Y-%m-%d", "2020-01-15"), ("%d-%b-%Y", "15-Jan-2020"),
    ],
)  # fmt: skip
def test_dates_are_read_with_the_date_format_and_sent_as_yyyymmdd(date_format: str, cell: str) -> None:
    assert sent("StudyDate", cell, date_format=date_format) == "20200115"
    assert sent("PatientBirthDate", cell, date_format=date_format) == "20200115"


@pytest.mark.parametrize(
    ("date_format", "cell"),
    [("%Y%m%d", "202011"), ("%Y%m%d", "2020111"), ("%m/%d/%y", "1/15/20"), ("%Y%m%d", "\uff12020\u0660115")],
)
def test_a_date_that_does_not_format_back_is_a_fault(date_format: str, cell: str) -> None:
    with pytest.raises(CellError, match="see DateFormat"):
        sent("StudyDate", cell, date_format=date_format)


@given(st.dates(), st.sampled_from(["%Y%m%d", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%d"]))
def test_every_date_is_sent_as_the_day_that_was_written(day: object, date_format: str) -> None:
    written = format(day, date_format)
    four_digits = format(day, "%Y").zfill(4)
    try:
        assert sent("StudyDate", written, date_format=date_format) == four_digits + format(day, "%m%d")
    except CellError:
        assert four_digits.startswith("0"), "no list is that old"


@pytest.mark.parametrize("cell", ["202001", "2020-01", "2020-01-01", "2020-01-31", "20200115"])
def test_a_month_is_one_range_in_each_of_its_forms(cell: str) -> None:
    assert sent("StudyDate", cell, months=True) == "20200101-20200131"


@pytest.mark.parametrize(("date_format", "cell"), [("%m/%d/%y", "02/15/20"), ("%m/%Y", "02/2020"), ("%b %y", "Feb 20")])
def test_a_month_may_be_written_in_the_date_format(date_format: str, cell: str) -> None:
    assert sent("StudyDate", cell, months=True, date_format=date_format) == "20200201-20200229"


@pytest.mark.parametrize(("cell", "last"), [("202102", "28"), ("202002", "29"), ("202004", "30"), ("202012", "31")])
def test_a_month_ends_with_its_last_day(cell: str, last: str) -> None:
    assert sent("StudyDate", cell, months=True) == f"{cell}01-{cell}{last}"


def test_months_are_asked_as_study_date_by_attribute_and_by_header(read: Read) -> None:
    wanted = [Request(("PatientID", "StudyDate"), ("P1", "20200101-20200131"))]
    assert read("EMPI,Month\nP1,202001\n", PATIENT, Column("StudyMonth", 1)).requests == wanted
    assert read("EMPI,StudyMonth\nP1,202001\n", PATIENT, Column("StudyDate", 1)).requests == wanted
    assert read("EMPI,StudyMonth\nP1,202001\n", PATIENT, Column("StudyMonth", 1)).requests == wanted


def test_no_other_header_has_a_meaning(read: Read) -> None:
    worklist = read("EMPI,Month\nP1,202001\nP2,20200115\n", PATIENT, Column("StudyDate", 1))
    assert list(worklist.faults) == [0]
    assert values(worklist)[1] == ("P2", "20200115")
    assert values(read("StudyMonth\n202001\n", PATIENT)) == [("202001",)]


# Requests and rows


def test_rows_with_the_same_keys_are_one_request_and_stay_rows_of_their_own(read: Read) -> None:
    worklist = read("EMPI,Note\nP1,a\nP2,b\n P1 ,c\nP*,d\nP1,e\n", PATIENT)
    assert [request.values for request in worklist.requests] == [("P1",), ("P2",)]
    assert list(worklist.request_of_row) == [0, 1, 0, -1, 0]
    rows_of = rows_by_request(worklist)
    assert [list(rows_of(0)), list(rows_of(1))] == [[0, 2, 4], [1]]
    assert len(worklist.table) == 5


def test_days_of_one_month_are_one_request(read: Read) -> None:
    worklist = read("a,b,StudyMonth\nP1,A1,2020-01-03\nP1,A1,202001\nP1,A1,2020-01\n", PATIENT, ACCESSION, DATE)
    assert worklist.requests == [
        Request(("PatientID", "AccessionNumber", "StudyDate"), ("P1", "A1", "20200101-20200131"))
    ]


# The modified CSV


def test_the_modified_csv_stands_beside_the_list() -> None:
    assert modified_csv(Path("/data/csv/empi.csv")) == Path("/data/csv/empi_mod.csv")
    assert modified_csv(Path("/data/csv/my.list.csv")) == Path("/data/csv/my.list_mod.csv")


def test_the_modified_csv_shows_each_row_as_it_will_be_queried(read: Read, tmp_path: Path) -> None:
    columns = (PATIENT, ACCESSION, DATE)
    worklist = read(
        'EMPI,Accession,StudyMonth,Note\n 0012 ,AAAAAAA2020BBBBBB,202001,"a, b"\nP2,A2,2020-1,\nP3,A3,2020-02,x\n',
        *columns, long_accession=True,
    )  # fmt: skip
    path = tmp_path / "list_mod.csv"
    write_modified_csv(path, worklist, columns)
    with path.open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["EMPI", "Accession", "StudyDate", "Note"],
            ["0012", "AAAAAAA20BBBBBB", "20200101-20200131", "a, b"],
            ["P2", "A2", "2020-1", ""],
            ["P3", "A3", "20200201-20200229", "x"],
        ]


# Outcome files as input


@pytest.fixture
def written(read: Read, tmp_path: Path) -> Path:
    """The modified CSV of a list whose outcome files have been written."""
    worklist = read("EMPI,Note\nP1,a\nP*,b\nP1,c\n", PATIENT)
    path = tmp_path / "list_mod.csv"
    write_outcomes(path, worklist, [RowResult(Outcome.FAILED, detail="status A700H, out of resources")])
    return path


def test_unfinished_rows_can_be_given_as_the_list_as_they_are(written: Path) -> None:
    worklist = read_file(unfinished_csv(written), PATIENT)
    assert list(worklist.table.columns) == ["EMPI", "Note"]
    assert worklist.table.to_numpy().tolist() == [["P1", "a"], ["P*", "b"], ["P1", "c"]]
    assert list(worklist.faults) == [1]


def test_outcome_columns_are_replaced_and_not_doubled(written: Path, tmp_path: Path) -> None:
    worklist = read_file(outcomes_csv(written), PATIENT)
    again = tmp_path / "again_mod.csv"
    write_outcomes(again, worklist, [RowResult(Outcome.RETRIEVED)])
    with outcomes_csv(again).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["EMPI", "Note", *OUTCOME_COLUMNS]
    assert [row[:3] for row in rows[1:]] == [["P1", "a", "retrieved"], ["P*", "b", "invalid"], ["P1", "c", "retrieved"]]


def test_a_column_that_only_resembles_an_outcome_column_is_kept(read: Read) -> None:
    worklist = read("EMPI,Outcome,Detail\nP1,good,x\n", PATIENT)
    assert list(worklist.table.columns) == ["EMPI", "Outcome", "Detail"]


# Whatever the file holds

_TEXT = st.text(
    st.one_of(st.sampled_from(',"\n\r;\t 1*?\\\x1c\u2028\ufeff'), st.characters(codec="utf-8")), max_size=80
)
_CONTENT = st.one_of(
    st.binary(max_size=80), _TEXT.map(str.encode), _TEXT.map(lambda text: f"EMPI,Date\nP1,20200115\n{text}".encode())
)


@settings(deadline=None)
@given(_CONTENT, st.booleans())
@example(b'EMPI,Date\n"P\r1",20200115\n', False)
@example(b"EMPI,Date\nP1,20200115,,,\n", True)
def test_every_row_of_any_file_is_a_request_or_a_fault(content: bytes, allow_wildcards: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_bytes(content)
        columns = (PATIENT, Column("StudyDate", 1))
        try:
            worklist = read_file(path, *columns, allow_wildcards=allow_wildcards)
        except WrongInputError as error:
            assert str(error).startswith(f"{path}: ")
            return
        rows = range(len(worklist.table))
        assert len(worklist.request_of_row) == len(worklist.lines) == len(rows) > 0
        for row in rows:
            request = worklist.request_of_row[row]
            if row in worklist.faults:
                assert request == -1
                assert worklist.faults[row].startswith(f"line {worklist.lines[row]}: ")
            else:
                assert 0 <= request < len(worklist.requests)
                assert all(worklist.requests[request].values)
        assert set(worklist.faults) <= set(rows)
        assert sorted(worklist.lines) == list(worklist.lines)


@settings(deadline=None)
@given(_CONTENT.filter(lambda content: b"\xef\xbb\xbf" not in content))
@example(b'EMPI,Date\n" P\r1,\n",20200115\n')
def test_an_outcomes_file_given_as_the_list_asks_for_the_same(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_bytes(content)
        try:
            worklist = read_file(path, PATIENT)
        except WrongInputError:
            return
        write_outcomes(path, worklist, [RowResult(Outcome.PENDING)] * len(worklist.requests))
        again = read_file(unfinished_csv(path), PATIENT)
        assert list(again.table.columns) == list(worklist.table.columns)
        assert again.table.to_numpy().tolist() == worklist.table.to_numpy().tolist()
        assert again.requests == worklist.requests
        assert list(again.request_of_row) == list(worklist.request_of_row)


@given(
    st.text(min_size=1).map(str.strip).filter(bool),
    st.sampled_from(["PatientID", "AccessionNumber", "StudyInstanceUID", "Modality", "StudyDate", "PatientName"]),
    st.booleans(),
    st.booleans(),
)
@example("1.23E+11", "PatientID", False, False)
@example("*", "PatientID", True, False)
def test_any_cell_is_a_safe_value_or_a_reason(cell: str, keyword: str, months: bool, allow_wildcards: bool) -> None:
    try:
        value = sent(keyword, cell, months=months and keyword == "StudyDate", allow_wildcards=allow_wildcards)
    except CellError as reason:
        assert str(reason)
        return
    assert value.strip("*?\\ "), "it matches everything"
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in value)
    assert allow_wildcards or not set("*?\\") & set(value)
    longest = {"AccessionNumber": 16, "Modality": 16}.get(keyword, 64)
    assert keyword == "PatientName" or all(len(part) <= longest for part in value.split("\\"))


@pytest.mark.parametrize("cell", ["*^*", "*=*", "?*^"])
def test_a_name_of_wildcards_and_separators_is_never_sent(cell: str) -> None:
    with pytest.raises(CellError):
        sent("PatientName", cell, allow_wildcards=True)


@pytest.mark.parametrize("cell", ["^", "=", "^^^^"])
def test_a_name_of_separators_alone_is_never_sent(cell: str) -> None:
    with pytest.raises(CellError):
        sent("PatientName", cell)


def test_a_month_in_the_date_format_is_not_taken_for_another_century() -> None:
    assert sent("StudyDate", "120112", months=True, date_format="%m%d%y") == "20121201-20121231"


@pytest.mark.parametrize(
    ("keyword", "cell"),
    [("PatientAge", "\u0660\u0663\u0665Y"), ("StudyTime", "\u0661\u0662"), ("SeriesNumber", "\u0661")],
)
def test_digits_of_other_alphabets_are_faults(keyword: str, cell: str) -> None:
    with pytest.raises(CellError):
        sent(keyword, cell)


@pytest.mark.parametrize("before", ["   \n", ",,\n", " \n\n"])
def test_semicolons_are_an_error_after_lines_without_text_too(read: Read, before: str) -> None:
    with pytest.raises(WrongInputError, match="semicolons"):
        read(f"{before}EMPI;Accession\n1;2\n", PATIENT)


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("AccessionNumber\n1\n", "column 0 is headed AccessionNumber, but is asked as PatientID"),
        ("00000001\n00000002\n", "the first line looks like a row, not like a header"),
    ],
)
def test_a_header_that_speaks_against_the_settings_is_a_warning(read: Read, text: str, doubt: str) -> None:
    [warning] = read(text, PATIENT).warnings
    assert doubt in warning


@pytest.mark.parametrize("header", ["PatientID", "EMPI", "MRN", "ID1", "patient", ""])
def test_a_header_that_means_nothing_else_is_no_warning(read: Read, header: str) -> None:
    assert read(f"{header},x\n1,2\n", PATIENT).warnings == ()
