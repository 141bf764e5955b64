"""The C-STORE sub-operations of a C-MOVE, over one association to its destination."""

import contextlib
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import build_context

from demo.archive import Instance
from demo.conversation import Conversation, is_over
from demo.listener import Listener, send_without_delay
from demo.plan import Result

_ACCEPTED = 0x0000
_STORE_WARNINGS = frozenset({0xB000, 0xB006, 0xB007})
_CONNECTION_TIMEOUT_SECONDS = 10.0


class Retrieval:
    """Sends instances to an address; where it cannot be reached, every sub-operation fails."""

    def __init__(
        self,
        conversation: Conversation,
        ae_title: str,
        address: tuple[str, int],
        instances: Iterable[Instance],
        listener: Listener,
    ) -> None:
        self._conversation = conversation
        self._ae_title = ae_title
        self._address = address
        kinds = dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in instances)
        self._contexts = [build_context(sop_class, [syntax]) for sop_class, syntax in kinds]
        self._listener = listener
        self._association: Association | None = None
        self._sent = 0

    def __enter__(self) -> Self:
        if self._contexts:
            ae = AE(self._ae_title)
            ae.connection_timeout = _CONNECTION_TIMEOUT_SECONDS
            with contextlib.suppress(OSError):  # a host name that nobody knows
                self._association = ae.associate(
                    *self._address,
                    contexts=self._contexts,
                    ae_title=self._conversation.move_destination,
                    evt_handlers=[(evt.EVT_CONN_OPEN, self._on_connection)],
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._association is not None:
            if self._association.is_established:
                self._association.release()
            self._listener.let_go(self._association)

    def send(self, instance: Instance) -> Result:
        """Send one instance; returns the count it belongs to."""
        if self._association is None or not self._association.is_established or is_over(self._association):
            return "failed"
        self._sent += 1
        try:
            response = self._association.send_c_store(
                instance.path,
                msg_id=self._sent % 0xFFFF + 1,
                originator_aet=self._conversation.calling_ae_title,
                originator_id=self._conversation.message_id,
            )
        except (ValueError, RuntimeError, OSError):  # not accepted, gone, or no file any more
            return "failed"
        status = response.get("Status")
        return "completed" if status == _ACCEPTED else "warning" if status in _STORE_WARNINGS else "failed"

    def _on_connection(self, event: Event) -> None:
        send_without_delay(event)
        self._listener.hold(event.assoc)  # before it is established, which a destination may let us wait for
