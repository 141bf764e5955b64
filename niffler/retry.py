"""When to try again, and when to stop: what each ending calls for, how long to wait, what is enough."""

from dataclasses import dataclass, field
from enum import Enum

from niffler.vocabulary import Outcome

FIRST_CONTACT_SECONDS = 120.0
"""How long a PACS that never answered is waited for: a wrong setting is likelier than a night's maintenance."""

_LONGEST_PAUSE_SECONDS = 60.0
_ASSOCIATIONS_BEFORE_MORE = 10
ALIKE_ENDINGS = 10
"""So many studies or rows in a row that end badly in the same way stop the run."""


class Remedy(Enum):
    """What is done about a request or study after an attempt."""

    NONE = "its answer stands"
    AGAIN = "again at the end of the pass, up to MaxAttempts"
    AGAIN_AFTER_PAUSE = "the same, and the whole run pauses: the PACS is short of resources"


_SHORT_OF_RESOURCES = {0xA700, 0xA701, 0xA702, 0x0213}


def remedy(outcome: Outcome, status: int | None, received: int) -> Remedy:
    """The table: what the outcome of an attempt calls for.

    ===================================  =================
    retrieved, found, not-found          none
    refused (a match that disagrees)     none
    A700H, A701H, A702H, 0213H           again after pause
    B000H with all instances failed      again after pause
    everything else                      again
    ===================================  =================
    """
    if outcome not in (Outcome.PARTIAL, Outcome.FAILED):
        return Remedy.NONE
    if status in _SHORT_OF_RESOURCES or (status == 0xB000 and received == 0):
        return Remedy.AGAIN_AFTER_PAUSE
    return Remedy.AGAIN


@dataclass
class _Trouble:
    """A time of trouble: since when, and how long the last pause was."""

    since: float
    pause: float = 0.5

    def next_pause(self) -> float:
        self.pause = min(_LONGEST_PAUSE_SECONDS, self.pause * 2)
        return self.pause


@dataclass
class Patience:
    """How long to pause after trouble, and when to give up; times are seconds of one clock.

    Two troubles are told apart: a PACS that does not answer, and one that answers that it is short of resources.
    Pauses are 1 s at first and double up to 60 s.
    """

    give_up_seconds: float
    _silence: _Trouble | None = field(default=None, init=False)
    _shortage: _Trouble | None = field(default=None, init=False)
    _answered: bool = field(default=False, init=False)

    def heard(self) -> None:
        """The PACS gave a response."""
        self._answered = True
        self._silence = None

    def served(self) -> None:
        """The PACS did what it was asked to do."""
        self._shortage = None

    def pause_for_silence(self, now: float) -> float:
        """The association could not be made or broke: how many seconds to wait."""
        self._silence = self._silence or _Trouble(now)
        return min(self._silence.next_pause(), max(0.0, self._silence.since + self._limit() - now))

    def pause_for_shortage(self, now: float) -> float:
        """The PACS is out of resources: how many seconds to wait."""
        self._shortage = self._shortage or _Trouble(now)
        return self._shortage.next_pause()

    @property
    def is_tried_by_silence(self) -> bool:
        """Whether the PACS does not answer at the moment."""
        return self._silence is not None

    @property
    def is_tried_by_shortage(self) -> bool:
        """Whether the PACS has said that it is short of resources, and has not served anything since."""
        return self._shortage is not None

    def silent_seconds(self, now: float) -> float:
        """How long the PACS has not answered."""
        return now - self._silence.since if self._silence else 0.0

    def is_over(self, now: float) -> bool:
        """Whether either trouble has lasted too long."""
        short = now - self._shortage.since if self._shortage else 0.0
        return (self._silence is not None and self.silent_seconds(now) >= self._limit()) or (
            self._shortage is not None and short >= self.give_up_seconds
        )

    def was_not_needed(self, seconds: float) -> None:
        """Time that does not count: the window was shut and nobody asked."""
        for trouble in (self._silence, self._shortage):
            if trouble is not None:
                trouble.since += seconds

    def _limit(self) -> float:
        return self.give_up_seconds if self._answered else min(self.give_up_seconds, FIRST_CONTACT_SECONDS)


@dataclass
class Breaker:
    """Trips when so many studies or rows in a row have ended badly in the same way."""

    _kind: str = field(default="", init=False)
    _count: int = field(default=0, init=False)

    @property
    def is_counting(self) -> bool:
        """Whether the last ending was a bad one."""
        return self._count > 0

    def ended(self, kind: str) -> bool:
        """Count an ending; an empty kind is a good one. True when it is time to stop."""
        self._count = self._count + 1 if kind and kind == self._kind else int(bool(kind))
        self._kind = kind
        return self._count >= ALIKE_ENDINGS


@dataclass
class Portion:
    """How many requests an association is given: fewer after one broke midway, then slowly more again.

    PACS exist that serve so many requests and then abort, whatever the next one is.
    """

    most: int
    now: int = field(init=False)
    _in_good_order: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.now = self.most

    def ended(self, served: int, *, broke: bool) -> None:
        """An association ended after it had served so many requests."""
        if broke:
            self.now = min(self.now, max(served, 1)) if served else self.now
            self._in_good_order = 0
            return
        self._in_good_order += 1
        if self._in_good_order == _ASSOCIATIONS_BEFORE_MORE:
            self.now = min(self.most, 2 * self.now)
            self._in_good_order = 0
