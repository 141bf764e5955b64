"""DIMSE command sets (PS3.7 Annex E): bytes, and how the tools print them."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from niffler.embedded.printing import named_uid, printable

C_STORE_RQ, C_FIND_RQ, C_MOVE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0020, 0x0021, 0x0030, 0x0FFF
RESPONSE = 0x8000
NO_DATA_SET = 0x0101
_HAS_DATA_SET = 0x0001
_NAMES = {C_STORE_RQ: "C-STORE", C_FIND_RQ: "C-FIND", C_MOVE_RQ: "C-MOVE", C_ECHO_RQ: "C-ECHO", C_CANCEL_RQ: "C-CANCEL"}
_SUB_OPERATIONS = ("Remaining", "Completed", "Failed", "Warning")


@dataclass(frozen=True)
class Context:
    """An accepted presentation context (PS3.8 9.3.3.2): its ID and the two UIDs agreed on."""

    number: int
    abstract_syntax: str
    transfer_syntax: str


def make_command(field: int, elements: Mapping[str, object], *, with_data_set: bool) -> Dataset:
    """A command set; elements by keyword."""
    command = Dataset()
    command.CommandField = field
    command.CommandDataSetType = _HAS_DATA_SET if with_data_set else NO_DATA_SET
    for keyword, value in elements.items():
        setattr(command, keyword, value)
    return command


def encode(dataset: Dataset, *, implicit_vr: bool, little_endian: bool) -> bytes:
    """A data set in one of the uncompressed transfer syntaxes (PS3.5 Annex A)."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit_vr, little_endian
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def decode(encoded: bytes, *, implicit_vr: bool, little_endian: bool) -> Dataset:
    """A data set from its bytes, its values not yet looked at."""
    return read_dataset(BytesIO(encoded), implicit_vr, little_endian)


def encode_command(command: Dataset) -> bytes:
    """A command set with its group length in front, always Implicit VR Little Endian (PS3.7 6.3.1)."""
    elements = encode(command, implicit_vr=True, little_endian=True)
    return struct.pack("<HHLL", 0x0000, 0x0000, 4, len(elements)) + elements


def describe(command: Dataset, context: Context) -> str:
    """A command set as the tools print it: one line, then the UIDs on lines of their own."""
    field = number_in(command, "CommandField")
    answers, name = bool(field & RESPONSE), _NAMES.get(field & ~RESPONSE, f"{field:04X}H")
    is_reference = answers or field == C_CANCEL_RQ
    message_id = number_in(command, "MessageIDBeingRespondedTo" if is_reference else "MessageID", -1)
    first = f"{message_id}:{name}-{'RSP' if answers else 'RQ'}[pcid={context.number}"
    if "Priority" in command:
        first += f", prior={number_in(command, 'Priority')}"
    lines = [first + (_outcome(command) if answers else _destination(command))]
    if "MoveOriginatorApplicationEntityTitle" in command:
        originator = printable(command.MoveOriginatorApplicationEntityTitle)
        lines.append(f"  orig={originator} >> {number_in(command, 'MoveOriginatorMessageID', -1)}:C-MOVE-RQ")
    if command.get("AffectedSOPClassUID"):
        lines.append(f"  cuid={named_uid(command.AffectedSOPClassUID)}")
    if command.get("AffectedSOPInstanceUID"):
        lines.append(f"  iuid={named_uid(command.AffectedSOPInstanceUID)}")
    return "\n".join([*lines, f"  tsuid={named_uid(context.transfer_syntax)}]"])


def number_in(command: Dataset, keyword: str, otherwise: int = 0) -> int:
    """A number of a command set; ``otherwise`` where it is absent, empty or not one number."""
    value = command.get(keyword)
    return value if isinstance(value, int) else otherwise


def _destination(command: Dataset) -> str:
    return f", dest={printable(command.MoveDestination)}" if "MoveDestination" in command else ""


def _outcome(command: Dataset) -> str:
    parts = [
        f"{name.lower()}={number_in(command, keyword)}"
        for name in _SUB_OPERATIONS
        if (keyword := f"NumberOf{name}Suboperations") in command
    ]
    parts.append(f"status={number_in(command, 'Status', 0xFFFF):x}H")
    if "ErrorID" in command:
        parts.append(f"errorID={number_in(command, 'ErrorID')}")
    if command.get("ErrorComment"):
        parts.append(f"errorComment={printable(command.ErrorComment)}")
    return "".join(f", {part}" for part in parts)
