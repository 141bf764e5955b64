"""Connections to a PACS that has answered everything at once, so that the time of a run is the suite's own."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lists import INSTANCES, study_of
from niffler.arrivals import Arrival, Arrived
from niffler.associations import Answered, Association, Ended
from niffler.connections import Connections
from niffler.inquiries import Ticket
from niffler.vocabulary import Match, QueryAnswer, Response, Study

_MOST_IN_A_FEED = 100


class InstantConnections(Connections):
    """Gives the main loop one answer at a time, as a PACS that is slower than the suite does.

    ``on_studies`` is told how many studies have been answered before the next answer is given.
    """

    def __init__(self, storage_folder: Path, on_studies: Callable[[int], None]) -> None:
        super().__init__()
        self._storage_folder = storage_folder
        self._on_studies = on_studies
        self._answers: deque[list[object]] = deque()
        self._studies = 0
        self.finders = [_InstantAssociation(self._answer_queries, self._end, is_fed=False)]
        self._mover = _InstantAssociation(self._answer_moves, self._end, is_fed=True)
        self.movers = [self._mover]

    def next_events(self, seconds: float) -> list[object]:
        """The next answer; what the suite puts into the queue by itself comes first."""
        self._on_studies(self._studies)
        if own := super().next_events(0):
            return own
        if not self._answers:
            return []
        events = self._answers.popleft()
        if any(isinstance(event, Arrived) for event in events):
            self._studies += 1
            self._mover.one_answered()
        return events

    def _answer_queries(self, tickets: Sequence[Ticket]) -> None:
        self._answers.extend([Answered(ticket, _matches_of(ticket), 0.0)] for ticket in tickets)

    def _answer_moves(self, studies: Sequence[Study]) -> None:
        response = Response(1, 0, remaining=0, completed=INSTANCES, failed=0, warning=0)
        self._answers.extend(
            [Arrived(_images_of(study, self._storage_folder)), Answered(study, response, 0.0)] for study in studies
        )

    def _end(self, association: "_InstantAssociation") -> None:
        ended = Ended(association, trouble="", served=association.given, unanswered=(), under_way=None)
        self._answers.append([ended])


class _InstantAssociation(Association[Any, Any]):
    """An association without thread or tool."""

    def __init__(
        self, answer: Callable[[Sequence[Any]], None], end: "Callable[[_InstantAssociation], None]", *, is_fed: bool
    ) -> None:
        self._answer = answer
        self._end = end
        self._is_fed = is_fed
        self._unanswered = 0
        self.is_busy = self._takes_more = False

    @property
    def pending(self) -> int:
        return self._unanswered

    @property
    def idle_seconds(self) -> float:
        return 0.0

    @property
    def seconds_at(self) -> float:
        return 0.0

    @property
    def at(self) -> None:
        return None

    def begin(self, items: Sequence[Any]) -> None:
        self.is_busy = self._takes_more = True
        self.given = self._unanswered = len(items)
        self._answer(items)
        if not self._is_fed:
            self.finish()

    def add(self, item: Any) -> bool:
        if self._takes_more and self.given < _MOST_IN_A_FEED:
            self.given += 1
            self._unanswered += 1
            self._answer([item])
            return True
        return False

    def finish(self) -> None:
        if self._takes_more:
            self._takes_more = False
            self._end(self)

    def one_answered(self) -> None:
        """One of its items has been answered."""
        self._unanswered -= 1

    def stop_after_current(self) -> None:
        """Everything is answered already."""

    def kill(self) -> None:
        self.is_busy = False

    def close(self) -> None:
        """There is nothing to end."""


def _matches_of(ticket: Ticket) -> QueryAnswer:
    keys = ticket.query.keys
    if "StudyInstanceUID" in keys:  # counts are asked again
        studies = [Study(uid, "") for uid in keys["StudyInstanceUID"].split("\\")]
    else:
        studies = [study_of(keys["PatientID"], keys["AccessionNumber"])]
    return QueryAnswer(tuple(map(_match_of, studies)), Response(1, 0))


def _match_of(study: Study) -> Match:
    return Match(
        {
            "PatientID": (study.patient_id,),
            "StudyInstanceUID": (study.study_instance_uid,),
            "AccessionNumber": (study.accession_number,),
            "StudyDate": ("20200115",),
            "NumberOfStudyRelatedInstances": (str(INSTANCES),),
        }
    )


def _images_of(study: Study, folder: Path) -> tuple[Arrival, ...]:
    uid = study.study_instance_uid
    names = [f"{uid}.{number}" for number in range(1, INSTANCES + 1)]
    return tuple(Arrival(f"{folder}/{uid}/{name}.dcm", uid, study.patient_id, name, 1 << 13) for name in names)
