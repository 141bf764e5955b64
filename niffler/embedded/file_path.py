"""The pattern of ``--filepath``: attributes of an instance → its path, which stays in the storage folder."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import quote_plus

from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from niffler.embedded.errors import ToolError
from niffler.embedded.keys import tag_of

_PLACEHOLDER = re.compile(r"\{([^{},\[\]]+)(?:\[(\d+)\])?(?:,(\w+))?\}")
# What would begin another folder or name none: received values are text of strangers.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]|^\.{1,2}$")


def _hash(value: str) -> str:
    """Java's hash code of a text, as eight hexadecimal digits."""
    code = 0
    units = value.encode("utf-16-be", "surrogatepass")
    for high, low in zip(units[::2], units[1::2], strict=True):
        code = (31 * code + (high << 8 | low)) & 0xFFFFFFFF
    return f"{code:08X}"


def _md5(value: str) -> str:
    """The digest as 26 digits of five bits, the lowest first; DCM4CHE shifts the first byte of each half out."""
    digest = hashlib.md5(value.encode(), usedforsecurity=False).digest()
    first, second = int.from_bytes(digest[1:8] + b"\0", "big"), int.from_bytes(digest[9:] + b"\0", "big")
    number = first | second << 64
    return "".join("0123456789abcdefghijklmnopqrstuv"[number >> 5 * place & 0x1F] for place in range(26))


def _urlencoded(value: str) -> str:
    """Java's encoding keeps the asterisk and not the tilde."""
    return quote_plus(value, safe="*").replace("~", "%7E")


def _of_value(form: Callable[[str], str]) -> Callable[[str], str]:
    """A form of what is there; where nothing is, Java prints null."""
    return lambda value: form(value) if value else "null"


_FORMATS: dict[str, Callable[[str], str]] = {
    "": str,
    "upper": str.upper,
    "hash": _of_value(_hash),
    "md5": _of_value(_md5),
    "urlencoded": _of_value(_urlencoded),
}


@dataclass(frozen=True)
class _Attribute:
    tag: BaseTag
    position: int
    form: Callable[[str], str]

    def text(self, header: Dataset) -> str:
        value = header.get(self.tag)
        values = value.value if value is not None else None
        several = values if isinstance(values, (MultiValue, list)) else [values]
        one = several[self.position] if self.position < len(several) else None
        return self.form("" if one is None else str(one).strip())


@dataclass(frozen=True)
class FilePath:
    """Makes the path of an instance from its header; by construction it cannot leave the storage folder."""

    pieces: Sequence[str | _Attribute]

    def path_of(self, instance: BinaryIO) -> PurePosixPath:
        """The path, relative to the storage folder, of an instance in a DICOM file.

        Raises ValueError where its header gives none.
        """
        wanted = [piece.tag for piece in self.pieces if isinstance(piece, _Attribute)]
        last = max(wanted, default=Tag(0))
        header = read_partial(instance, stop_when=lambda tag, _vr, _length: tag > last, specific_tags=[*wanted])
        # Literals may hold separators, values may not; so both are joined first and taken apart at the literals'.
        text = "".join(piece if isinstance(piece, str) else _as_name(piece.text(header)) for piece in self.pieces)
        names = [_as_name(name) for name in text.split("/") if name]
        if not names:
            raise ValueError("its attributes give an empty path")
        return PurePosixPath(*names)


def parse_file_path(pattern: str) -> FilePath:
    """Read a pattern: tags or keywords in braces, with an index ``[n]`` from 0 and a form such as ``urlencoded``."""
    pieces: list[str | _Attribute] = []
    end = 0
    for placeholder in _PLACEHOLDER.finditer(pattern):
        pieces.append(pattern[end : placeholder.start()])
        name, position, form = placeholder.groups(default="")
        if form not in _FORMATS:
            raise ToolError(f"{pattern}: the embedded storescp knows the forms {', '.join(filter(None, _FORMATS))}")
        pieces.append(_Attribute(tag_of(name), int(position or 0), _FORMATS[form]))
        end = placeholder.end()
    pieces.append(pattern[end:])
    if any("{" in piece or "}" in piece for piece in pieces if isinstance(piece, str)):
        raise ToolError(pattern)
    return FilePath(tuple(pieces))


def _as_name(text: str) -> str:
    """A text that names one file or folder and nothing else."""
    return _UNSAFE.sub(lambda unsafe: "".join(f"%{byte:02X}" for byte in unsafe.group().encode()), text)
