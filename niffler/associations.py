"""Threads that each carry on one C-FIND or C-MOVE association at a time and report what is answered."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from niffler.dcm4che import Conversation, Tools, match_name
from niffler.query_files import read_match, write_find_query, write_move_query
from niffler.vocabulary import Ending, Match, Query, QueryAnswer, Response, Study

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Reading = tuple[Conversation, Iterator[tuple[Response, Answer | None]]]
"""A conversation, and what it tells: a response, by its message ID about the item with that number (from 1), and the
answer that it completes, None while one is pending."""

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


class Association(Generic[Item, Answer]):
    """A long-lived thread for one association at a time: the tools' parent-death signal follows the thread.

    What happens is put into the queue as Answered, Heard, Ended or Broke.
    """

    def __init__(
        self, name: str, events: "SimpleQueue[object]", converse: Callable[[Sequence[Item]], Reading[Answer]]
    ) -> None:
        self._events = events
        self._converse = converse
        self._jobs: SimpleQueue[tuple[Item, ...] | None] = SimpleQueue()
        self._conversation: Conversation | None = None
        self._must_stop = False
        self.is_busy = False
        self.at: Item | None = None
        """The item that the PACS is at, as far as is known: the first that is not answered."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def begin(self, items: Sequence[Item]) -> None:
        """Ask for these items; answers and the end come as events."""
        self.is_busy = True
        self._must_stop = False
        self._jobs.put(tuple(items))

    def stop_after_current(self) -> None:
        """Let no other request begin."""
        self._must_stop = True
        conversation = self._conversation  # the thread forgets it when it is over
        if conversation is not None:
            conversation.stop_after_current()

    def kill(self) -> None:
        """Break off at once."""
        self._must_stop = True
        conversation = self._conversation
        if conversation is not None:
            conversation.kill()

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
                self._conversation = None
                self.at = None
                self._events.put(Broke(self, error))

    def _carry_on(self, items: tuple[Item, ...]) -> None:
        if self._must_stop:
            self._events.put(Ended(self, "", 0, items, None))
            return
        unanswered = dict(enumerate(items, 1))
        turn = time.monotonic()
        self._conversation, told = self._converse(items)
        self.at = items[0]
        if self._must_stop:  # asked between the two lines above
            self._conversation.stop_after_current()
        for response, answer in told:
            number = response.message_id
            if number not in unanswered:
                continue
            if answer is None:
                counts = response.remaining, response.completed, response.failed, response.warning
                self._events.put(Heard(self, unanswered[number], counts))
            else:
                before, turn = turn, time.monotonic()
                self._events.put(Answered(unanswered.pop(number), answer, turn - before))
                self.at = next(iter(unanswered.values()), None)
        ending: Ending = self._conversation.ending
        self._conversation = None
        self.at = None
        under_way = unanswered.get(ending.under_way) if ending.under_way is not None else None
        served = len(items) - len(unanswered)
        self._events.put(Ended(self, ending.trouble, served, tuple(unanswered.values()), under_way))


def finding(
    tools: Tools, folder: Path, *, most_matches: int, most_series: int
) -> Callable[[Sequence[Query]], Reading[QueryAnswer]]:
    """How a C-FIND association is carried on: queries of one kind in, an answer each out.

    ``folder`` is private to it. A query that matches more than ``most_matches`` studies (``most_series`` series) is
    cancelled.
    """

    def converse(queries: Sequence[Query]) -> Reading[QueryAnswer]:
        folder.mkdir(exist_ok=True)
        files = [folder / f"query-{number:06d}.xml" for number in range(1, len(queries) + 1)]
        for file, query in zip(files, queries, strict=True):
            write_find_query(file, query)
        kind = queries[0].kind
        most = most_matches if kind.level == "STUDY" else most_series
        conversation = tools.find(files, kind, folder, cancel_after=most + 1)
        return conversation, _query_answers(conversation, folder, files, most)

    return converse


def moving(
    tools: Tools, folder: Path, destination: str, *, patient_root: bool
) -> Callable[[Sequence[Study]], Reading[Response]]:
    """How a C-MOVE association is carried on: studies in, the final response of each out."""

    def converse(studies: Sequence[Study]) -> Reading[Response]:
        folder.mkdir(exist_ok=True)
        files = [folder / f"study-{number:06d}.dcm" for number in range(1, len(studies) + 1)]
        for file, study in zip(files, studies, strict=True):
            write_move_query(file, study)
        # A PACS that answers without PatientID leaves only the StudyRoot model to name its studies.
        named = patient_root and all(study.patient_id for study in studies)
        conversation = tools.move(files, destination, patient_root=named)
        return conversation, _final_responses(conversation, files)

    return converse


def _query_answers(
    conversation: Conversation, folder: Path, files: Sequence[Path], most: int
) -> Iterator[tuple[Response, QueryAnswer | None]]:
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


def _final_responses(conversation: Conversation, files: Sequence[Path]) -> Iterator[tuple[Response, Response | None]]:
    for response in conversation.responses():
        yield response, None if response.is_pending else response
    for file in files:
        file.unlink(missing_ok=True)
