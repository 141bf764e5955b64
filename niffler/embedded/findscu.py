"""findscu: asks a PACS what it holds (C-FIND, PS3.4 C.4.1)."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset

from niffler.embedded.commands import C_FIND_RQ, encode, make_command
from niffler.embedded.decimal_format import parse_decimal_format
from niffler.embedded.errors import ToolError
from niffler.embedded.keys import keys_of, lay_over, select
from niffler.embedded.native_xml import to_xml
from niffler.embedded.options import Words, option
from niffler.embedded.query_file import read_xml_or_dicom
from niffler.embedded.requestor import REQUESTOR_OPTIONS, converse, model_of, peers_of
from niffler.embedded.tool import run

_MODELS = {
    "PatientRoot": "1.2.840.10008.5.1.4.1.2.1.1",
    "StudyRoot": "1.2.840.10008.5.1.4.1.2.2.1",
    "PatientStudyOnly": "1.2.840.10008.5.1.4.1.2.3.1",
}
_OPTIONS = (
    *REQUESTOR_OPTIONS,
    option("r", "[seq.]attr...", "return key"),
    option("response-timeout", "ms", "wait so long at most for each response"),
    option("cancel", "num-matches", "cancel a query after so many matches"),
    option("out-dir", "directory", "write the matches here"),
    option("out-file", "name", "name of the n-th match as a Java DecimalFormat, 000'.dcm' by default"),
    option("out-cat", "", "write all matches to one file"),
    option("X,xml", "", "write the matches as Native DICOM Model XML"),
)


class _Matches:
    """Writes the matches, numbered from 1 over all queries."""

    def __init__(
        self, folder: Path | None, file_name: Callable[[int], str], *, as_xml: bool, in_one_file: bool
    ) -> None:
        self._folder = folder
        self._file_name = file_name
        self._as_xml = as_xml
        self._in_one_file = in_one_file
        self._number = 0
        self._one_file: BinaryIO | None = None

    def write(self, match: Dataset) -> None:
        """Write a match; one that cannot be written is reported, and the query goes on."""
        self._number += 1
        if self._folder is None:
            return
        content = to_xml(match) if self._as_xml else encode(match, implicit_vr=True, little_endian=True)
        path = self._folder / self._file_name(self._number)
        try:
            if not self._in_one_file:
                path.write_bytes(content)
                return
            if self._one_file is None:
                self._one_file = path.open("wb", buffering=0)
            self._one_file.write(content)
        except OSError as error:
            print(f"{path}: {error}", file=sys.stderr)


def _find(words: Words) -> None:
    peers, sop_class = peers_of(words, "FINDSCU"), model_of(words, _MODELS)
    keys = keys_of(words.value("L") or "STUDY", words.every("r"), words.every("m"))
    matches, cancel_after = _matches_of(words), words.number("cancel")

    def query(path: str) -> Dataset:
        asked = read_xml_or_dicom(path)
        return lay_over(select(asked, words.every("i")) if "i" in words else asked, keys)

    counted = 0

    def request(message_id: int) -> Dataset:
        nonlocal counted
        counted = 0
        elements = {"AffectedSOPClassUID": sop_class, "MessageID": message_id, "Priority": 0}
        return make_command(C_FIND_RQ, elements, with_data_set=True)

    def is_enough(match: Dataset) -> bool:
        nonlocal counted
        matches.write(match)
        counted += 1
        return counted == cancel_after

    requests = (query(path) for path in words.positional) if words.positional else [keys]
    converse(words, peers, sop_class, requests, request, is_enough, words.seconds("response-timeout"))


def _matches_of(words: Words) -> _Matches:
    folder = words.value("out-dir")
    try:
        file_name = parse_decimal_format(words.value("out-file") or "000'.dcm'")
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise ToolError(str(error)) from None
    return _Matches(
        None if folder is None else Path(folder), file_name, as_xml="X" in words, in_one_file="out-cat" in words
    )


def main() -> int:
    """Run findscu with the arguments of the process; returns its exit code."""
    usage = "findscu [options] -c <aet>@<host>:<port> [--] [<dicom-file>|<xml-file>...]"
    return run(
        "findscu", usage, "Asks a PACS which patients, studies or series it holds.", _OPTIONS, _find, sys.argv[1:]
    )


if __name__ == "__main__":
    sys.exit(main())
