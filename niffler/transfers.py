"""The studies between their C-MOVE request and their verdict: being sent, or waiting for their last images."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from niffler.arrivals import Received
from niffler.associations import Association
from niffler.verdict import awaits_more
from niffler.vocabulary import Response, Study

_SETTLE_SECONDS = 3.0
"""How long storescp's log may lag behind the final C-MOVE response, beyond the images that are still being read."""


@dataclass(frozen=True)
class _UnderWay:
    """A study that the PACS is sending: over which association, the counts it told last, and when it last got on."""

    association: Association[Study, Response]
    counts: tuple[int | None, ...]
    got_on_at: float


@dataclass(frozen=True)
class _Settling:
    """A study with its final C-MOVE response whose images may still be coming out of the receiver's log.

    The deadline begins when all images that were stored by then are read, which a slow disk may delay.
    """

    study: Study
    response: Response
    deadline: float = math.inf


@dataclass(frozen=True)
class Settled:
    """A study whose verdict can be given; ``received`` is None where another machine receives."""

    study: Study
    response: Response
    received: Received | None


class Transfers:
    """Knows of each study whether it gets on, and when it has had its time."""

    def __init__(self) -> None:
        self._under_way: dict[str, _UnderWay] = {}
        self._settling: dict[str, _Settling] = {}
        self._seconds: dict[str, float] = {}
        self.usual_seconds = math.inf
        """How long a study takes of late; infinite before one is answered."""

    @property
    def are_settling(self) -> bool:
        """Whether a verdict waits for images."""
        return bool(self._settling)

    def heard(self, association: Association[Study, Response], study: Study, counts: tuple[int | None, ...]) -> bool:
        """The PACS told how far it is; returns whether it has got on since it told so last."""
        before = self._under_way.get(study.study_instance_uid)
        if before is not None and before.counts == counts:
            return False
        self._under_way[study.study_instance_uid] = _UnderWay(association, counts, time.monotonic())
        return True

    def got_on(self, study_instance_uid: str) -> None:
        """An image of the study has arrived."""
        if move := self._under_way.get(study_instance_uid):
            self._under_way[study_instance_uid] = replace(move, got_on_at=time.monotonic())

    def stalled(self, seconds: float) -> Sequence[Association[Study, Response]]:
        """The associations whose study has not got on for so long, each told once."""
        now = time.monotonic()
        found = {uid: move for uid, move in self._under_way.items() if now - move.got_on_at > seconds}
        self._under_way |= {uid: replace(move, got_on_at=math.inf) for uid, move in found.items()}
        return [move.association for move in found.values()]

    def broke_off(self, association: Association[Study, Response]) -> None:
        """The association has ended, and with it what it was sending."""
        self._under_way = {uid: move for uid, move in self._under_way.items() if move.association is not association}

    def answered(self, study: Study, seconds: float) -> None:
        """The study has its final response, after so long."""
        self._seconds[study.study_instance_uid] = seconds
        self._under_way.pop(study.study_instance_uid, None)
        before = seconds if math.isinf(self.usual_seconds) else self.usual_seconds
        self.usual_seconds = 0.9 * before + 0.1 * seconds

    def seconds_of(self, study_instance_uid: str) -> float:
        """How long it took; asked once."""
        return self._seconds.pop(study_instance_uid)

    def settle(self, study: Study, response: Response) -> None:
        """The verdict waits for the images that the PACS says it sent."""
        self._settling[study.study_instance_uid] = _Settling(study, response)

    def caught_up(self, study_instance_uid: str) -> None:
        """All images that were stored when the final response came are read: more may come for a moment only."""
        if settling := self._settling.get(study_instance_uid):
            self._settling[study_instance_uid] = replace(settling, deadline=time.monotonic() + _SETTLE_SECONDS)

    def settled(self, received_of: Callable[[str], Received] | None) -> Iterator[Settled]:
        """The studies whose images are all there, or have had their time; without a receiver here, all of them."""
        now = time.monotonic()
        for uid, settling in list(self._settling.items()):
            study, response = settling.study, settling.response
            received = received_of(uid) if received_of else None
            if received is None or now >= settling.deadline or not awaits_more(study, response, received):
                del self._settling[uid]
                yield Settled(study, response, received)
