"""Threads that each carry on one C-FIND or C-MOVE association at a time and report what is answered."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from niffler.dcm4che import Conversation, Tools, match_name
from niffler.feed import Feed
from niffler.query_files import move_query, read_match, write_find_query
from niffler.vocabulary import Ending, Match, Query, QueryAnswer, Response, Study

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Told = Iterator[tuple[Response, Answer | None]]
"""What a conversation tells: a response, by its message ID about the item with that number (from 1), and the answer
that it completes, None while one is pending."""


@dataclass(frozen=True)
class Talk(Generic[Item, Answer]):
    """A conversation that has begun, what it tells, and how it is given one more item: False where that cannot be."""

    conversation: Conversation
    told: Told[Answer]
    give: Callable[[Item], bool]


Converse = Callable[[Sequence[Item]], Talk[Item, Answer]]
"""Begins a conversation about these items."""

_UNREADABLE_MATCH = 0xC000
_AFTER_CANCEL = 10_000
"""Matches that may still be on their way when a query is cancelled."""


@dataclass(frozen=True, slots=True)
class Answered(Generic[Item, Answer]):
    """One request has its final response, which came after so many seconds: those before it are not counted."""

    item: Item
    answer: Answer
    seconds: float


@dataclass(frozen=True, slots=True)
class Heard(Generic[Item]):
    """The PACS sent a response about an item that is not final, with these counts of sub-operations."""

    association: "Association[Any, Any]"
    item: Item
    counts: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The association is over, broken where there is ``trouble``.

    ``unanswered`` are the items to be asked again, ``under_way`` the one of them that the PACS was at.
    """

    association: "Association[Any, Any]"
    trouble: str
    served: int
    """How many items were answered."""
    unanswered: tuple[object, ...]
    under_way: object | None


@dataclass(frozen=True, slots=True)
class Broke:
    """An error in the thread itself; what the association was given is not answered."""

    association: "Association[Any, Any]"
    error: Exception


@dataclass(frozen=True, slots=True)
class _Given(Generic[Item]):
    item: Item
    since: float


class Association(Generic[Item, Answer]):
    """A long-lived thread for one association at a time: the tools' parent-death signal follows the thread.

    What happens is put into the queue as Answered, Heard, Ended or Broke.
    """

    def __init__(self, name: str, events: "SimpleQueue[object]", converse: Converse[Item, Answer]) -> None:
        self._events = events
        self._converse = converse
        self._jobs: SimpleQueue[tuple[Item, ...] | None] = SimpleQueue()
        self._talk: Talk[Item, Answer] | None = None
        self._must_stop = False
        self._lock = threading.Lock()
        self._open: dict[int, _Given[Item]] = {}
        self.is_busy = False
        self.given = 0
        """How many items the association was given."""
        self._quiet_since = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """How many items are not answered."""
        return len(self._open)

    @property
    def idle_seconds(self) -> float:
        """How long it has waited for another item."""
        return 0.0 if self._open else time.monotonic() - self._quiet_since

    @property
    def at(self) -> Item | None:
        """The item that the PACS is at, as far as is known: the first that is not answered."""
        first = self._first
        return first.item if first else None

    @property
    def seconds_at(self) -> float:
        """For how long the PACS has been at it."""
        first = self._first
        return time.monotonic() - max(first.since, self._quiet_since) if first else 0.0

    @property
    def _first(self) -> _Given[Item] | None:
        return next(iter(self._open.copy().values()), None)

    def begin(self, items: Sequence[Item]) -> None:
        """Ask for these items; answers and the end come as events."""
        self.is_busy = True
        self._must_stop = False
        now = time.monotonic()
        self._open = {number: _Given(item, now) for number, item in enumerate(items, 1)}
        self.given = len(items)
        self._jobs.put(tuple(items))

    def add(self, item: Item) -> bool:
        """Ask for one more over the association under way; False where that cannot be (any more, or yet)."""
        with self._lock:
            talk, number = self._talk, self.given + 1
            if talk is None or self._must_stop:
                return False
            self._open[number] = _Given(item, time.monotonic())  # before it is given: the answer may come at once
            if not talk.give(item):
                del self._open[number]
                return False
            self.given = number
            return True

    def finish(self) -> None:
        """No other item comes."""
        talk = self._talk  # the thread forgets it when it is over
        if talk is not None:
            talk.conversation.finish()

    def stop_after_current(self) -> None:
        """Let no other request begin."""
        self._must_stop = True
        talk = self._talk
        if talk is not None:
            talk.conversation.stop_after_current()

    def kill(self) -> None:
        """Break off at once."""
        self._must_stop = True
        talk = self._talk
        if talk is not None:
            talk.conversation.kill()

    def close(self) -> None:
        """End the thread, and the tool with it."""
        self.kill()
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (items := self._jobs.get()) is not None:
            try:
                self._carry_on(items)
            except Exception as error:
                self.kill()
                self._talk = None
                self._open = {}
                self._events.put(Broke(self, error))

    def _carry_on(self, items: tuple[Item, ...]) -> None:
        if self._must_stop:
            self._open = {}
            self._events.put(Ended(self, "", 0, items, None))
            return
        turn = time.monotonic()
        talk = self._talk = self._converse(items)
        if self._must_stop:  # asked between the two lines above
            talk.conversation.stop_after_current()
        for response, answer in talk.told:
            about = self._open.get(response.message_id)
            if about is None:
                continue
            if answer is None:
                counts = response.remaining, response.completed, response.failed, response.warning
                self._events.put(Heard(self, about.item, counts))
            else:
                before, turn = max(turn, about.since), time.monotonic()
                self._quiet_since = turn
                del self._open[response.message_id]
                self._events.put(Answered(about.item, answer, turn - before))
        with self._lock:
            self._talk = None
            unanswered, self._open = self._open, {}
        ending: Ending = talk.conversation.ending
        under_way = unanswered.get(ending.under_way) if ending.under_way is not None else None
        left = tuple(given.item for given in unanswered.values())
        served = self.given - len(left)
        self._events.put(Ended(self, ending.trouble, served, left, under_way.item if under_way else None))


def finding(
    tools: Tools, folder: Path, *, most_matches: int, most_series: int
) -> Callable[[Sequence[Query]], Talk[Any, QueryAnswer]]:
    """How a C-FIND association is carried on: queries of one kind in, all at the start, an answer each out.

    ``folder`` is private to it. A query that matches more than ``most_matches`` studies (``most_series`` series) is
    cancelled.
    """

    def converse(queries: Sequence[Query]) -> Talk[Any, QueryAnswer]:
        folder.mkdir(exist_ok=True)
        files = [folder / f"query-{number:06d}.xml" for number in range(1, len(queries) + 1)]
        for file, query in zip(files, queries, strict=True):
            write_find_query(file, query)
        kind = queries[0].kind
        most = most_matches if kind.level == "STUDY" else most_series
        conversation = tools.find(files, kind, folder, cancel_after=most + 1)
        return Talk(conversation, _query_answers(conversation, folder, files, most), lambda _: False)

    return converse


def moving(tools: Tools, destination: str, *, patient_root: bool, most: int) -> Converse[Study, Response]:
    """How a C-MOVE association is carried on: studies in, up to so many, the final response of each out."""

    def is_named(study: Study) -> bool:
        # A PACS that answers without PatientID leaves only the StudyRoot model to name its studies.
        return patient_root and bool(study.patient_id)

    def converse(studies: Sequence[Study]) -> Talk[Study, Response]:
        named = all(map(is_named, studies))
        feed = Feed(max(most, len(studies)))
        for study in studies:
            feed.give(move_query(study))
        conversation = tools.move(feed, destination, patient_root=named)

        def give(study: Study) -> bool:
            return is_named(study) == named and feed.give(move_query(study))

        return Talk(conversation, _final_responses(conversation), give)

    return converse


def _query_answers(conversation: Conversation, folder: Path, files: Sequence[Path], most: int) -> Told[QueryAnswer]:
    matches: dict[int, list[Match]] = {}
    unreadable: dict[int, str] = {}
    announced: list[int] = []
    read = 0
    for response in conversation.responses():
        # A match is in its file when the response after it is printed.
        for number in announced[read:]:
            read += 1
            match_file = folder / match_name(read)
            try:
                matches.setdefault(number, []).append(read_match(match_file))
            except (OSError, ValueError) as error:
                unreadable[number] = str(error)
            match_file.unlink(missing_ok=True)
        if response.is_pending:
            announced.append(response.message_id)
            if len(announced) % 100 == 1:
                yield response, None
            if len(matches.get(response.message_id, ())) > 2 * most + _AFTER_CANCEL:
                conversation.kill()  # a PACS that does not heed C-CANCEL would stream its archive
            continue
        final = response
        if (why := unreadable.get(response.message_id)) and response.status == 0:
            final = Response(response.message_id, _UNREADABLE_MATCH, comment=f"a match could not be read: {why}")
        yield response, QueryAnswer(tuple(matches.pop(response.message_id, ())), final)
        files[response.message_id - 1].unlink(missing_ok=True)
    for file in (*files, *folder.glob("match-*")):
        file.unlink(missing_ok=True)


def _final_responses(conversation: Conversation) -> Told[Response]:
    for response in conversation.responses():
        yield response, None if response.is_pending else response
