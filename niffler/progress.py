"""How far the run is, in words for a log and as a bar on a terminal."""

import sys
from dataclasses import dataclass, field
from typing import Never

from tqdm import tqdm


@dataclass
class Progress:
    """Counts rows, and says when the rest will probably be done; ``done`` rows were done before this run."""

    total: int
    done: int
    _bar: "tqdm[Never]" = field(init=False, repr=False)
    _done_before: int = field(init=False)

    def __post_init__(self) -> None:
        self._done_before = self.done
        self._bar = tqdm(total=self.total, initial=self.done, unit="row", disable=not sys.stderr.isatty())

    def rows_done(self, count: int) -> None:
        """So many more rows have their outcome."""
        self.done += count
        self._bar.update(count)

    def line(self, instances: int, size: int, working_seconds: float, end: str) -> str:
        """One line: done of total, rate, images, time left and estimated end; seconds count open windows only."""
        percent = 100 * self.done // self.total if self.total else 100
        parts = [f"{self.done} of {self.total} rows ({percent} %)"]
        if instances:
            parts.append(f"{instances} images, {in_bytes(size)}")
        left = self.seconds_left(working_seconds)
        if left is not None:
            parts.append(f"{(self.done - self._done_before) / working_seconds * 3600:.0f} rows an hour")
            if left:
                parts.append(f"about {in_hours(left)} of work left, estimated end {end}")
        return ", ".join(parts)

    def seconds_left(self, working_seconds: float) -> float | None:
        """How much longer the rest takes at the rate so far; None before there is one."""
        fresh = self.done - self._done_before
        return (self.total - self.done) * working_seconds / fresh if fresh and working_seconds > 0 else None

    def close(self) -> None:
        """Leave the terminal to others."""
        self._bar.close()


def in_bytes(size: int) -> str:
    """An amount of data as a person says it."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def in_hours(seconds: float) -> str:
    """A duration as a person says it."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
