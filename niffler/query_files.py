"""Query files for findscu and movescu, and the matches that findscu wrote."""

import functools
import io
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

from niffler.vocabulary import Match, Query, Study

_UTF_8 = "ISO_IR 192"
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NAME_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
# Characters and references that Java writes and that XML 1.0 does not allow (section 2.2).
_SUSPECT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]|&#(?:x([0-9a-fA-F]+)|(\d+));")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


def write_find_query(path: Path, query: Query) -> None:
    """Write a C-FIND identifier as Native DICOM Model XML (PS3.19 A.1); the level is findscu's option -L."""
    keys = dict(query.keys)
    if not all(value.isascii() for value in keys.values()):
        # Without it the tool encodes as US-ASCII, in which Müller becomes M?ller, a wildcard.
        keys["SpecificCharacterSet"] = _UTF_8
    root = ElementTree.Element("NativeDicomModel", {"xml:space": "preserve"})
    for keyword in sorted({*keys, *query.return_keywords}, key=_tag):
        tag, vr = _tag(keyword), dictionary_VR(keyword)
        attribute = ElementTree.SubElement(
            root, "DicomAttribute", {"keyword": keyword, "tag": f"{tag:08X}", "vr": vr.split(" or ")[0]}
        )
        if keys.get(keyword):
            _add_values(attribute, vr, keys[keyword].split("\\"))
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def move_query(study: Study) -> bytes:
    """The identifier of a STUDY level C-MOVE (PS3.4 C.4.2.1.4.1) as a DICOM file, as movescu reads it."""
    identifier = Dataset()
    identifier.StudyInstanceUID = study.study_instance_uid
    if study.patient_id:
        identifier.PatientID = study.patient_id
        if not study.patient_id.isascii():
            identifier.SpecificCharacterSet = _UTF_8
    encoded = DicomBytesIO()
    encoded.is_implicit_VR, encoded.is_little_endian = True, True
    write_dataset(encoded, identifier)
    return _file_head() + encoded.getvalue()


@functools.cache
def _file_head() -> bytes:
    """What stands before the identifier: preamble and file meta information (PS3.10 7.1)."""
    head = Dataset()
    head.file_meta = FileMetaDataset()
    head.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    # movescu reads nothing of the file but the identifier; a DICOM file has to name some object all the same.
    head.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.2.2.2")
    head.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    content = io.BytesIO()
    head.save_as(content, enforce_file_format=True, implicit_vr=True, little_endian=True)
    return content.getvalue()


def read_match(path: Path) -> Match:
    """Read a match that findscu wrote with -X. Raises ValueError where it is not one."""
    content = path.read_bytes()
    try:
        root = ElementTree.fromstring(_SUSPECT.sub(_legal, content))
    except ElementTree.ParseError as error:
        raise ValueError(f"{path.name} is not a match as findscu writes it: {error}") from None
    attributes: dict[str, tuple[str, ...]] = {}
    for attribute in root.iterfind("DicomAttribute"):
        keyword = attribute.get("keyword")
        if keyword:
            attributes[keyword] = tuple(_values(attribute))
    return Match(attributes)


def _legal(found: re.Match[bytes]) -> bytes:
    """A reference to a character that XML knows as it is; everything else that was found is replaced."""
    hexadecimal, decimal = found.groups()
    digits = hexadecimal or decimal or b"0"
    code = int(digits, 16 if hexadecimal else 10) if len(digits) < 10 else 0
    is_legal = code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code < 0x110000
    return found.group() if is_legal else _REPLACEMENT


def _tag(keyword: str) -> int:
    return keyword_dict[keyword]


def _add_values(attribute: ElementTree.Element, vr: str, values: Sequence[str]) -> None:
    for number, value in enumerate(values, 1):
        if vr != "PN":
            ElementTree.SubElement(attribute, "Value", {"number": str(number)}).text = value
            continue
        name = ElementTree.SubElement(attribute, "PersonName", {"number": str(number)})
        for group, components in zip(_NAME_GROUPS, value.split("="), strict=False):
            element = ElementTree.SubElement(name, group)
            for part, component in zip(_NAME_PARTS, components.split("^"), strict=False):
                if component:
                    ElementTree.SubElement(element, part).text = component


def _values(attribute: ElementTree.Element) -> list[str]:
    names = attribute.findall("PersonName")
    if names:
        return [_person_name(name) for name in names]
    return [(value.text or "").strip(" \0") for value in attribute.findall("Value")]


def _person_name(name: ElementTree.Element) -> str:
    groups = []
    for group in _NAME_GROUPS:
        element = name.find(group)
        parts = [] if element is None else [(element.findtext(part) or "").strip() for part in _NAME_PARTS]
        groups.append("^".join(parts).rstrip("^"))
    return "=".join(groups).rstrip("=")
