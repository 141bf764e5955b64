"""storescp: receives instances (C-STORE, PS3.4 annex B) and writes them to disk as they come, without decoding them."""

import contextlib
import ctypes
import io
import itertools
import os
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID
from pynetdicom.presentation import StoragePresentationContexts
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from niffler.embedded.acceptor import Acceptance, accept
from niffler.embedded.association import Association
from niffler.embedded.commands import C_ECHO_RQ, C_STORE_RQ, RESPONSE, Context, make_command, number_in
from niffler.embedded.errors import AssociationEndedError, SilenceError, ToolError, UsageError
from niffler.embedded.file_path import FilePath, parse_file_path
from niffler.embedded.options import Words, option, whole_number
from niffler.embedded.printing import Printer, printable, reason_of
from niffler.embedded.tool import run

_SUCCESS, _PROCESSING_FAILURE, _UNRECOGNISED_OPERATION = 0x0000, 0x0110, 0x0211
_PREAMBLE = bytes(128) + b"DICM"
_BACKLOG = 128
_LARGE_CHUNK = 1 << 18
_PR_SET_PDEATHSIG = 1
_OPTIONS = (
    option("b,bind", "[aet[@ip]:]port", "own AE title, address and port to listen on"),
    option("accept", "aet...", "calling AE titles to accept; any by default"),
    option("accept-unknown", "", "accept every SOP class, not those of storage alone"),
    option("directory", "path", "storage folder, the current one by default"),
    option("filepath", "pattern", "path of an instance, such as {00100020}/{0020000D}/{00080018}.dcm"),
    option("request-timeout", "ms", "wait so long at most for A-ASSOCIATE-RQ"),
)


class _Store:
    """The storage folder: an instance is written to a ``.part`` file, then renamed to its place."""

    def __init__(self, folder: Path, file_path: FilePath | None) -> None:
        self._folder = folder
        self._file_path = file_path

    def store(self, association: Association, context: Context, command: Dataset, chunks: Iterable[bytes]) -> None:
        """Write one instance. Raises OSError or ValueError where it cannot; then nothing of it stays."""
        uid = str(command.get("AffectedSOPInstanceUID") or "")
        name = _file_name(uid)
        descriptor, part = tempfile.mkstemp(prefix=name[:200], suffix=".part", dir=self._folder)
        try:
            association.say(f": M-WRITE {part}")
            with os.fdopen(descriptor, "w+b", buffering=0) as stream:
                _write(stream, _PREAMBLE + _file_meta(uid, context))
                for chunk in _together(chunks):
                    _write(stream, chunk)
                stream.seek(0)
                place = self._folder / (name if self._file_path is None else self._file_path.path_of(stream))
                os.fchmod(descriptor, 0o666 & ~_umask)
            association.say(f": M-RENAME {part} to {place}")
            place.parent.mkdir(parents=True, exist_ok=True)
            Path(part).replace(place)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(part).unlink()
                association.say(f": M-DELETE {part}")
            raise


def _together(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer, larger chunks: each write is a call of the system."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _LARGE_CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _write(stream: io.FileIO, content: bytes) -> None:
    """Write all of it: a disk that has room for a part takes that part, and refuses only what comes after it."""
    rest = memoryview(content)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def _serve(association: Association, store: _Store, silence: float | None) -> None:
    """Answer what is asked on an association until it ends."""
    with contextlib.suppress(AssociationEndedError):
        while True:
            try:
                context, command = association.receive_command(silence)
            except SilenceError:
                raise association.abort() from None
            _answer(association, context, command, store)


def _answer(association: Association, context: Context, command: Dataset, store: _Store) -> None:
    field = number_in(command, "CommandField")
    chunks = association.data_set_chunks(context, command)
    elements: dict[str, object] = {
        "MessageIDBeingRespondedTo": number_in(command, "MessageID"),
        "AffectedSOPClassUID": command.get("AffectedSOPClassUID", ""),
    }
    if field == C_STORE_RQ:
        elements["AffectedSOPInstanceUID"] = command.get("AffectedSOPInstanceUID", "")
        elements["Status"] = _SUCCESS
        try:
            store.store(association, context, command, chunks)
        except Exception as error:
            if isinstance(error, AssociationEndedError):
                raise
            reason = reason_of(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            message_id = elements["MessageIDBeingRespondedTo"]
            association.say(f": processing {message_id}:C-STORE-RQ failed. Caused by: {printable(reason)}")
            elements |= {"Status": _PROCESSING_FAILURE, "ErrorComment": printable(reason)[:64]}
    else:
        elements["Status"] = _SUCCESS if field == C_ECHO_RQ else _UNRECOGNISED_OPERATION
    for _ in chunks:
        pass  # what was not written has to be read all the same
    association.send_message(context, make_command(field | RESPONSE, elements, with_data_set=False))


def _file_meta(uid: str, context: Context) -> bytes:
    """The file meta information (PS3.10 7.1): what the peer said, whether it is a valid UID or not."""
    elements = b"".join(
        [
            b"\2\0\1\0OB\0\0\2\0\0\0\0\1",  # FileMetaInformationVersion
            _uid_element(0x0002, context.abstract_syntax),
            _uid_element(0x0003, uid),
            _uid_element(0x0010, context.transfer_syntax),
            _uid_element(0x0012, PYDICOM_IMPLEMENTATION_UID),
        ]
    )
    return struct.pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, len(elements)) + elements


def _uid_element(number: int, uid: str) -> bytes:
    """A UID of group 0002, Explicit VR Little Endian (PS3.5 7.1.2), padded to an even length."""
    value = uid.encode("ascii", "replace")
    value += bytes(len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, number, b"UI", len(value)) + value


def _file_name(uid: str) -> str:
    """A UID as the name of a file, whatever the peer sent for one."""
    return "".join(letter if letter.isalnum() or letter in ".-_" else "_" for letter in uid).lstrip(".") or "instance"


def _receive(words: Words) -> None:
    title, host, port = _own_address(words)
    acceptance = Acceptance(
        ae_title=title,
        calling_ae_titles=words.every("accept") if "accept" in words else None,
        sop_classes=None if "accept-unknown" in words else _storage_sop_classes(),
    )
    folder = Path(words.value("directory") or ".")
    pattern = words.value("filepath")
    printer = Printer()
    try:
        store = _Store(folder, None if pattern is None else parse_file_path(pattern))
        folder.mkdir(parents=True, exist_ok=True)
        listener = socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        if isinstance(error, FileExistsError | NotADirectoryError | PermissionError) and error.filename:
            raise ToolError(f"{folder} ({reason_of(error)})") from None
        raise ToolError(f"Unable to start TCPListener on {host or 'null'}:{port}: {reason_of(error)}") from None
    except OverflowError:
        raise ToolError(f"port out of range:{port}") from None
    printer.info(f"Start TCP Listener on {host or '0.0.0.0'}/{host or '0.0.0.0'}:{port}")
    request_silence, silence = words.seconds("request-timeout"), words.seconds("idle-timeout")

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a process of an association
    for number in itertools.count(1):
        connection, _ = listener.accept()

        def converse(connection: socket.socket = connection, number: int = number) -> None:
            listener.close()
            with contextlib.suppress(AssociationEndedError), connection:
                _serve(accept(connection, number, acceptance, printer, request_silence), store, silence)

        with connection:
            _in_a_process(converse)


def _in_a_process(converse: Callable[[], None]) -> None:
    """Do something in a process of its own, as threads of Python take turns on one processor; it dies with this one."""
    parent = os.getpid()
    if os.fork():
        return
    exit_code = 1
    try:
        with contextlib.suppress(AttributeError):  # Linux alone has it
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            converse()
        exit_code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(exit_code)


def _own_address(words: Words) -> tuple[str | None, str, int]:
    bind = words.value("b")
    if bind is None:
        raise UsageError("missing required option -b")
    names, _, port = bind.rpartition(":")
    title, _, host = names.partition("@")
    return title or None, host, whole_number(port)


def _storage_sop_classes() -> frozenset[str]:
    return frozenset([Verification, *(str(context.abstract_syntax) for context in StoragePresentationContexts)])


def _read_umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


_umask = _read_umask()
"""Read once: mkstemp makes files private, but images are as readable as the user wants."""


def main() -> int:
    """Run storescp with the arguments of the process; returns its exit code."""
    usage = "storescp [options] -b [<aet>[@<ip>]:]<port>"
    return run("storescp", usage, "Receives instances and stores them.", _OPTIONS, _receive, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
