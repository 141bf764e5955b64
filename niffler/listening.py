"""The receiver of a run: it listens, and where it died it is started again, a few times."""

import logging

from niffler import slots
from niffler.addresses import ReceivingAe
from niffler.dcm4che import Receiver
from niffler.errors import CannotStartError, GaveUpError

_STARTS = 4


class Listening:
    """Has storescp listen at an address."""

    def __init__(self, receiver: Receiver, address: ReceivingAe) -> None:
        self._receiver = receiver
        self._address = address
        self._starts = 0
        self._is_awaited = False

    @property
    def _why_it_ended(self) -> str:
        return self._receiver.last_line or "it printed nothing"

    def begin(self) -> None:
        """Start storescp."""
        self._starts += 1
        self._is_awaited = True
        self._receiver.begin()

    def wait(self) -> None:
        """Wait until it listens, if it was started just now; raises CannotStartError where it does not."""
        if not self._is_awaited:
            return
        self._is_awaited = False
        if not self._receiver.listens():
            holder = slots.port_holder(self._address.port)
            why = f"port {self._address.port} is held by {holder}" if holder else self._why_it_ended
            raise CannotStartError(
                f"storescp does not listen as {self._address}: {why}; end that process or choose another port in "
                "QueryAet (the PACS has to know it)"
            )
        logging.info("storescp listens as %s", self._address)

    def go_on(self) -> None:
        """Start storescp again if it has died; raises GaveUpError where that did not help often enough."""
        if self._receiver.is_alive or self._is_awaited:
            return
        why = self._why_it_ended
        self._receiver.stop()
        while self._starts < _STARTS:
            logging.warning("storescp ended (%s); starting it again", why)
            try:
                self.begin()
                self.wait()
                return
            except CannotStartError as failure:
                why = str(failure)
        raise GaveUpError(
            f"storescp ended {_STARTS} times, the last time with: {why}; look into storescp.out, then start the same "
            "command again"
        )
