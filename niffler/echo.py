"""C-ECHO (PS3.7 9.1.5): whether the PACS answers."""

import logging
import threading

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from niffler.addresses import Peer

NOT_CONNECTED = "Association rejected, aborted or never connected"


def c_echo(pacs: Peer, calling_ae_title: str, seconds: float) -> int | None:
    """The status that the PACS answered within this time; None where it did not."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    status: list[int] = []
    # Each step has a time limit of its own; the thread makes sure of the whole.
    asking = threading.Thread(target=lambda: status.extend(_ask(pacs, calling_ae_title, seconds)), daemon=True)
    asking.start()
    asking.join(seconds)
    return status[0] if status else None


def _ask(pacs: Peer, calling_ae_title: str, seconds: float) -> list[int]:
    entity = AE(ae_title=calling_ae_title)
    entity.add_requested_context(Verification)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = seconds
    try:
        association = entity.associate(pacs.host, pacs.port, ae_title=pacs.ae_title)
    except OSError:  # a host that nobody knows
        return []
    if not association.is_established:
        return []
    answer = association.send_c_echo()
    status = [int(answer.Status)] if "Status" in answer else []
    association.release()
    return status
