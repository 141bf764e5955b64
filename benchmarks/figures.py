"""What was measured, and what it comes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


class BenchmarkError(Exception):
    """Something cannot be measured; says why and what to do."""


@dataclass(frozen=True)
class Figure:
    """One thing that was measured several times."""

    key: str
    title: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value that is shown."""
        return median(self.values)


@dataclass(frozen=True)
class Check:
    """A number that follows from the figures, and what it has to be; None where nothing was promised."""

    title: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether it is as promised."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most


@dataclass(frozen=True)
class Report:
    """The figures and checks of one part; ``notes`` are what a reader has to know about them."""

    title: str
    figures: Sequence[Figure]
    checks: Sequence[Check] = ()
    notes: Sequence[str] = ()


def by_key(figures: Sequence[Figure]) -> Mapping[str, float]:
    """Key → median."""
    return {figure.key: figure.median for figure in figures}
