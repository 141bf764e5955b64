"""One association over one TCP connection: protocol data units and DIMSE messages in both directions (PS3.8)."""

import contextlib
import socket
import struct
from collections.abc import Iterator

from pydicom.dataset import Dataset

from niffler.embedded.commands import NO_DATA_SET, Context, decode, describe, encode_command, number_in
from niffler.embedded.errors import (
    AssociationEndedError,
    ConnectionBrokenError,
    PeerAbortedError,
    PeerReleasedError,
    RejectedError,
    SilenceError,
)
from niffler.embedded.printing import Printer, reason_of

A_ASSOCIATE_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, P_DATA_TF, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT = range(1, 8)
_COMMAND, _LAST = 0x01, 0x02
_CHUNK = 1 << 18
_LONGEST_NEGOTIATION = 1 << 20
_LONGEST_COMMAND = 1 << 16
_LONGEST_PDU_SENT = 16378

_REJECT_RESULTS = {1: "rejected-permanent", 2: "rejected-transient"}
_REJECT_SOURCES = {
    1: "service-user",
    2: "service-provider (ACSE related function)",
    3: "service-provider (Presentation related function)",
}
_REJECT_REASONS = {
    (1, 1): "no-reason-given",
    (1, 2): "application-context-name-not-supported",
    (1, 3): "calling-AE-title-not-recognized",
    (1, 7): "called-AE-title-not-recognized",
    (2, 1): "no-reason-given",
    (2, 2): "protocol-version-not-supported",
    (3, 1): "temporary-congestion",
    (3, 2): "local-limit-exceeded",
}
_ABORT_SOURCES = {0: "service-user", 2: "service-provider"}
_ABORT_REASONS = {
    (2, 0): "reason-not-specified",
    (2, 1): "unrecognized-PDU",
    (2, 2): "unexpected-PDU",
    (2, 4): "unrecognized-PDU-parameter",
    (2, 5): "unexpected-PDU-parameter",
    (2, 6): "invalid-PDU-parameter-value",
}


def rejection_text(result: int, source: int, reason: int) -> str:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21) in the tools' words."""
    return (
        f"A-ASSOCIATE-RJ[result: {_named(result, _REJECT_RESULTS.get(result))}, "
        f"source: {_named(source, _REJECT_SOURCES.get(source))}, "
        f"reason: {_named(reason, _REJECT_REASONS.get((source, reason)))}]"
    )


def abort_text(source: int, reason: int) -> str:
    """An A-ABORT (PS3.8 table 9-26) in the tools' words."""
    return (
        f"A-ABORT[source: {_named(source, _ABORT_SOURCES.get(source))}, "
        f"reason: {_named(reason, _ABORT_REASONS.get((source, reason)))}]"
    )


class Association:
    """Reads and writes what PS3.8 and PS3.7 put on the connection, and prints it.

    Every way in which it can end raises an AssociationEndedError, after printing what the tools print then.
    Instances are never held in memory: ``data_set_chunks`` hands them on as they arrive.
    """

    def __init__(self, connection: socket.socket, connection_text: str, printer: Printer) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._connection_text = connection_text
        self._stream = connection.makefile("rb", buffering=_CHUNK)
        self._printer = printer
        self._left_in_pdu = 0
        self.name = ""
        """How the lines name it: both AE titles and a number."""
        self.contexts: dict[int, Context] = {}
        self.longest_pdu = _LONGEST_PDU_SENT
        """Of the P-DATA-TF to be sent, in bytes after its header (PS3.8 D.1)."""
        self.state = "Sta6 - Association established and ready for data transfer"
        """PS3.8 table 9-6 and following."""

    def say(self, event: str) -> None:
        """Print an event of this association."""
        self._printer.info(f"{self.name}{event}")

    def send(self, kind: int, body: bytes = b"\0\0\0\0") -> None:
        """Send one PDU. Raises AssociationEndedError where the peer is gone."""
        try:
            self._connection.sendall(struct.pack(">BxI", kind, len(body)) + body)
        except OSError as error:
            raise self._broken(error) from None

    def receive_negotiation(self, silence: float | None) -> tuple[int, bytes]:
        """The type of the next PDU and the PDU whole, for the PDUs that negotiate an association."""
        kind, length = self._receive_header(silence)
        if length > _LONGEST_NEGOTIATION:
            raise self._malformed()
        return kind, struct.pack(">BxI", kind, length) + self._read(length)

    def send_message(self, context: Context, command: Dataset, data_set: bytes = b"") -> None:
        """Print and send a DIMSE message, in as many PDUs as the peer's limit asks for."""
        self.say(f" << {describe(command, context)}")
        most = self.longest_pdu - 6
        for part, kind in ((encode_command(command), _COMMAND), (data_set, 0)):
            for start in range(0, len(part), most):
                fragment = part[start : start + most]
                control = kind | (_LAST if start + most >= len(part) else 0)
                self.send(P_DATA_TF, struct.pack(">IBB", len(fragment) + 2, context.number, control) + fragment)

    def receive_command(self, silence: float | None) -> tuple[Context, Dataset]:
        """The next command set; ``silence`` is how long to wait for it, in seconds, None for ever."""
        encoded = b""
        while True:
            length, number, control = self._receive_fragment(silence)
            encoded += self._read(length)
            context = self.contexts.get(number)
            if context is None or not control & _COMMAND or len(encoded) > _LONGEST_COMMAND:
                raise self._malformed()
            if control & _LAST:
                break
        try:
            command = decode(encoded, implicit_vr=True, little_endian=True)
            self.say(f" >> {describe(command, context)}")
        except (ValueError, TypeError, NotImplementedError, EOFError, struct.error, AttributeError):
            raise self._malformed() from None
        return context, command

    def data_set_chunks(self, context: Context, command: Dataset) -> Iterator[bytes]:
        """The encoded data set that follows a command, as it arrives; nothing where the command says that none does."""
        if number_in(command, "CommandDataSetType", NO_DATA_SET) == NO_DATA_SET:
            return
        control = 0
        while not control & _LAST:
            length, number, control = self._receive_fragment(self._connection.gettimeout())
            if number != context.number or control & _COMMAND:
                raise self._malformed()
            while length:
                chunk = self._read(min(length, _CHUNK))
                length -= len(chunk)
                yield chunk

    def abort(self, source: int = 0, reason: int = 0) -> AssociationEndedError:
        """Print and send an A-ABORT and close; returns the error to be raised."""
        text = abort_text(source, reason)
        self.say(f" << {text}")
        with contextlib.suppress(AssociationEndedError):
            self.send(A_ABORT, bytes((0, 0, source, reason)))
        self.state = "Sta13 - Awaiting Transport Connection Close Indication"
        self._close()
        return AssociationEndedError(text)

    def close(self) -> None:
        """Print that the connection is closed, and close it."""
        if self.state.startswith("Sta1 "):
            return
        self.say(f": close {self._connection_text}")
        self.state = "Sta1 - Idle"
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        self._stream.close()
        self._connection.close()

    def _receive_fragment(self, silence: float | None) -> tuple[int, int, int]:
        """Length, presentation context and control header of the next presentation data value (PS3.8 9.3.5.1)."""
        while not self._left_in_pdu:
            kind, length = self._receive_header(silence)
            if kind != P_DATA_TF:
                raise self._not_data(kind, length)
            self._left_in_pdu = length
        if self._left_in_pdu < 6:
            raise self._malformed()
        item_length, number, control = struct.unpack(">IBB", self._read(6))
        self._left_in_pdu -= item_length + 4
        if item_length < 2 or self._left_in_pdu < 0:
            raise self._malformed()
        return item_length - 2, number, control

    def _not_data(self, kind: int, length: int) -> AssociationEndedError:
        if kind == A_RELEASE_RQ:
            self._read(length)
            self.say(" >> A-RELEASE-RQ")
            self.say(" << A-RELEASE-RP")
            with contextlib.suppress(AssociationEndedError):
                self.send(A_RELEASE_RP)
            self.close()
            return PeerReleasedError(self.state)
        return self.abort(2, 2) if kind <= A_ABORT else self.abort(2, 1)

    def _receive_header(self, silence: float | None) -> tuple[int, int]:
        if self._connection.gettimeout() != silence:  # to set it takes a call of the system, for each PDU
            self._connection.settimeout(silence)
        kind, length = struct.unpack(">BxI", self._read(6))
        if kind in (A_ABORT, A_ASSOCIATE_RJ) and length == 4:
            detail = self._read(4)
            text = abort_text(*detail[2:]) if kind == A_ABORT else rejection_text(*detail[1:])
            self.say(f" >> {text}")
            self.close()
            raise PeerAbortedError(text) if kind == A_ABORT else RejectedError(text)
        return kind, length

    def _read(self, length: int) -> bytes:
        try:
            received: bytes = self._stream.read(length)
        except TimeoutError:
            raise SilenceError from None
        except OSError as error:
            raise self._broken(error) from None
        if len(received) < length:
            raise self._broken(None)
        return received

    def _broken(self, error: OSError | None) -> AssociationEndedError:
        text = "java.io.EOFException" if error is None else f"java.net.SocketException: {reason_of(error)}"
        self.say(f": i/o exception: {text} in State: {self.state}")
        self.close()
        return ConnectionBrokenError("null" if error is None else reason_of(error))

    def _malformed(self) -> AssociationEndedError:
        return self.abort(2, 6)


def _named(number: int, name: str | None) -> str:
    return str(number) if name is None else f"{number} - {name}"
