"""The output of the C-FIND modes: its columns, its lines, and how it is continued."""

import csv
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from niffler.embedded.native_xml import to_xml
from niffler.errors import GaveUpError, WrongInputError
from niffler.metadata import BRIEF_COLUMNS, OUTPUT_NAME, MetadataFile, columns_of
from niffler.vocabulary import Match

STYLESHEET = Path(__file__).resolve().parent.parent / "description.csv.xsl"
DETAILED = (
    "PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDescription", "StudyDate", "StudyTime",
    "ModalitiesInStudy", "ProtocolName", "DeviceSerialNumber", "PerformedProcedureStepDescription",
    "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "AcquisitionDate",
)  # fmt: skip
COLUMNS = ("PatientID", "StudyDescription")
HEADER = "PatientID,StudyDescription\n"

needs_xsltproc = pytest.mark.skipif(
    shutil.which("xsltproc") is None, reason="xsltproc is not installed; get it with: apt-get install xsltproc"
)


def match(**attributes: str | tuple[str, ...]) -> Match:
    return Match({name: (value,) if isinstance(value, str) else value for name, value in attributes.items()})


def begun(folder: Path, columns: tuple[str, ...] = COLUMNS) -> MetadataFile:
    output = MetadataFile(folder / OUTPUT_NAME, columns)
    output.begin(None)
    return output


def rows(output: MetadataFile) -> list[list[str]]:
    with output.path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, strict=True))


def stylesheet(folder: Path, *selected: str) -> Path:
    path = folder / "description.csv.xsl"
    templates = "".join(f'<xsl:apply-templates select="{select}"/>' for select in selected)
    path.write_text(
        '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
        f'<xsl:template match="/NativeDicomModel">{templates}</xsl:template></xsl:stylesheet>'
    )
    return path


# Columns


def test_the_brief_columns_are_four() -> None:
    assert BRIEF_COLUMNS == ("PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDescription")


def test_the_detailed_columns_are_those_of_the_stylesheet_in_its_order() -> None:
    assert columns_of(STYLESHEET) == DETAILED


def test_a_column_that_is_added_to_the_stylesheet_is_a_column_of_the_output(tmp_path: Path) -> None:
    added = '<xsl:text>","</xsl:text>\n    <xsl:apply-templates select="DicomAttribute[@tag=\'00100040\']"/>\n    '
    last = '<xsl:text>"&#10;</xsl:text>'
    original = STYLESHEET.read_text(encoding="utf-8")
    assert original.count(last) == 1
    path = tmp_path / "description.csv.xsl"
    path.write_text(original.replace(last, added + last), encoding="utf-8")
    assert columns_of(path) == (*DETAILED, "PatientSex")


def test_a_column_may_be_named_by_tag_or_keyword_and_counts_once(tmp_path: Path) -> None:
    path = stylesheet(
        tmp_path,
        "DicomAttribute[@tag='0020000d']/Value",
        "DicomAttribute[ @keyword = 'PatientID' ]",
        "DicomAttribute[@tag='0020000D']",
    )
    assert columns_of(path) == ("StudyInstanceUID", "PatientID")


def test_what_is_commented_out_is_no_column(tmp_path: Path) -> None:
    path = stylesheet(tmp_path, "DicomAttribute[@tag='00100020']", "DicomAttribute[@tag='00100040']")
    text = path.read_text()
    path.write_text(text.replace("<xsl:apply-templates select=\"DicomAttribute[@tag='00100040']\"/>", "<!-- {} -->"))
    assert columns_of(path) == ("PatientID",)


@pytest.mark.parametrize(
    "selected",
    [
        "DicomAttribute[@keyword='Patient-ID']",
        "DicomAttribute[@tag='00081140']",
        "DicomAttribute[@tag='60000010']",
        "DicomAttribute[@tag='7FE00010']",
        "DicomAttribute[@tag='00091010']",
        "DicomAttribute[@tag='0010 0020']",
        "DicomAttribute[@tag='']",
    ],
)
def test_a_column_that_cannot_be_queried_is_named_with_the_file(tmp_path: Path, selected: str) -> None:
    path = stylesheet(tmp_path, selected)
    with pytest.raises(WrongInputError, match="no DICOM attribute to be queried") as failure:
        columns_of(path)
    assert str(path) in str(failure.value)


@pytest.mark.parametrize("content", [None, "", "not XML", "<unfinished>"])
def test_a_stylesheet_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "description.csv.xsl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(WrongInputError, match="cannot be read as a stylesheet") as failure:
        columns_of(path)
    assert str(path) in str(failure.value)


def test_a_stylesheet_without_columns_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WrongInputError, match="no column found"):
        columns_of(stylesheet(tmp_path))


# Rows


def test_each_match_is_a_row_under_the_header(tmp_path: Path) -> None:
    output = begun(tmp_path)
    output.append([match(PatientID="00001234", StudyDescription="Chest CT"), match(PatientID="P2")])
    assert output.path == tmp_path / "cfind-output.csv"
    assert output.path.read_text() == HEADER + "00001234,Chest CT\nP2,\n"


def test_what_was_appended_is_in_the_file_at_once(tmp_path: Path) -> None:
    output = begun(tmp_path)
    sizes = [output.path.stat().st_size]
    for number in range(3):
        output.append([match(PatientID=f"P{number}")])
        sizes.append(output.path.stat().st_size)
    assert sizes == [len(HEADER) + 4 * number for number in range(4)]


@pytest.mark.parametrize(
    "value",
    [
        'He said "CT, head"',
        "a,b",
        "a\nb",
        "a\rb",
        "a\r\nb",
        "",
        '"',
        '""',
        ",",
        "Müller",
        "山田",
        "\u2028",
        "\0",
        " a ",
        "\ufffd",
    ],
)
def test_a_value_is_read_back_as_it_was_answered(tmp_path: Path, value: str) -> None:
    output = begun(tmp_path)
    output.append([match(PatientID="P1", StudyDescription=value), match(PatientID="P2", StudyDescription="next")])
    assert rows(output) == [list(COLUMNS), ["P1", value], ["P2", "next"]]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))))
def test_the_output_is_valid_csv_whatever_the_values_hold(tmp_path: Path, table: list[tuple[str, str]]) -> None:
    output = begun(tmp_path)
    output.append([match(PatientID=patient, StudyDescription=description) for patient, description in table])
    assert rows(output) == [list(COLUMNS), *map(list, table)]


def test_several_values_are_joined_as_dicom_joins_them(tmp_path: Path) -> None:
    output = begun(tmp_path, ("ModalitiesInStudy",))
    output.append([match(ModalitiesInStudy=("CT", "MR", "SR")), match(ModalitiesInStudy=()), match(PatientID="P1")])
    assert rows(output) == [["ModalitiesInStudy"], ["CT\\MR\\SR"], [""], [""]]


# Going on


def test_a_resumed_output_keeps_what_was_recorded_and_loses_what_was_not(tmp_path: Path) -> None:
    output = begun(tmp_path)
    output.append([match(PatientID="P1", StudyDescription="kept")])
    recorded = output.path.stat().st_size
    output.append([match(PatientID="P2", StudyDescription="asked for again")])
    with output.path.open("a") as torn:
        torn.write('P3,"torn')
    resumed = MetadataFile(tmp_path / OUTPUT_NAME, COLUMNS)
    resumed.check()
    resumed.begin(recorded)
    resumed.append([match(PatientID="P2", StudyDescription="asked for again")])
    assert rows(resumed) == [list(COLUMNS), ["P1", "kept"], ["P2", "asked for again"]]


def test_an_output_that_is_shorter_than_recorded_is_an_error_and_is_left_as_it_is(tmp_path: Path) -> None:
    output = begun(tmp_path)
    before = output.path.read_bytes()
    with pytest.raises(WrongInputError, match="is shorter than its checkpoint says") as failure:
        output.begin(len(before) + 1)
    assert str(output.path) in str(failure.value)
    assert output.path.read_bytes() == before


def test_beginning_anew_keeps_the_former_output_aside(tmp_path: Path) -> None:
    begun(tmp_path).append([match(PatientID="P1")])
    output = begun(tmp_path)
    assert output.path.read_text() == HEADER
    assert (tmp_path / "cfind-output.csv.previous").read_text() == HEADER + "P1,\n"


def test_an_output_with_other_columns_is_an_error_that_says_to_move_it_away(tmp_path: Path) -> None:
    before = begun(tmp_path, DETAILED).path.read_bytes()
    with pytest.raises(WrongInputError, match="has other columns") as failure:
        MetadataFile(tmp_path / OUTPUT_NAME, BRIEF_COLUMNS).check()
    assert "move it and cfind-output.csv.pickle away" in str(failure.value)
    assert str(tmp_path / "cfind-output.csv") in str(failure.value)
    assert (tmp_path / "cfind-output.csv").read_bytes() == before


def test_an_output_with_the_same_columns_in_another_order_has_other_columns(tmp_path: Path) -> None:
    begun(tmp_path, ("StudyDescription", "PatientID"))
    with pytest.raises(WrongInputError, match="has other columns"):
        MetadataFile(tmp_path / OUTPUT_NAME, COLUMNS).check()


def test_no_output_and_one_with_the_same_columns_are_fine(tmp_path: Path) -> None:
    MetadataFile(tmp_path / OUTPUT_NAME, COLUMNS).check()
    begun(tmp_path)
    MetadataFile(tmp_path / OUTPUT_NAME, COLUMNS).check()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x80,\x81\n"])
def test_an_output_that_is_no_csv_in_utf_8_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cfind-output.csv").write_bytes(content)
    with pytest.raises(WrongInputError, match=r"cfind-output\.csv: cannot be read"):
        MetadataFile(tmp_path / OUTPUT_NAME, COLUMNS).check()


@pytest.mark.parametrize(
    "attempt",
    [
        lambda output: output.begin(None),
        lambda output: output.begin(10),
        lambda output: output.append([match(PatientID="P1")]),
    ],
)
def test_an_output_that_cannot_be_written_gives_up_in_one_line(
    tmp_path: Path, attempt: Callable[[MetadataFile], None]
) -> None:
    with pytest.raises(GaveUpError, match=r"cfind-output\.csv: cannot be written: No such file") as failure:
        attempt(MetadataFile(tmp_path / "gone" / OUTPUT_NAME, COLUMNS))
    assert "\n" not in str(failure.value)


# The stylesheet itself, as other tools use it


def transformed(folder: Path, answered: Dataset) -> list[list[str]]:
    document = folder / "match.xml"
    document.write_bytes(to_xml(answered))
    printed = subprocess.run(
        ["xsltproc", "--nonet", str(STYLESHEET), str(document)], capture_output=True, check=True, timeout=30
    ).stdout.decode()
    return list(csv.reader(printed.splitlines(keepends=True), strict=True))


@needs_xsltproc
def test_the_stylesheet_writes_a_match_as_one_line_of_csv(tmp_path: Path) -> None:
    answered = Dataset()
    answered.PatientID = "00001234"
    answered.StudyInstanceUID = "1.2.3"
    answered.AccessionNumber = "A,1"
    answered.StudyDescription = 'He said "CT, head"'
    answered.StudyDate = "20200115"
    answered.StudyTime = "101500"
    answered.ModalitiesInStudy = ["CT", "MR"]
    answered.ProtocolName = "Schädel"
    answered.DeviceSerialNumber = ""
    answered.PerformedProcedureStepDescription = '"'
    answered.NumberOfStudyRelatedSeries = 2
    answered.NumberOfStudyRelatedInstances = 12
    [line] = transformed(tmp_path, answered)
    assert dict(zip(columns_of(STYLESHEET), line, strict=True)) == {
        "PatientID": "00001234",
        "StudyInstanceUID": "1.2.3",
        "AccessionNumber": "A,1",
        "StudyDescription": 'He said "CT, head"',
        "StudyDate": "20200115",
        "StudyTime": "101500",
        "ModalitiesInStudy": "CT\\MR",
        "ProtocolName": "Schädel",
        "DeviceSerialNumber": "",
        "PerformedProcedureStepDescription": '"',
        "NumberOfStudyRelatedSeries": "2",
        "NumberOfStudyRelatedInstances": "12",
        "AcquisitionDate": "",
    }


@needs_xsltproc
def test_the_stylesheet_writes_as_many_columns_as_it_names(tmp_path: Path) -> None:
    [line] = transformed(tmp_path, Dataset())
    assert line == [""] * len(columns_of(STYLESHEET))
