"""A fault: what goes wrong, with which requests, and when."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from pydicom import Dataset
from pynetdicom.association import Association

from demo.plan import FindPlan, MovePlan, Plan
from tests.pacs.journal import Kind, Request

if TYPE_CHECKING:
    from tests.pacs.scripted import ScriptedPacs


@dataclass(frozen=True)
class Occasion:
    """A request that a fault strikes, and everything that the fault may change."""

    pacs: "ScriptedPacs"
    association: Association
    request: Request
    plan: Plan
    identifier: Dataset
    studies: frozenset[str]
    """The studies that the fault is limited to; empty for all."""

    @property
    def find(self) -> FindPlan:
        """The plan of a C-FIND."""
        assert isinstance(self.plan, FindPlan)
        return self.plan

    @property
    def move(self) -> MovePlan:
        """The plan of a C-MOVE."""
        assert isinstance(self.plan, MovePlan)
        return self.plan

    def rest(self, seconds: float | None = None) -> None:
        """Do nothing for a while, or for ever, as long as there is somebody to answer or something to go on with."""
        goes_on = isinstance(self.plan, MovePlan) and self.plan.outlives_association and seconds is not None
        self.pacs.rest(None if goes_on else self.association, seconds)

    def concerns(self, match: Dataset) -> bool:
        """Whether the fault is to change this match."""
        return not self.studies or str(match.get("StudyInstanceUID", "")) in self.studies


@dataclass(frozen=True)
class Fault:
    """Strikes every request of its kinds, unless limited: ``answer_move(0xA702).study(uid).first(2)``.

    Turns are counted from 1, over the requests that the other limits let through.
    """

    kinds: frozenset[Kind]
    strike: Callable[[Occasion], None]
    studies: frozenset[str] = frozenset()
    condition: Callable[[Request], bool] = lambda request: True
    turn: Callable[[int], bool] = lambda number: True
    counts_each_study: bool = False

    def study(self, *study_instance_uids: str) -> Self:
        """Only requests that name one of these studies or whose answer holds it; no other answer is changed."""
        return replace(self, studies=frozenset(study_instance_uids))

    def when(self, condition: Callable[[Request], bool]) -> Self:
        """Only requests of which this is true; may be given several times."""
        earlier = self.condition
        return replace(self, condition=lambda request: earlier(request) and condition(request))

    def key(self, keyword: str, value: str) -> Self:
        """Only requests with this value among the values of a key."""
        return self.when(lambda request: value in request.keys.get(keyword, ()))

    def nth(self, *numbers: int) -> Self:
        """Only these turns."""
        return replace(self, turn=lambda number: number in numbers)

    def first(self, count: int = 1) -> Self:
        """Only the first turns."""
        return replace(self, turn=lambda number: number <= count)

    def after(self, count: int) -> Self:
        """Not the first turns."""
        return replace(self, turn=lambda number: number > count)

    def every(self, count: int) -> Self:
        """Every so many turns."""
        return replace(self, turn=lambda number: number % count == 0)

    def at_random(self, share: float, seed: int = 0) -> Self:
        """A share of the turns between 0 and 1, the same ones for the same seed."""
        return replace(self, turn=lambda number: random.Random(f"{seed}/{number}").random() < share)

    def of_each_study(self) -> Self:
        """Count the turns of every study by itself: ``.first(1).of_each_study()`` fails each study once."""
        return replace(self, counts_each_study=True)


class Rule:
    """A fault in force: keeps count of its turns."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._turns: dict[tuple[str, ...], int] = {}

    def is_due(self, request: Request, study_instance_uids: frozenset[str]) -> bool:
        """Whether the fault strikes this request, which names these studies or has them in its answer."""
        fault = self.fault
        if request.kind not in fault.kinds or not fault.condition(request):
            return False
        if fault.studies and not fault.studies & study_instance_uids:
            return False
        counted = tuple(sorted(study_instance_uids)) if fault.counts_each_study else ()
        self._turns[counted] = self._turns.get(counted, 0) + 1
        return fault.turn(self._turns[counted])
