"""What findscu and movescu do alike: open an association, send one request after another, read what comes back."""

import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, pdu
from pynetdicom.pdu_primitives import A_ASSOCIATE, SOPClassExtendedNegotiation

from niffler.embedded.association import A_ASSOCIATE_AC, A_ASSOCIATE_RQ, A_RELEASE_RP, A_RELEASE_RQ, Association
from niffler.embedded.commands import (
    C_CANCEL_RQ,
    Context,
    decode,
    describe,
    encode,
    make_command,
    number_in,
)
from niffler.embedded.errors import AssociationEndedError, SilenceError, ToolError, UsageError
from niffler.embedded.negotiation import associate_primitive
from niffler.embedded.options import Option, Words, option, whole_number
from niffler.embedded.printing import Printer, reason_of, socket_text

REQUESTOR_OPTIONS: tuple[Option, ...] = (
    option("c,connect", "aet@host:port", "AE title, address and port of the PACS"),
    option("b,bind", "aet[@ip][:port]", "own AE title, and own address if it matters; the port is not used"),
    option("M", "name", "information model, StudyRoot by default"),
    option("L", "level", "PATIENT, STUDY, SERIES or IMAGE; STUDY by default"),
    option("m", "[seq.]attr=value...", "matching key, by keyword or hexadecimal tag"),
    option("i", "attr...", "attributes taken from the query files"),
    option("relational", "", "negotiate relational queries and retrievals"),
    option("connect-timeout", "ms", "wait so long at most for the TCP connection"),
    option("accept-timeout", "ms", "wait so long at most for A-ASSOCIATE-AC"),
)
_LONGEST_PDU_RECEIVED = 16378
_PENDING = (0xFF00, 0xFF01)
_TRANSFER_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_NO_CONTEXT = "No Presentation Context for Abstract Syntax: {} with Transfer Syntax: {} negotiated"


@dataclass(frozen=True)
class Peers:
    """Who calls whom, and from which address."""

    called_ae: str
    host: str
    port: int
    calling_ae: str
    own_address: str


def peers_of(words: Words, own_ae: str) -> Peers:
    """Read the options -c and -b."""
    connect = words.value("c")
    if connect is None:
        raise UsageError("missing required option -c")
    called_ae, at, address = connect.partition("@")
    host, colon, port = address.partition(":")
    if not at or not colon:
        raise UsageError("invalid parameter of option -c")
    calling_ae, _, own_address = (words.value("b") or own_ae).partition(":")[0].partition("@")
    return Peers(called_ae, host, whole_number(port), calling_ae, own_address)


def model_of(words: Words, models: Mapping[str, str]) -> str:
    """The SOP class UID of the information model that -M names."""
    name = words.value("M") or "StudyRoot"
    if name not in models:
        raise UsageError(f"{name} is not a supported Information Model name")
    return models[name]


def converse(
    words: Words, peers: Peers, sop_class: str, requests: Iterable[Dataset],
    make_request: Callable[[int], Dataset], on_pending: Callable[[Dataset], bool], silence: float | None,
) -> None:  # fmt: skip
    """Open the association, send every request when its turn comes, and release.

    ``requests`` is asked for the next identifier when the one before is answered (DCM4CHE asks while it is under way,
    and reads responses in another thread); ``make_request`` makes the command for a message ID; ``on_pending`` is given
    the identifier of every pending response and says whether to cancel; ``silence`` is how long to wait for each
    response, in seconds.
    """
    association = _open(words, peers, sop_class)
    conversation = _Conversation(association, sop_class, make_request, on_pending, silence)
    try:
        for identifier in requests:
            conversation.request(identifier)
        conversation.require_association()
    finally:
        conversation.close(words.seconds("release-timeout"))


class _Conversation:
    """The requests over one association, one at a time."""

    def __init__(
        self, association: Association, sop_class: str, make_request: Callable[[int], Dataset],
        on_pending: Callable[[Dataset], bool], silence: float | None,
    ) -> None:  # fmt: skip
        self._association = association
        self._context = next(iter(association.contexts.values()), None)
        self._sop_class = sop_class
        self._make_request = make_request
        self._on_pending = on_pending
        self._silence = silence
        self._message_id = 0
        self._awaits_response = False
        self._end: AssociationEndedError | None = None

    def request(self, identifier: Dataset) -> None:
        """Send a request and read what is answered."""
        if self._context is None:
            raise ToolError(_NO_CONTEXT.format(self._sop_class, "null"))
        self._message_id += 1
        command = self._make_request(self._message_id)
        if self._end is not None:  # DCM4CHE announces the next request even then
            self._association.say(f" << {describe(command, self._context)}")
            raise ToolError(str(self._end))
        try:
            self._association.send_message(self._context, command, _encode(identifier, self._context))
        except AssociationEndedError as error:
            self._end = error
            raise ToolError(str(error)) from None
        self._awaits_response = True
        self._finish()

    def require_association(self) -> None:
        """Raise ToolError where the association ended before its last request was answered."""
        if self._end is not None:
            raise ToolError(self._association.state)

    def close(self, silence: float | None) -> None:
        """Release, unless the association has ended already."""
        if self._end is not None:
            return
        association = self._association
        try:
            association.say(" << A-RELEASE-RQ")
            association.send(A_RELEASE_RQ)
            while association.receive_negotiation(silence)[0] != A_RELEASE_RP:
                pass
            association.say(" >> A-RELEASE-RP")
            association.close()
        except SilenceError:
            association.say(": A-RELEASE-RP timeout expired")
            association.abort()
        except AssociationEndedError:
            return  # every answer is read; how the goodbye went changes nothing

    def _finish(self) -> None:
        """Read responses up to the final one of the request under way."""
        try:
            while self._awaits_response:
                self._awaits_response = self._read_response()
        except SilenceError:
            self._association.say(f": {self._message_id}:DIMSE-RSP timeout expired")
            self._end = self._association.abort()
        except AssociationEndedError as error:
            self._end = error
        self._awaits_response = False

    def _read_response(self) -> bool:
        """Read one response; whether another is to come."""
        context, command = self._association.receive_command(self._silence)
        encoded = b"".join(self._association.data_set_chunks(context, command))
        if number_in(command, "MessageIDBeingRespondedTo", -1) != self._message_id:
            self._association.say(": unexpected message ID in DIMSE RSP:")
            raise self._association.abort()
        if number_in(command, "Status") not in _PENDING:
            return False
        if self._on_pending(_decode(encoded, context)):
            cancel = make_command(C_CANCEL_RQ, {"MessageIDBeingRespondedTo": self._message_id}, with_data_set=False)
            self._association.send_message(context, cancel)
        return True


def _open(words: Words, peers: Peers, sop_class: str) -> Association:
    printer = Printer()
    local = f"/{peers.own_address}" if peers.own_address else "0.0.0.0/0.0.0.0"
    printer.info(f"Initiate connection from {local}:0 to {peers.host}:{peers.port}")
    try:
        connection = socket.create_connection(
            (peers.host, peers.port), words.seconds("connect-timeout"), (peers.own_address, 0)
        )
    except socket.gaierror as error:
        raise ToolError(f"{peers.host}: {error.strerror}") from None
    except (OSError, OverflowError) as error:
        raise ToolError(reason_of(error) if isinstance(error, OSError) else f"port out of range:{peers.port}") from None
    connection.settimeout(words.seconds("send-timeout"))
    address, port = connection.getpeername()[:2]
    name = "" if peers.host == address else peers.host
    text = socket_text(f"{name}/{address}", port, connection.getsockname()[1])
    printer.info(f"Established connection {text}")
    association = Association(connection, text, printer)
    association.name = f"{peers.calling_ae}->{peers.called_ae}(1)"
    try:
        _negotiate(association, words, peers, sop_class)
    except AssociationEndedError as error:
        raise ToolError(str(error)) from None
    return association


def _negotiate(association: Association, words: Words, peers: Peers, sop_class: str) -> None:
    request = pdu.A_ASSOCIATE_RQ(_association_request(peers, sop_class, relational="relational" in words))
    association.say(" << A-ASSOCIATE-RQ")
    association.state = "Sta5 - Awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ PDU"
    association.send(A_ASSOCIATE_RQ, request.encode()[6:])
    try:
        kind, encoded = association.receive_negotiation(words.seconds("accept-timeout"))
    except SilenceError:
        association.say(": A-ASSOCIATE-AC timeout expired")
        raise association.abort() from None
    if kind != A_ASSOCIATE_AC:
        raise association.abort(2, 2)
    association.say(" >> A-ASSOCIATE-AC")
    accepted = pdu.A_ASSOCIATE_AC()
    try:
        accepted.decode(encoded)
        answer = accepted.to_primitive()
        for result in answer.presentation_context_definition_results_list:
            if result.result == 0 and result.context_id is not None:
                syntax = str(result.transfer_syntax[0])
                association.contexts[result.context_id] = Context(result.context_id, sop_class, syntax)
        limit = answer.maximum_length_received
    except Exception:  # whatever a peer may send; pynetdicom's decoder has no error of its own
        raise association.abort(2, 6) from None
    association.longest_pdu = min(limit or association.longest_pdu, association.longest_pdu)
    association.state = "Sta6 - Association established and ready for data transfer"


def _association_request(peers: Peers, sop_class: str, *, relational: bool) -> A_ASSOCIATE:
    context = build_context(sop_class, list(_TRANSFER_SYNTAXES))
    context.context_id = 1
    request = associate_primitive(_LONGEST_PDU_RECEIVED)
    try:
        request.calling_ae_title, request.called_ae_title = peers.calling_ae, peers.called_ae
    except (ValueError, TypeError) as error:
        raise ToolError(str(error)) from None
    request.presentation_context_definition_list = [context]
    if relational:
        extended = SOPClassExtendedNegotiation()
        extended.sop_class_uid = UID(sop_class)
        extended.service_class_application_information = b"\x01"
        request.user_information = [*request.user_information, extended]
    return request


def _encode(identifier: Dataset, context: Context) -> bytes:
    syntax = UID(context.transfer_syntax)
    try:
        return encode(identifier, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ToolError(f"the query cannot be encoded: {error}") from None


def _decode(encoded: bytes, context: Context) -> Dataset:
    syntax = UID(context.transfer_syntax)
    return decode(encoded, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
