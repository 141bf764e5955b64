"""What a run tells of itself while it goes on: the state file, the progress bar, and the progress line of the log."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from niffler.headway import Headway
from niffler.log import RecentProblems
from niffler.night import Window
from niffler.progress import Bar, activity_in_words, progress_line
from niffler.run_state import Activity, Amount, Problem, RunState, StateFile, state_json, this_process
from niffler.settings import Mode
from niffler.vocabulary import Outcome

_PROBLEMS_KEPT = 10
"""So many of the last problems are told by --Status."""


@dataclass(frozen=True)
class Standing:
    """How far a run is, but for its rows, which are counted here."""

    received: Amount
    """In this run."""
    verified: Amount
    """By all runs."""
    lines: Sequence[int] = ()
    """Of the list, at which it is."""
    waits_until: datetime | None = None


class Teller:
    """Tells what a run is doing; a disk or a terminal that refuses it does not hinder the run."""

    def __init__(self, mode: Mode, modified: Path, window: Window | None) -> None:
        """With a window, only its hours are worked in."""
        self._mode = mode
        self._window = window
        self._started = datetime.now().astimezone()
        self._problems = RecentProblems(_PROBLEMS_KEPT)
        self._file = StateFile(state_json(modified))
        self._headway = Headway(0, {})
        self._bar: Bar | None = None
        self._seconds = 0.0

    def begin(self, rows: int, done: Mapping[Outcome, int]) -> None:
        """The list is read: it has so many rows, and of these some are done."""
        self._headway = Headway(rows, done)
        self._bar = Bar(self._headway.total, self._headway.done_before)

    def worked(self, seconds: float) -> None:
        """So much more time was there to work in."""
        self._seconds += seconds

    def rows_done(self, rows: int, outcome: Outcome) -> None:
        """So many more rows have their outcome; fewer than none where rows have lost it again."""
        self._headway.rows_done(rows, outcome)

    def note_problems(self, lines: Sequence[str]) -> None:
        """Tell of what is no warning in the log, but what somebody may want to know of."""
        for line in lines[-_PROBLEMS_KEPT:]:
            self._problems.note(line)

    def estimated_end(self) -> datetime | None:
        """When the rest will be done at the rate so far; None before there is one."""
        now, left = datetime.now(), self._headway.seconds_left(self._seconds)
        if left is None:
            return None
        return self._window.after_work(now, left) if self._window else now + timedelta(seconds=left)

    def tell(self, activity: Activity, standing: Callable[[Activity], Standing]) -> None:
        """Say what is being done, in the file and beside the bar, when that is due; only then ``standing`` is asked."""
        is_due = self._file.is_due(activity)
        if is_due or (self._bar is not None and self._bar.is_due):
            state = self._present(activity, standing)
            if self._bar is not None:
                self._bar.show(state)
            if is_due:
                self._write(state)

    def say(self, activity: Activity, standing: Callable[[Activity], Standing]) -> None:
        """The progress line of the log."""
        logging.info(progress_line(self._present(activity, standing)))

    def end(
        self, activity: Activity, reason: str, exit_code: int, counts: Mapping[Outcome, int] | None,
        standing: Callable[[Activity], Standing],
    ) -> None:  # fmt: skip
        """Say that the run has ended, and why; ``counts`` are those of the outcomes file, where there is one."""
        state = replace(self._present(activity, standing, reason), exit_code=exit_code)
        if counts:
            state = replace(state, counts=dict(counts))
        if self._bar is not None:
            self._bar.show(state)
            self._bar.close()
        self._write(state)

    def _present(self, activity: Activity, standing: Callable[[Activity], Standing], reason: str = "") -> RunState:
        self._file.is_due(activity)
        now = datetime.now().astimezone()
        begun = RunState(
            process=this_process(),
            mode=self._mode,
            started=self._started,
            written=now,
            activity=activity,
            since=self._file.since,
            words=activity_in_words(activity, reason=reason),
            problems=tuple(Problem(*noted) for noted in self._problems.noted),
        )
        if self._bar is None:
            return begun
        so_far, seconds, end = standing(activity), self._seconds, self.estimated_end()
        size = so_far.received.size
        self._headway.sample(seconds, size)
        return replace(
            begun,
            words=activity_in_words(
                activity, lines=so_far.lines, at=so_far.waits_until or self._file.since, reason=reason
            ),
            counts=self._headway.counts,
            done_before=self._headway.done_before,
            received=so_far.received,
            verified=so_far.verified,
            average=self._headway.average(seconds, size),
            recent=self._headway.recent(seconds, size),
            seconds_left=self._headway.seconds_left(seconds),
            estimated_end=end.astimezone() if end else None,
        )

    def _write(self, state: RunState) -> None:
        if problem := self._file.write(state):
            logging.warning(problem)
