"""C-FIND matches → cfind-output.csv, its columns as description.csv.xsl names them."""

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from pydicom.datadict import keyword_for_tag

from niffler.errors import WrongInputError
from niffler.files import cannot_write, csv_chunks
from niffler.keywords import STUDY_MONTH, is_keyword
from niffler.vocabulary import Match

OUTPUT_NAME = "cfind-output.csv"
BRIEF_COLUMNS = ("PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDescription")
"""The columns of CFIND-ONLY."""

_ATTRIBUTE = re.compile(r"""DicomAttribute\s*\[\s*@(tag|keyword)\s*=\s*['"]([^'"]*)['"]\s*\]""")


def columns_of(stylesheet: Path) -> tuple[str, ...]:
    """The keywords that a stylesheet for Native DICOM Model XML writes out, in its order.

    Raises WrongInputError where it cannot be read or names no attribute or an unknown one.
    """
    try:
        root = ElementTree.parse(stylesheet).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise WrongInputError(f"{stylesheet}: cannot be read as a stylesheet: {error}; take the suite's") from None
    keywords: list[str] = []
    for element in root.iter():
        for by, name in _ATTRIBUTE.findall(element.get("select", "")):
            keyword = name if by == "keyword" else _keyword_for(name)
            if keyword == STUDY_MONTH or not is_keyword(keyword):
                raise WrongInputError(f"{stylesheet}: {by} '{name}' is no DICOM attribute to be queried; remove it")
            keywords.append(keyword)
    if not keywords:
        raise WrongInputError(f"{stylesheet}: no column found; each is a select=\"DicomAttribute[@tag='00100020']\"")
    return tuple(dict.fromkeys(keywords))


class MetadataFile:
    """The output of the C-FIND modes; what was appended is on disk when ``append`` returns."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self._columns = tuple(columns)

    def check(self) -> None:
        """Raise WrongInputError where an output with other columns is in the way."""
        try:
            with self.path.open(encoding="utf-8", newline="") as stream:
                header = next(csv.reader(stream), [])
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise WrongInputError(f"{self.path}: cannot be read: {error}; move it and its pickle away") from None
        if header and tuple(header) != self._columns:
            raise WrongInputError(
                f"{self.path}: has other columns ({','.join(header)}) than this run writes "
                f"({','.join(self._columns)}); move it and {self.path.name}.pickle away"
            )

    def begin(self, size: int | None) -> None:
        """Go on after the first ``size`` bytes, as what follows was not recorded; or, with None, begin anew.

        An output that stands there then is kept as ``cfind-output.csv.previous``.
        """
        try:
            if size is None:
                if self.path.exists():
                    self.path.replace(self.path.with_name(f"{self.path.name}.previous"))
                self._write("wb", [self._columns])
            else:
                with self.path.open("rb+") as stream:
                    if stream.seek(0, os.SEEK_END) < size:
                        raise WrongInputError(
                            f"{self.path}: is shorter than its checkpoint says; put the whole file back, or move it "
                            f"and {self.path.name}.pickle away to start from scratch"
                        )
                    stream.truncate(size)
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def append(self, matches: Iterable[Match]) -> None:
        """Append a row per match; several values of an attribute are joined by a backslash, as DICOM does."""
        try:
            self._write(
                "ab", (["\\".join(match.attributes.get(name, ())) for name in self._columns] for match in matches)
            )
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def _write(self, mode: str, rows: Iterable[Sequence[object]]) -> None:
        with self.path.open(mode) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
            text.writelines(csv_chunks(rows))
            text.flush()
            os.fsync(stream.fileno())


def _keyword_for(tag: str) -> str:
    return keyword_for_tag(int(tag, 16)) if re.fullmatch(r"[0-9A-Fa-f]{8}", tag) else ""
