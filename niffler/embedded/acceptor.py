"""The acceptor's side of an association: which are accepted, with which presentation contexts (PS3.8 7.1)."""

import socket
import struct
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from pynetdicom import pdu
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from niffler.embedded.association import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, Association, rejection_text
from niffler.embedded.commands import Context
from niffler.embedded.errors import AssociationEndedError
from niffler.embedded.negotiation import associate_primitive
from niffler.embedded.printing import Printer, printable, socket_text

# The protocol data units that bring an image: larger ones are fewer, and none is held in memory whole.
_LONGEST_PDU_RECEIVED = 131_072
_ABSTRACT_SYNTAX_NOT_SUPPORTED, _ACCEPTANCE = 3, 0
_CALLING_AE_NOT_RECOGNISED, _CALLED_AE_NOT_RECOGNISED = (1, 1, 3), (1, 1, 7)


@dataclass(frozen=True)
class Acceptance:
    """Which associations are accepted; None stands for any."""

    ae_title: str | None
    calling_ae_titles: Container[str] | None
    sop_classes: Container[str] | None


def accept(
    connection: socket.socket, number: int, acceptance: Acceptance, printer: Printer, silence: float | None
) -> Association:
    """Answer the association request on a new connection. Raises AssociationEndedError where there is none to be."""
    address, port = connection.getpeername()[:2]
    own_address, own_port = connection.getsockname()[:2]
    text = socket_text(f"/{address}", port, own_port)
    printer.info(f"Accept connection {text}")
    association = Association(connection, text, printer)
    association.name = f"/{own_address}:{own_port}<-/{address}:{port}({number})"
    association.state = "Sta2 - Transport connection open"
    kind, encoded = association.receive_negotiation(silence)
    if kind != A_ASSOCIATE_RQ:
        raise association.abort(2, 2)
    request = _decoded(association, encoded)
    called, calling = str(request.called_ae_title).strip(), str(request.calling_ae_title).strip()
    association.name = f"{printable(called)}<-{printable(calling)}({number})"
    association.say(" >> A-ASSOCIATE-RQ")
    if acceptance.ae_title is not None and called != acceptance.ae_title:
        raise _rejected(association, *_CALLED_AE_NOT_RECOGNISED)
    if acceptance.calling_ae_titles is not None and calling not in acceptance.calling_ae_titles:
        raise _rejected(association, *_CALLING_AE_NOT_RECOGNISED)
    proposed = request.presentation_context_definition_list
    results = [_negotiated(context, acceptance) for context in proposed]
    for context in results:
        if context.result == _ACCEPTANCE and context.context_id is not None:
            syntaxes = str(context.abstract_syntax), str(context.transfer_syntax[0])
            association.contexts[context.context_id] = Context(context.context_id, *syntaxes)
    limit = request.maximum_length_received
    association.longest_pdu = min(limit or association.longest_pdu, association.longest_pdu)
    association.say(" << A-ASSOCIATE-AC")
    association.send(A_ASSOCIATE_AC, pdu.A_ASSOCIATE_AC(_answer(request, results)).encode()[6:])
    association.state = "Sta6 - Association established and ready for data transfer"
    return association


def _decoded(association: Association, encoded: bytes) -> Any:
    request = pdu.A_ASSOCIATE_RQ()
    try:
        request.decode(encoded)
        primitive = request.to_primitive()
        if not primitive.presentation_context_definition_list:
            raise ValueError("no presentation context")
    except Exception:  # whatever a peer may send; pynetdicom's decoder has no error of its own
        raise association.abort(2, 6) from None
    return primitive


def _negotiated(proposed: PresentationContext, acceptance: Acceptance) -> PresentationContext:
    answer = PresentationContext()
    answer.context_id = proposed.context_id
    answer.abstract_syntax = proposed.abstract_syntax
    answer.transfer_syntax = [proposed.transfer_syntax[0]]
    known = acceptance.sop_classes is None or str(proposed.abstract_syntax) in acceptance.sop_classes
    answer.result = _ACCEPTANCE if known else _ABSTRACT_SYNTAX_NOT_SUPPORTED
    return answer


def _answer(request: Any, results: list[PresentationContext]) -> A_ASSOCIATE:
    answer = associate_primitive(_LONGEST_PDU_RECEIVED)
    answer.calling_ae_title, answer.called_ae_title = request.calling_ae_title, request.called_ae_title
    answer.result = _ACCEPTANCE
    answer.presentation_context_definition_results_list = results
    return answer


def _rejected(association: Association, result: int, source: int, reason: int) -> AssociationEndedError:
    text = rejection_text(result, source, reason)
    association.say(f" << {text}")
    association.send(A_ASSOCIATE_RJ, struct.pack(">xBBB", result, source, reason))
    association.close()
    return AssociationEndedError(text)
