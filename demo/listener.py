"""An association acceptor that hands requests over undigested and leaves no thread or socket behind."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_MOVE
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from demo.conversation import Conversation, ConversationOverError

_SOP_CLASSES = (
    Verification,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)
_MOST_ASSOCIATIONS = 200
_MOST_SECONDS_TO_CLOSE = 10.0


class _Server(ThreadedAssociationServer):
    request_queue_size = 128


class Listener:
    """Listens on one address from construction until ``close``.

    pynetdicom's own C-MOVE service lets a handler choose neither the counts nor the moment of a response, so
    requests are taken before they reach it and given to ``answer`` as a Conversation, in the association's thread.
    """

    def __init__(
        self,
        ae_title: str,
        address: tuple[str, int],
        answer: Callable[[Conversation], None],
        handlers: list[EventHandlerType] | None = None,
    ) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._associations: list[Association] = []
        self._is_cut = False
        self._ae = AE(ae_title)
        self._ae.maximum_associations = _MOST_ASSOCIATIONS
        own: list[EventHandlerType] = [
            (evt.EVT_CONN_OPEN, self._on_connection),
            (evt.EVT_SOP_EXTENDED, _accept_extended_negotiation),
        ]
        self._server = self._ae.make_server(
            address,
            contexts=[build_context(sop_class) for sop_class in _SOP_CLASSES],
            evt_handlers=own + (handlers or []),
            server_class=_Server,
        )
        self._ae._servers.append(self._server)  # where shutdown() expects it
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="pacs-listener")
        self._thread.start()

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._server.server_address[1])

    def hold(self, association: Association) -> None:
        """End this association too, at the latest on ``close``."""
        with self._lock:
            self._associations.append(association)
            is_cut = self._is_cut
        if is_cut:
            cut(association)

    def let_go(self, association: Association) -> None:
        """Nobody waits for this association any more."""
        with self._lock:
            self._associations = [held for held in self._associations if held is not association]

    def cut_connections(self) -> None:
        """Stop listening and cut all connections without a word, as a killed process does; idempotent."""
        if self._server in self._ae._servers:
            self._server.shutdown()
        with self._lock:
            self._is_cut = True
            associations = list(self._associations)
        for association in associations:
            cut(association)

    def close(self) -> None:
        """Stop listening, cut all connections and wait for every thread to end."""
        self.cut_connections()
        with self._lock:
            associations = list(self._associations)
        threads = [self._thread, *associations, *(association.dul for association in associations)]
        waiting = [thread for thread in threads if thread is not threading.current_thread()]
        end = time.monotonic() + _MOST_SECONDS_TO_CLOSE
        while any(thread.is_alive() for thread in waiting) and time.monotonic() < end:
            for association in associations:  # pynetdicom may go on waiting for a message on a connection that is cut
                association.dimse.msg_queue.put((None, None))
                to_user: Any = association.dul.to_user_queue  # its annotation leaves out the None that it is made for
                to_user.put(None)
            for thread in waiting:
                if thread.is_alive():
                    thread.join(timeout=0.02)

    def _on_connection(self, event: Event) -> None:
        association = event.assoc
        send_without_delay(event)
        digested = association._serve_request

        def serve(message: Any, context_id: int) -> None:
            if not isinstance(message, C_ECHO | C_FIND | C_MOVE):
                digested(message, context_id)
                return
            association.dimse.cancel_req = {}
            try:
                self._answer(Conversation(association, message, context_id))
            except ConversationOverError:
                return
            except Exception:
                association.abort(block=False)
                raise

        association._serve_request = serve  # type: ignore[method-assign,assignment]
        with self._lock:
            ended = [held for held in self._associations if held.is_acceptor and held.ident and not held.is_alive()]
            self._associations = [held for held in self._associations if held not in ended]
        self.hold(association)


def cut(association: Association) -> None:
    """Cut the connection of an association without a word."""
    connection = getattr(association.dul.socket, "socket", None)
    if connection is not None:
        with contextlib.suppress(OSError):  # the peer was faster
            connection.shutdown(socket.SHUT_RDWR)


def send_without_delay(event: Event) -> None:
    """Switch Nagle's algorithm off: a DIMSE message is several small writes, each held back 40 ms by it."""
    connection = getattr(event.assoc.dul.socket, "socket", None)
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _accept_extended_negotiation(event: Event) -> dict[Any, bytes]:
    """Agree to whatever is proposed: relational queries are supported."""
    return dict(event.app_info)  # type: ignore[attr-defined]
