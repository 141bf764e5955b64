"""What a PACS was asked and what it sent, in order, for tests to read while it goes on."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["association", "echo", "find", "move"]


@dataclass(frozen=True)
class Request:
    """One request; an association request is one too."""

    kind: Kind
    association: int
    """The number of the association, counted from 1."""
    position: int
    """The number of the request within its association, counted from 1; 0 is the association's own."""
    calling_ae_title: str
    called_ae_title: str
    level: str = ""
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values by keyword; none where the attribute is only asked for."""
    is_patient_root: bool = False
    is_relational: bool = False
    destination: str = ""
    message_id: int = 0
    time: float = field(default_factory=time.time)

    @property
    def study_instance_uids(self) -> tuple[str, ...]:
        """The studies that the request names."""
        return self.keys.get("StudyInstanceUID", ())


class Journal:
    """Requests and sent instances; may be written and read by several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._sent: list[str] = []

    def note_request(self, request: Request) -> None:
        """Remember a request."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def note_sent(self, sop_instance_uid: str) -> None:
        """Remember an instance that its destination accepted."""
        with self._changed:
            self._sent.append(sop_instance_uid)
            self._changed.notify_all()

    def requests(self, kind: Kind | None = None) -> list[Request]:
        """The requests so far, all or those of one kind."""
        with self._changed:
            return [request for request in self._requests if kind in (None, request.kind)]

    def sent(self) -> list[str]:
        """SOP Instance UIDs of what was sent so far, as often as it was sent."""
        with self._changed:
            return list(self._sent)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Wait until something is true that the journal says; TimeoutError if it never is."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                raise TimeoutError(f"not so within {seconds} seconds")
