"""One request as it came in, and the responses to it: every status and count is ours to choose."""

import time
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from pydicom import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_MOVE
from pynetdicom.dsutils import decode, encode
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
)

_POLL_SECONDS = 0.0005

PENDING = 0xFF00
SUCCESS = 0x0000
CANCELLED = 0xFE00
SUB_OPERATIONS_FAILED = 0xB000
CANNOT_PERFORM_SUB_OPERATIONS = 0xA702
DESTINATION_UNKNOWN = 0xA801
IDENTIFIER_DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000


class ConversationOverError(Exception):
    """The association ended, by either side, before the request was answered."""


@dataclass(frozen=True)
class Counts:
    """Sub-operations of a C-MOVE (PS3.7 9.1.4.1); ``remaining`` is absent from final responses."""

    remaining: int | None = None
    completed: int = 0
    failed: int = 0
    warning: int = 0


class Conversation:
    """A request and its association."""

    def __init__(self, association: Association, request: C_ECHO | C_FIND | C_MOVE, context_id: int) -> None:
        self.association = association
        self._request = request
        self._context_id = context_id
        self._context: PresentationContext = next(
            context for context in association.accepted_contexts if context.context_id == context_id
        )
        self.identifier = self._decoded()

    @property
    def kind(self) -> Literal["echo", "find", "move"]:
        """What is asked for: echo, find or move."""
        if isinstance(self._request, C_ECHO):
            return "echo"
        return "find" if isinstance(self._request, C_FIND) else "move"

    @property
    def level(self) -> str:
        """Query/Retrieve Level (0008,0052); empty in a C-ECHO."""
        return str(self.identifier.get("QueryRetrieveLevel") or "").strip()

    @property
    def message_id(self) -> int:
        """Message ID (0000,0110)."""
        return int(self._request.MessageID or 0)

    @property
    def calling_ae_title(self) -> str:
        """The AE title of whoever asks."""
        return self.association.requestor.ae_title.strip()

    @property
    def move_destination(self) -> str:
        """Move Destination (0000,0600) of a C-MOVE."""
        return str(self._request.MoveDestination or "").strip() if isinstance(self._request, C_MOVE) else ""

    @property
    def is_patient_root(self) -> bool:
        """Whether the request is in the Patient Root model; otherwise it is in the Study Root model."""
        return self._context.abstract_syntax in (
            PatientRootQueryRetrieveInformationModelFind,
            PatientRootQueryRetrieveInformationModelMove,
        )

    @property
    def is_relational(self) -> bool:
        """Whether relational queries were agreed upon for this association (PS3.4 C.5.1.1.1)."""
        proposed = self.association.requestor.sop_class_extended
        return any(uid == self._context.abstract_syntax and info[:1] == b"\x01" for uid, info in proposed.items())

    @property
    def is_cancelled(self) -> bool:
        """Whether a C-CANCEL for this request came in."""
        return self.message_id in self.association.dimse.cancel_req

    @property
    def is_over(self) -> bool:
        """Whether the association has ended, so that no response can arrive any more."""
        return not self.association.is_established or is_over(self.association)

    def respond(
        self, status: int, *, identifier: Dataset | None = None, counts: Counts | None = None, comment: str = ""
    ) -> None:
        """Send one response; absent counts stay absent on the wire."""
        if self.is_over:
            raise ConversationOverError
        response = type(self._request)()
        response.MessageIDBeingRespondedTo = self._request.MessageID
        response.AffectedSOPClassUID = self._request.AffectedSOPClassUID
        response.Status = status
        if comment:
            response.ErrorComment = comment[:64]  # type: ignore[assignment]
        if identifier is not None and not isinstance(response, C_ECHO):
            response.Identifier = BytesIO(self._encoded(identifier))
        if counts is not None and isinstance(response, C_MOVE):
            response.NumberOfRemainingSuboperations = counts.remaining
            response.NumberOfCompletedSuboperations = counts.completed
            response.NumberOfFailedSuboperations = counts.failed
            response.NumberOfWarningSuboperations = counts.warning
        self.association.dimse.send_msg(response, self._context_id)
        # Without this, thousands of matches are queued before the first has left, and C-CANCEL always comes too late.
        while not self.association.dul.to_provider_queue.empty() and not self.is_over:
            time.sleep(_POLL_SECONDS)

    def _decoded(self) -> Dataset:
        if isinstance(self._request, C_ECHO) or self._request.Identifier is None:
            return Dataset()
        syntax = self._context.transfer_syntax[0]
        identifier = decode(
            self._request.Identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
        )
        identifier.decode()
        return identifier

    def _encoded(self, identifier: Dataset) -> bytes:
        syntax = self._context.transfer_syntax[0]
        content = encode(identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        if content is None:
            raise ValueError("the identifier of the response cannot be encoded")
        return content


def is_over(association: Association) -> bool:
    """Whether the peer of an association has gone, or the connection to it."""
    return association.acse.is_aborted() or not association.dul.is_alive()
