"""The connections of a run: the receiver, the associations to the PACS, and the one queue that they report to."""

import contextlib
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from niffler import printed
from niffler.arrivals import ArrivalReader, CaughtUp
from niffler.associations import Association, finding, moving
from niffler.dcm4che import Receiver, Tools
from niffler.inquiries import Ticket
from niffler.log import tool_output
from niffler.vocabulary import QueryAnswer, Response, Study

_MOST_IN_A_FEED = 100
"""Each study of a feed takes two descriptors here and, as DCM4CHE's movescu leaves its query files open, two there."""


@dataclass(frozen=True, slots=True)
class DiskFull:
    """The receiver could not write."""

    line: str


@dataclass(frozen=True)
class Reception:
    """How storescp is to receive: where to, under which names, from whom, and where its output goes."""

    directory: Path
    file_path: str
    accepted_calling_aets: Sequence[str]
    output: Path
    output_megabytes: int


class Connections:
    """Everything that talks to the PACS. Threads put events into one queue; the main thread takes them out."""

    def __init__(self) -> None:
        self._events: SimpleQueue[object] = SimpleQueue()
        self.finders: list[Association[Ticket, QueryAnswer]] = []
        self.movers: list[Association[Study, Response]] = []
        self._arrivals: ArrivalReader | None = None

    @property
    def all(self) -> list[Association[Any, Any]]:
        """All associations, busy or not."""
        return [*self.finders, *self.movers]

    @property
    def are_busy(self) -> bool:
        """Whether any association is under way."""
        return any(association.is_busy for association in self.all)

    @contextlib.contextmanager
    def receiving(self, tools: Tools, reception: Reception) -> Iterator[Receiver]:
        """Have a receiver, not yet started, whose files are read as they arrive; it is ended however the run ends."""
        arrivals = self._arrivals = ArrivalReader(self._events)
        output = tool_output(reception.output, reception.output_megabytes)
        stored_files = printed.StoredFiles()

        def on_line(line: str) -> None:
            output.info(line)
            path = stored_files.path_in(line)
            if path is not None:
                arrivals.stored(path)
            elif printed.says_disk_full(line):
                self._events.put(DiskFull(line))

        receiver = tools.receiver(reception.directory, reception.file_path, reception.accepted_calling_aets, on_line)
        try:
            yield receiver
        finally:
            receiver.stop()
            arrivals.close()

    @contextlib.contextmanager
    def associating(
        self, tools: Tools, folder: Path, *, movers: int, most_moves: int, destination: str, patient_root: bool,
        most_matches: int,
    ) -> Iterator[None]:  # fmt: skip
        """Have one association for C-FIND, its files in ``folder``, and some for C-MOVE, each for so many at most."""
        most_moves = min(most_moves, _MOST_IN_A_FEED, max(1, _soft_limit_of_files() // 4 // max(1, movers)))
        find = finding(tools, folder / "find", most_matches=most_matches, most_series=10 * most_matches)
        with contextlib.ExitStack() as ending:
            self.finders = [Association("C-FIND", self._events, lambda tickets: find([one.query for one in tickets]))]
            self.movers = [
                Association(
                    f"C-MOVE {number}",
                    self._events,
                    moving(tools, destination, patient_root=patient_root, most=most_moves),
                )
                for number in range(1, movers + 1)
            ]
            for association in self.all:
                ending.callback(association.close)
            yield

    def catch_up(self, token: str) -> None:
        """Ask for CaughtUp once every instance that storescp has stored by now is read; at once without a receiver."""
        if self._arrivals is None:
            self._events.put(CaughtUp(token))
        else:
            self._arrivals.catch_up(token)

    def next_events(self, seconds: float) -> list[object]:
        """Wait so long for an event; then all that are there, in their order."""
        events: list[object] = []
        with contextlib.suppress(Empty):
            events.append(self._events.get(timeout=seconds))
            while True:
                events.append(self._events.get_nowait())
        return [event for event in events if event is not None]

    def wake(self) -> None:
        """End a wait for events; may be called by a signal handler."""
        self._events.put(None)


def _soft_limit_of_files() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
