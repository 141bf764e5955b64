"""The files that findscu and movescu are given, and the matches that findscu wrote."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from niffler.embedded.native_xml import from_xml, to_xml
from niffler.embedded.query_file import read_dicom, read_xml_or_dicom
from niffler.query_files import move_query, read_match, write_find_query
from niffler.vocabulary import FindKind, Query, Study

TRANSCRIPTS = Path(__file__).with_name("transcripts")
VERSIONS = ("5.22.5", "5.34.3")
REPLACED = "\N{REPLACEMENT CHARACTER}"
HOSTILE = (
    "<Value>", "a&b", "&#0;", "]]>", '"\'', "<!--", "--", "$(reboot)", "`id`", "'; rm -rf /", "{00100020}", "%n%s",
    "../..", "-m", "=", "a=b", "O'Neil", "Müller", "山田", "Ω", "😀", "a\N{ZERO WIDTH JOINER}b",
    "e\N{COMBINING ACUTE ACCENT}",
)  # fmt: skip
NOT_REFUSED_BY_THE_LIST = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Cn")), min_size=1, max_size=64
).filter(lambda text: text == text.strip() and "\\" not in text)


def written(folder: Path, keys: dict[str, str], return_keywords: tuple[str, ...] = ()) -> Path:
    path = folder / "query.xml"
    write_find_query(path, Query(FindKind(), keys, return_keywords))
    return path


def asked(folder: Path, keys: dict[str, str], return_keywords: tuple[str, ...] = ()) -> Dataset:
    """The query as a tool reads it from the file."""
    return from_xml(written(folder, keys, return_keywords).read_bytes())


def read(folder: Path, document: bytes | str) -> dict[str, tuple[str, ...]]:
    path = folder / "match.xml"
    path.write_bytes(document.encode() if isinstance(document, str) else document)
    return dict(read_match(path).attributes)


def with_value(value: str) -> str:
    """A match as findscu writes it, with this between the tags of its PatientID."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xml:space="preserve"><DicomAttribute '
        f'keyword="PatientID" tag="00100020" vr="LO"><Value number="1">{value}</Value></DicomAttribute>'
        "</NativeDicomModel>"
    )


# Query files of findscu


def test_a_query_is_read_back_with_its_keys_and_its_empty_return_keys(tmp_path: Path) -> None:
    query = asked(
        tmp_path, {"PatientID": "00001234", "StudyDate": "20200101-20200131"}, ("StudyInstanceUID", "PatientID")
    )
    assert (query.PatientID, query.StudyDate) == ("00001234", "20200101-20200131")
    assert query["StudyInstanceUID"].is_empty
    assert len(query) == 3


def test_attributes_stand_in_the_order_of_their_tags_each_once(tmp_path: Path) -> None:
    path = written(tmp_path, {"PatientID": "P1"}, ("StudyInstanceUID", "PatientID", "StudyDate", "AccessionNumber"))
    tags = [attribute.get("tag") for attribute in ElementTree.parse(path).getroot()]
    assert tags == ["00080020", "00080050", "00100020", "0020000D"]


def test_every_attribute_carries_keyword_tag_and_vr(tmp_path: Path) -> None:
    [attribute] = ElementTree.parse(written(tmp_path, {"StudyInstanceUID": "1.2"})).getroot()
    assert attribute.attrib == {"keyword": "StudyInstanceUID", "tag": "0020000D", "vr": "UI"}


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_is_asked_for_as_it_is(tmp_path: Path, value: str) -> None:
    assert asked(tmp_path, {"PatientID": value}).PatientID == value


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=NOT_REFUSED_BY_THE_LIST)
def test_any_value_of_a_list_is_asked_for_as_it_is(tmp_path: Path, value: str) -> None:
    assert asked(tmp_path, {"StudyDescription": value}).StudyDescription == value


@pytest.mark.parametrize(
    ("value", "character_set"),
    [
        ("Mueller", None),
        ("Müller", "ISO_IR 192"),
        ("山田", "ISO_IR 192"),
        ("\N{DEGREE SIGN}", "ISO_IR 192"),
        ("~", None),
    ],
)
def test_the_character_set_is_named_where_ascii_does_not_do(
    tmp_path: Path, value: str, character_set: str | None
) -> None:
    query = asked(tmp_path, {"StudyDescription": value})
    assert query.get("SpecificCharacterSet") == character_set
    assert query.StudyDescription == value


def test_the_character_set_that_a_query_names_is_the_one_it_is_sent_in(tmp_path: Path) -> None:
    query = asked(tmp_path, {"StudyDescription": "Müller"})
    path = tmp_path / "sent.dcm"
    query.save_as(path, implicit_vr=True, little_endian=True)
    assert "Müller".encode() in path.read_bytes()


def test_a_list_of_studies_has_a_value_for_each(tmp_path: Path) -> None:
    uids = [f"1.2.{number}" for number in range(1, 101)]
    [attribute] = ElementTree.parse(written(tmp_path, {"StudyInstanceUID": "\\".join(uids)})).getroot()
    assert [(value.get("number"), value.text) for value in attribute] == [(uid[4:], uid) for uid in uids]


@pytest.mark.parametrize(
    "name",
    [
        "Doe",
        "Doe^Jane",
        "Doe^Jane^M^Dr^Jr",
        "Doe^^M",
        "^Jane",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "=山田^太郎",
        "O'Neil^<b>",
        "D*e^J?",
    ],
)
def test_a_person_name_is_asked_for_group_by_group_and_part_by_part(tmp_path: Path, name: str) -> None:
    assert str(asked(tmp_path, {"PatientName": name}).PatientName) == name


def test_the_tools_read_the_same_from_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"PatientID": "P1"}, ("StudyInstanceUID",))
    assert read_xml_or_dicom(str(path)) == from_xml(path.read_bytes())


# Query files of movescu


def test_a_move_names_the_study_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "study.dcm"
    path.write_bytes(move_query(Study("1.2.3", "", "A1", 12)))
    assert [(element.keyword, element.value) for element in read_dicom(str(path))] == [("StudyInstanceUID", "1.2.3")]


def test_a_move_names_the_patient_too_where_one_is_known(tmp_path: Path) -> None:
    path = tmp_path / "study.dcm"
    path.write_bytes(move_query(Study("1.2.3", "00001234")))
    identifier = read_dicom(str(path))
    assert (identifier.PatientID, identifier.StudyInstanceUID) == ("00001234", "1.2.3")
    assert "SpecificCharacterSet" not in identifier


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patient_id=NOT_REFUSED_BY_THE_LIST)
def test_any_patient_is_named_as_it_is_in_a_character_set_that_has_it(tmp_path: Path, patient_id: str) -> None:
    path = tmp_path / "study.dcm"
    path.write_bytes(move_query(Study("1.2.3", patient_id)))
    identifier = dcmread(path)
    assert identifier.PatientID == patient_id
    assert identifier.get("SpecificCharacterSet") == (None if patient_id.isascii() else "ISO_IR 192")


# Matches


@pytest.mark.parametrize("version", VERSIONS)
def test_the_matches_of_real_findscu_are_read(tmp_path: Path, version: str) -> None:
    recorded = (TRANSCRIPTS / version / "find-two-matches.out-cat.xml").read_text(encoding="utf-8")
    documents = [f"<?xml{document}" for document in recorded.split("<?xml")[1:]]
    assert [read(tmp_path, document) for document in documents] == [
        {
            "AccessionNumber": (f"ACC{number}",),
            "QueryRetrieveLevel": ("STUDY",),
            "StudyDescription": ('He said "CT, head"',),
            "PatientID": ("TWO",),
            "StudyInstanceUID": (f"1.2.3.{number + 1}",),
            "NumberOfStudyRelatedInstances": ("3",),
        }
        for number in range(2)
    ]


def test_a_match_of_the_embedded_findscu_is_read_as_it_was_answered(tmp_path: Path) -> None:
    answered = Dataset()
    answered.PatientID = "00001234"
    answered.PatientName = "Yamada^Tarou=山田^太郎"
    answered.ModalitiesInStudy = ["CT", "MR"]
    answered.StudyDescription = 'a < b & "c"\nd'
    answered.AccessionNumber = ""
    answered.NumberOfStudyRelatedInstances = 12
    assert read(tmp_path, to_xml(answered)) == {
        "PatientID": ("00001234",),
        "PatientName": ("Yamada^Tarou=山田^太郎",),
        "ModalitiesInStudy": ("CT", "MR"),
        "StudyDescription": ('a < b & "c"\nd',),
        "AccessionNumber": (),
        "NumberOfStudyRelatedInstances": ("12",),
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("P1", "P1"),
        ("P1  ", "P1"),
        ("  P1", "P1"),
        ("", ""),
        ("P\x011", f"P{REPLACED}1"),
        ("P\x1b1", f"P{REPLACED}1"),
        ("P\x001", f"P{REPLACED}1"),
        ("P&#1;1", f"P{REPLACED}1"),
        ("P&#27;1", f"P{REPLACED}1"),
        ("P&#x1;1", f"P{REPLACED}1"),
        ("P&#x1B;1", f"P{REPLACED}1"),
        ("P&#x1f;1", f"P{REPLACED}1"),
        ("P&#0;1", f"P{REPLACED}1"),
        ("P&#9;1", "P\t1"),
        ("P&#10;1", "P\n1"),
        ("P&#13;1", "P\r1"),
        ("P&#32;1", "P 1"),
        ("P&#128;1", "P\x801"),
        ("P&amp;#1;1", "P&#1;1"),
        ("&lt;b&gt;", "<b>"),
        ("Müller", "Müller"),
        ("&#252;", "ü"),
    ],
)
def test_a_value_with_control_characters_is_read_and_never_mistaken_for_another(
    tmp_path: Path, value: str, told: str
) -> None:
    assert read(tmp_path, with_value(value)) == {"PatientID": (told,)}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(code=st.integers(0, 31), form=st.sampled_from(["raw", "&#{};", "&#x{:x};", "&#x{:X};"]))
def test_every_control_character_is_read_in_every_form_that_java_writes(tmp_path: Path, code: int, form: str) -> None:
    written = chr(code) if form == "raw" else form.format(code)
    [value] = read(tmp_path, with_value(f"P{written}1"))["PatientID"]
    assert value in (f"P{chr(code)}1", f"P{REPLACED}1", "P\n1" if code == 13 else "")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not XML",
        b"<NativeDicomModel>",
        b"<a/><b/>",
        with_value("P1").encode()[:-20],
        b"\xff\xfe",
        with_value("\xe9").encode("latin-1"),
    ],
)
def test_what_is_no_match_is_an_error_that_names_the_file(tmp_path: Path, document: bytes) -> None:
    with pytest.raises(ValueError, match=r"^match\.xml is not a match"):
        read(tmp_path, document)


def test_a_match_that_was_not_written_is_an_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_match(tmp_path / "match.xml")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.binary(max_size=200)
    | st.binary(max_size=20).map(lambda middle: with_value("P1").encode()[:150] + middle)
)
def test_whatever_is_in_the_file_it_is_a_match_or_a_value_error(tmp_path: Path, document: bytes) -> None:
    try:
        read(tmp_path, document)
    except ValueError as error:
        assert "match.xml" in str(error)


def test_an_attribute_without_a_keyword_is_left_out(tmp_path: Path) -> None:
    document = with_value("P1").replace(
        "</NativeDicomModel>",
        '<DicomAttribute tag="00090010" vr="LO"><Value number="1">ACME</Value></DicomAttribute></NativeDicomModel>',
    )
    assert read(tmp_path, document) == {"PatientID": ("P1",)}
