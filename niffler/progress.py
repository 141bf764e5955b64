"""How far a run is, in the same words for a log, for a progress bar, and for whoever asks."""

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Never

from tqdm import tqdm

from niffler.headway import Rate
from niffler.night import in_local_time
from niffler.run_state import Activity, Amount, RunState

_SHOWN_EVERY_SECONDS = 1.0
_MOST_LINES = 4


class Bar:
    """The progress bar on a terminal; nothing where there is none."""

    def __init__(self, rows: int, done: int) -> None:
        self._bar: tqdm[Never] = tqdm(
            total=rows, initial=done, bar_format="{bar:12} {desc}", dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._shown_at = float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether it is to be shown again."""
        return not self._bar.disable and time.monotonic() - self._shown_at >= _SHOWN_EVERY_SECONDS

    def show(self, state: RunState) -> None:
        """Show how far the run is."""
        if not self._bar.disable:
            self._shown_at = time.monotonic()
            self._bar.n = state.done
            self._bar.set_description_str(bar_line(state))

    def close(self) -> None:
        """Leave the terminal to others."""
        self._bar.close()


def activity_in_words(
    activity: Activity, *, lines: Sequence[int] = (), at: datetime | None = None, reason: str = ""
) -> str:
    """What a run is doing: at which lines of the list, since or until when, why it ended."""
    said = "; ".join(reason.splitlines())
    moment = in_local_time(at) if at else ""
    numbers = ", ".join(map(str, sorted(lines)[:_MOST_LINES])) + (", ..." if len(lines) > _MOST_LINES else "")
    places = f", {'lines' if len(lines) > 1 else 'line'} {numbers}" if lines else ""
    return {
        Activity.PREPARING: "preparing: list, tools, storage and checkpoint are looked at",
        Activity.LOOKING_UP: f"asking the PACS what it has{places}",
        Activity.RETRIEVING: f"retrieving{places}",
        Activity.WAITING_FOR_WINDOW: f"waiting for the window until {moment}",
        Activity.WAITING_FOR_PACS: f"waiting for the PACS since {moment}",
        Activity.PAUSING: "pausing because the PACS is short of resources",
        Activity.STOPPING: f"stopping{places}",
        Activity.COMPLETE: "complete",
        Activity.STOPPED: said,
        Activity.GAVE_UP: f"gave up: {said}",
        Activity.NOT_STARTED: f"could not start: {said}",
    }[activity]


def progress_line(state: RunState) -> str:
    """The line of the log."""
    rest = [part for part in (received_in_words(state.received), rates_in_words(state), end_in_words(state)) if part]
    return f"{', '.join([rows_in_words(state), *rest])}; {state.words}"


def bar_line(state: RunState) -> str:
    """What stands beside the progress bar: the most important first, as a terminal may be narrow."""
    rest = (state.words, rates_in_words(state), end_in_words(state), received_in_words(state.received))
    return ", ".join([rows_in_words(state), *(part for part in rest if part)])


def rows_in_words(state: RunState) -> str:
    """How many rows are done."""
    return f"{state.done} of {state.rows} rows ({100 * state.done // state.rows if state.rows else 100} %)"


def received_in_words(amount: Amount) -> str:
    """Images and bytes; nothing where there are none."""
    return f"{amount.images} images, {in_bytes(amount.size)}" if amount.images else ""


def rates_in_words(state: RunState) -> str:
    """The average rate, and that of the last ten minutes; nothing before there is one."""
    if state.average is None:
        return ""
    recent = f", in the last 10 min {_hour_in_words(state.recent)}" if state.recent else ""
    return _hour_in_words(state.average, " rows an hour") + recent


def _hour_in_words(rate: Rate, unit: str = "") -> str:
    rows = (
        f"{rate.rows_per_hour:.0f}"
        if rate.rows_per_hour >= 10 or not rate.rows_per_hour
        else (f"{rate.rows_per_hour:.1f}")
    )
    size = f" ({in_bytes(rate.bytes_per_hour)})" if rate.bytes_per_hour else ""
    return f"{rows}{unit}{size}"


def end_in_words(state: RunState) -> str:
    """How much work is left, and when it will probably be done; nothing where nothing is left or known."""
    if not state.seconds_left or state.estimated_end is None:
        return ""
    return f"about {in_hours(state.seconds_left)} of work left, estimated end {in_local_time(state.estimated_end)}"


def in_bytes(size: float) -> str:
    """An amount of data as a person says it."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def in_hours(seconds: float) -> str:
    """A duration as a person says it."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
