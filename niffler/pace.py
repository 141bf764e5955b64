"""Finished studies → how fast they came: when there was work, rates by the hour of the day, growth over time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from niffler.figures import Studies

_LONGEST_BREAK = np.timedelta64(600, "s")
"""With nothing finished for longer than that, and nothing under way, there was no work."""
_MOST_POINTS = 400


@dataclass(frozen=True)
class Hour:
    """One hour of the day, over all days: how long there was work in it, and what was finished."""

    hour: int
    worked_seconds: float
    studies: int
    size: int


@dataclass(frozen=True)
class Pace:
    """How fast the studies came."""

    worked_seconds: float
    hours: tuple[Hour, ...]
    median_seconds: float
    slow_seconds: float
    """Nine of ten studies took no longer."""
    longest_seconds: float


@dataclass(frozen=True, eq=False)
class Growth:
    """How the number of studies and their bytes grew; few enough points for a picture."""

    moments: "npt.NDArray[np.datetime64]"
    studies: "npt.NDArray[np.int64]"
    sizes: "npt.NDArray[np.int64]"


def pace_of(studies: Studies) -> Pace | None:
    """How fast they came; None where there are none."""
    if not len(studies):
        return None
    periods = _periods(studies)
    worked = _by_hour_of_day(periods)
    hour_of = (studies.finished - studies.finished.astype("datetime64[D]")).astype("timedelta64[h]").astype(np.int64)
    number = np.bincount(hour_of, minlength=24)
    sizes = np.bincount(hour_of, weights=studies.sizes, minlength=24)
    median, slow, longest = np.quantile(studies.seconds, [0.5, 0.9, 1.0])
    return Pace(
        worked_seconds=float(sum(worked)),
        hours=tuple(Hour(hour, worked[hour], int(number[hour]), int(sizes[hour])) for hour in range(24)),
        median_seconds=float(median),
        slow_seconds=float(slow),
        longest_seconds=float(longest),
    )


def growth_of(studies: Studies) -> Growth:
    """How they grew, from a point before the first one was finished; pauses stay visible as level stretches."""
    finished, sizes = studies.finished, np.cumsum(studies.sizes)
    numbers = np.arange(1, len(studies) + 1)
    step = max(1, len(studies) // _MOST_POINTS)
    chosen = np.zeros(len(studies), dtype=bool)
    chosen[::step] = chosen[-1:] = True
    breaks = np.flatnonzero(np.diff(finished) > _LONGEST_BREAK)
    chosen[breaks] = chosen[breaks + 1] = True
    begin = _periods(studies)[:1, 0]
    return Growth(
        np.concatenate([begin, finished[chosen]]),
        np.concatenate([[0], numbers[chosen]]),
        np.concatenate([[0], sizes[chosen]]),
    )


def _periods(studies: Studies) -> "npt.NDArray[np.datetime64]":
    """From when to when there was work: studies under way, with breaks that are too short to count."""
    ends = studies.finished
    begins = ends - np.maximum(studies.seconds, 1).astype("timedelta64[s]")
    order = np.argsort(begins, kind="stable")
    begins, ends = begins[order], np.maximum.accumulate(ends[order])
    is_first = np.concatenate([[True], begins[1:] > ends[:-1] + _LONGEST_BREAK])
    firsts = np.flatnonzero(is_first)
    lasts = np.concatenate([firsts[1:] - 1, [len(ends) - 1]])
    return np.stack([begins[firsts], ends[lasts]], axis=1)


def _by_hour_of_day(periods: "npt.NDArray[np.datetime64]") -> list[float]:
    worked = [0.0] * 24
    begin: datetime
    end: datetime
    for begin, end in periods.tolist():
        while begin < end:
            next_hour = begin.replace(minute=0, second=0) + timedelta(hours=1)
            until = min(end, next_hour)
            worked[begin.hour] += (until - begin).total_seconds()
            begin = until
    return worked
