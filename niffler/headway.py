"""How fast rows are done: on average, in the last ten minutes, and how long the rest will take."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from niffler.vocabulary import Outcome

RECENT_SECONDS = 600.0
_SAMPLE_SECONDS = 5.0


@dataclass(frozen=True)
class Rate:
    """What an hour of work brings."""

    rows_per_hour: float
    bytes_per_hour: float


class Headway:
    """Counts the rows of a run. Seconds are those in which it could work: the window was open."""

    def __init__(self, total: int, done: Mapping[Outcome, int]) -> None:
        """So many rows in all; those that are ``done`` were so before this run."""
        self._done = Counter(done)
        self.total = total
        self.done_before = self._done.total()
        self._samples = deque([(0.0, self.done_before, 0)])

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many rows have which outcome, in the order of the vocabulary; outcomes without rows are left out."""
        counted = self._done | Counter({Outcome.PENDING: self.total - self._done.total()})
        return {outcome: counted[outcome] for outcome in Outcome if counted[outcome]}

    def rows_done(self, rows: int, outcome: Outcome) -> None:
        """So many more rows have their outcome; fewer than none where rows have lost it again."""
        self._done[outcome] += rows

    def sample(self, seconds: float, size: int) -> None:
        """Note how far it is after so many seconds, with so many bytes received; called often, it keeps a few."""
        if seconds - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((seconds, self._done.total(), size))
        while len(self._samples) > 1 and self._samples[1][0] <= seconds - RECENT_SECONDS:
            self._samples.popleft()

    def average(self, seconds: float, size: int) -> Rate | None:
        """The rate since the run began; None before a row is done."""
        if seconds <= 0 or self._done.total() == self.done_before:
            return None
        return Rate((self._done.total() - self.done_before) / seconds * 3600, size / seconds * 3600)

    def recent(self, seconds: float, size: int) -> Rate | None:
        """The rate of the last ten minutes; None before there are so many."""
        began, done, size_then = self._samples[0]
        if seconds - began < RECENT_SECONDS:
            return None
        hours = (seconds - began) / 3600
        return Rate(max(0, self._done.total() - done) / hours, (size - size_then) / hours)

    def seconds_left(self, seconds: float) -> float | None:
        """How much longer the rest takes at the average rate; None before there is one."""
        fresh = self._done.total() - self.done_before
        return (self.total - self._done.total()) * seconds / fresh if fresh and seconds > 0 else None
