"""movescu: asks a PACS to send studies to an AE (C-MOVE, PS3.4 C.4.2)."""

import sys

from pydicom.dataset import Dataset

from niffler.embedded.commands import C_MOVE_RQ, make_command
from niffler.embedded.errors import UsageError
from niffler.embedded.keys import keys_of, select
from niffler.embedded.options import Words, option
from niffler.embedded.query_file import read_dicom
from niffler.embedded.requestor import REQUESTOR_OPTIONS, converse, model_of, peers_of
from niffler.embedded.tool import run

_MODELS = {
    "PatientRoot": "1.2.840.10008.5.1.4.1.2.1.2",
    "StudyRoot": "1.2.840.10008.5.1.4.1.2.2.2",
    "PatientStudyOnly": "1.2.840.10008.5.1.4.1.2.3.2",
}
_OPTIONS = (
    *REQUESTOR_OPTIONS,
    option("dest", "aet", "AE title that the PACS shall send to"),
    option("retrieve-timeout", "ms", "wait so long at most for each response"),
)
_TAKEN_FROM_FILES = ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


def _move(words: Words) -> None:
    peers, sop_class, destination = peers_of(words, "MOVESCU"), model_of(words, _MODELS), words.value("dest")
    if destination is None:
        raise UsageError("you must specify a move destination by option --dest")
    keys = keys_of(words.value("L") or "STUDY", (), words.every("m"))
    taken = words.every("i") or _TAKEN_FROM_FILES

    def identifier(path: str) -> Dataset:
        chosen = select(read_dicom(path), taken)
        chosen.update(keys)
        return chosen

    def request(message_id: int) -> Dataset:
        elements = {
            "AffectedSOPClassUID": sop_class, "MessageID": message_id, "MoveDestination": destination, "Priority": 0,
        }  # fmt: skip
        return make_command(C_MOVE_RQ, elements, with_data_set=True)

    requests = (identifier(path) for path in words.positional) if words.positional else [keys]
    converse(words, peers, sop_class, requests, request, lambda _: False, words.seconds("retrieve-timeout"))


def main() -> int:
    """Run movescu with the arguments of the process; returns its exit code."""
    usage = "movescu [options] -c <aet>@<host>:<port> --dest <aet> [--] [<dicom-file>...]"
    return run("movescu", usage, "Asks a PACS to send studies to an AE.", _OPTIONS, _move, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
