"""Data sets as Native DICOM Model XML (PS3.19 A.1), read and written."""

import base64
import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import PersonName

from niffler.embedded.keys import make_element

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_BINARY = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
_TEXT = ("LT", "ST", "UT")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_xml(dataset: Dataset) -> bytes:
    """A data set as a whole document in UTF-8, without line breaks between the elements."""
    body = "".join(_attributes(dataset))
    document = f'<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xml:space="preserve">{body}</NativeDicomModel>'
    return document.encode()


def from_xml(document: bytes) -> Dataset:
    """The data set that a document describes. Raises ValueError where it is not one."""
    try:
        root = ElementTree.fromstring(document)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
    if _local(root) != "NativeDicomModel":
        raise ValueError(f"{root.tag} is not a NativeDicomModel")
    return _item(root)


def _attributes(dataset: Dataset) -> Iterator[str]:
    for tag in sorted(dataset.keys()):
        if tag.is_private_creator or tag.element == 0:
            continue
        vr, content = _content(dataset, tag)
        keyword = keyword_for_tag(tag)
        named = f'keyword="{keyword}" ' if keyword else ""
        shown, creator = int(tag), ""
        if tag.is_private and (owner := dataset.get(Tag(tag.group, tag.element >> 8))) is not None:
            shown, creator = shown & 0xFFFF00FF, f" privateCreator={quoteattr(_legal(str(owner.value)))}"
        head = f'DicomAttribute {named}tag="{shown:08X}"{creator} vr="{vr}"'
        yield f"<{head}>{content}</DicomAttribute>" if content else f"<{head}/>"


def _content(dataset: Dataset, tag: BaseTag) -> tuple[str, str]:
    try:
        element = dataset[tag]
        return element.VR, "".join(_values(element))
    except (ValueError, TypeError, NotImplementedError, OverflowError):
        # What its value representation does not allow is given as the text that it is.
        raw = dataset.get_item(tag)
        value = getattr(raw, "value", None) or b""
        texts = value.decode("latin-1").rstrip("\0 ").split("\\") if isinstance(value, bytes) else [str(value)]
        return str(getattr(raw, "VR", None) or _vr(tag)), "".join(
            f'<Value number="{number}">{_escaped(text.strip())}</Value>' for number, text in enumerate(texts, 1)
        )


def _values(element: DataElement) -> Iterator[str]:
    if element.VR == "SQ":
        for number, item in enumerate(element.value, 1):
            yield f'<Item number="{number}">{"".join(_attributes(item))}</Item>'
        return
    if element.is_empty:
        return
    if element.VR in _BINARY:
        yield f"<InlineBinary>{base64.b64encode(bytes(element.value)).decode()}</InlineBinary>"
        return
    several = element.value if isinstance(element.value, (MultiValue, list)) else [element.value]
    for number, value in enumerate(several, 1):
        if isinstance(value, PersonName):
            yield f'<PersonName number="{number}">{"".join(_name(value))}</PersonName>'
        elif element.VR == "AT":
            yield f'<Value number="{number}">{int(value):08X}</Value>'
        else:
            text = str(value).rstrip(" ") if element.VR in _TEXT else str(value).strip(" ")
            yield f'<Value number="{number}">{_escaped(text)}</Value>'


def _name(name: PersonName) -> Iterator[str]:
    for group, value in zip(_GROUPS, name.components, strict=False):
        parts = zip(_COMPONENTS, value.split("^"), strict=False)
        content = "".join(f"<{part}>{_escaped(text.strip())}</{part}>" for part, text in parts if text.strip())
        if content:
            yield f"<{group}>{content}</{group}>"


def _escaped(text: str) -> str:
    return escape(_legal(text), {"\r": "&#13;"})


def _legal(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _item(parent: ElementTree.Element) -> Dataset:
    dataset = Dataset()
    for child in parent:
        if _local(child) != "DicomAttribute":
            continue
        try:
            tag = Tag(int(child.get("tag", ""), 16))
        except (ValueError, OverflowError):
            raise ValueError(f"{child.get('tag')} is not a tag") from None
        dataset.add(_element(child, tag, child.get("vr") or _vr(tag)))
    return dataset


def _element(attribute: ElementTree.Element, tag: BaseTag, vr: str) -> DataElement:
    if vr == "SQ":
        return DataElement(tag, vr, Sequence([_item(child) for child in attribute if _local(child) == "Item"]))
    binary = next((child for child in attribute if _local(child) == "InlineBinary"), None)
    if binary is not None:
        return DataElement(tag, vr, base64.b64decode(binary.text or ""))
    texts = [_name_text(child) if vr == "PN" else child.text or "" for child in _numbered(attribute)]
    return make_element(tag, vr, texts)


def _numbered(attribute: ElementTree.Element) -> list[ElementTree.Element]:
    children = [child for child in attribute if _local(child) in ("Value", "PersonName")]
    return sorted(children, key=lambda child: int(child.get("number", "1")))


def _name_text(name: ElementTree.Element) -> str:
    groups = {_local(group): {_local(part): part.text or "" for part in group} for group in name}
    texts = ["^".join(groups.get(group, {}).get(part, "") for part in _COMPONENTS).rstrip("^") for group in _GROUPS]
    return "=".join(texts).rstrip("=")


def _vr(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return "UN"


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
