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
        self.finders = [_InstantAssociation(self._answer_queries)]
        self.movers = [_InstantAssociation(self._answer_moves)]

    def next_events(self, seconds: float) -> list[object]:
        """The next answer; what the suite puts into the queue by itself comes first."""
        self._on_studies(self._studies)
        if own := super().next_events(0):
            return own
        if not self._answers:
            return []
        events = self._answers.popleft()
        self._studies += any(isinstance(event, Arrived) for event in events)
        return events

    def _answer_queries(self, association: "_InstantAssociation", tickets: Sequence[Ticket]) -> None:
        self._answers.extend([Answered(ticket, _matches_of(ticket), 0.0)] for ticket in tickets)
        self._end(association, len(tickets))

    def _answer_moves(self, association: "_InstantAssociation", studies: Sequence[Study]) -> None:
        response = Response(1, 0, remaining=0, completed=INSTANCES, failed=0, warning=0)
        self._answers.extend(
            [Arrived(_images_of(study, self._storage_folder)), Answered(study, response, 0.0)] for study in studies
        )
        self._end(association, len(studies))

    def _end(self, association: "_InstantAssociation", served: int) -> None:
        self._answers.append([Ended(association, trouble="", served=served, unanswered=(), under_way=None)])


class _InstantAssociation(Association[Any, Any]):
    """An association without thread or tool."""

    def __init__(self, answer: "Callable[[_InstantAssociation, Sequence[Any]], None]") -> None:
        self._answer = answer
        self.is_busy = False

    def begin(self, items: Sequence[Any]) -> None:
        self.is_busy = True
        self._answer(self, items)

    def stop_after_current(self) -> None:
        """Everything is answered already."""

    def kill(self) -> None:
        self.is_busy = False

    def close(self) -> None:
        """There is nothing to end."""


def _matches_of(ticket: Ticket) -> QueryAnswer:
    keys = ticket.query.keys
    study = study_of(keys["PatientID"], keys["AccessionNumber"])
    attributes = {
        "PatientID": (study.patient_id,),
        "StudyInstanceUID": (study.study_instance_uid,),
        "AccessionNumber": (study.accession_number,),
        "StudyDate": ("20200115",),
        "NumberOfStudyRelatedInstances": (str(INSTANCES),),
    }
    return QueryAnswer((Match(attributes),), Response(1, 0))


def _images_of(study: Study, folder: Path) -> tuple[Arrival, ...]:
    uid = study.study_instance_uid
    names = [f"{uid}.{number}" for number in range(1, INSTANCES + 1)]
    return tuple(Arrival(f"{folder}/{uid}/{name}.dcm", uid, study.patient_id, name, 1 << 13) for name in names)
