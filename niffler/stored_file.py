"""One stored file: what its header says, and whether the file is whole. Pixel data is skipped, not read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

_IDENTITY = tuple(map(Tag, ("StudyInstanceUID", "PatientID", "SOPInstanceUID", "AccessionNumber")))
_ROWS = 0x00280010
_PIXEL_DATA_PROVIDER_URL = 0x00287FE0
_FIRST_PIXEL_DATA = 0x7FE00008
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM = b"\xfe\xff\x00\xe0"
_END_OF_ITEMS = (b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff\xfe\xe0\xdd\0\0\0\0")
_SKIPPED_BYTES = 4096


class CutOffError(ValueError):
    """The file ends before its content does."""

    def __init__(self) -> None:
        super().__init__("it is cut off")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as its header tells; ``problem`` says why it cannot be used.

    ``is_refused`` means that the system did not let it be read, which says nothing about what is in it.
    """

    path: str
    study_instance_uid: str = ""
    patient_id: str = ""
    sop_instance_uid: str = ""
    accession_number: str = ""
    values: tuple[tuple[str, ...], ...] = ()
    """Those of the keywords that were asked for."""
    size: int = 0
    problem: str = ""
    is_refused: bool = False


def read_stored_files(paths: Sequence[str], keywords: Sequence[str]) -> list[StoredFile]:
    """Read many, each with the values of some keywords."""
    tags = [Tag(keyword) for keyword in keywords]
    return [_read_stored_file(path, tags) for path in paths]


def _read_stored_file(path: str, tags: Sequence[BaseTag]) -> StoredFile:
    try:
        with Path(path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            header = _read_whole(stream, size, [*_IDENTITY, *tags])
        study, patient, instance, accession = ("\\".join(_values_of(header, tag)) for tag in _IDENTITY)
        if not study or not instance:
            return StoredFile(path, problem="it has no StudyInstanceUID or no SOPInstanceUID")
        values = tuple(_values_of(header, tag) for tag in tags)
        return StoredFile(path, study, patient, instance, accession, values, size)
    except OSError as error:
        if error.errno is None:  # pydicom's own, about the content
            return StoredFile(path, problem=str(CutOffError()))
        return StoredFile(path, problem=error.strerror or str(error), is_refused=True)
    except CutOffError as error:
        return StoredFile(path, problem=str(error))
    except Exception as error:  # a damaged file can raise nearly anything
        return StoredFile(path, problem=f"it is not a readable DICOM file ({type(error).__name__})")


def _read_whole(stream: BinaryIO, size: int, tags: list[BaseTag | int]) -> FileDataset:
    """Read the header, then make sure that all that it announces is there; raises CutOffError."""
    begins, length, is_pixel_data, is_image = 0, 0, False, False

    def note(tag: BaseTag, _vr: str | None, announced: int) -> bool:
        nonlocal begins, length, is_pixel_data, is_image
        number = int(tag)
        begins, length, is_pixel_data = stream.tell(), announced, number >= _FIRST_PIXEL_DATA
        is_image = (is_image and number != _PIXEL_DATA_PROVIDER_URL) or number == _ROWS
        return is_pixel_data

    header = read_partial(stream, stop_when=note, defer_size=_SKIPPED_BYTES, specific_tags=tags)
    if header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return header  # it could not have been inflated if its end were missing
    if length != _UNDEFINED_LENGTH:
        ends = begins + length
    elif is_pixel_data:
        ends = _end_of_fragments(stream, begins)
    else:
        stream.seek(-len(_END_OF_ITEMS[0]), os.SEEK_END)
        ends = size if stream.read() in _END_OF_ITEMS else size + 1
    if ends > size or (is_image and not is_pixel_data):
        raise CutOffError
    if not is_pixel_data and ends < size:  # half a header of the next element, or padding
        stream.seek(ends)
        if stream.read().strip(b"\0"):
            raise CutOffError
    return header


def _end_of_fragments(stream: BinaryIO, begins: int) -> int:
    """Where encapsulated pixel data ends (PS3.5 A.4)."""
    position = begins
    while True:
        stream.seek(position)
        head = stream.read(8)
        if head == _END_OF_ITEMS[0]:
            return position + 8
        if len(head) < 8 or head[:4] != _ITEM:
            raise CutOffError
        position += 8 + int.from_bytes(head[4:], "little")


def _values_of(header: FileDataset, tag: BaseTag) -> tuple[str, ...]:
    element = header.get(tag)
    value = None if element is None else element.value
    values = value if isinstance(value, (MultiValue, list)) else [value]
    return tuple("" if one is None else str(one).strip(" \0") for one in values)
