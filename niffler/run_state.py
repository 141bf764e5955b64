"""How far a run is and what it is doing: a small file beside the list that the run keeps and that anybody may read."""

import contextlib
import functools
import os
import socket
import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from pathlib import Path

import psutil
from pydantic import TypeAdapter, ValidationError

from niffler.errors import GaveUpError, WrongInputError
from niffler.files import write_atomically
from niffler.headway import Rate
from niffler.settings import Mode
from niffler.vocabulary import Outcome

_WRITTEN_EVERY_SECONDS = 5.0
_LEAST_SECONDS = 0.5
"""Between two writes, also when what is being done changes to and fro."""
_SAME_START_SECONDS = 2.0
SILENT_SECONDS = 120.0
"""A run that lives writes its state every few seconds; while it prepares, a long list takes longer."""


class Activity(StrEnum):
    """What a run is doing."""

    PREPARING = "preparing"
    LOOKING_UP = "looking up"
    RETRIEVING = "retrieving"
    WAITING_FOR_WINDOW = "waiting for the window"
    WAITING_FOR_PACS = "waiting for the PACS"
    PAUSING = "pausing"
    STOPPING = "stopping"
    COMPLETE = "complete"
    STOPPED = "stopped"
    GAVE_UP = "gave up"
    NOT_STARTED = "could not start"

    @property
    def is_end(self) -> bool:
        """Whether the run has ended."""
        return self in (Activity.COMPLETE, Activity.STOPPED, Activity.GAVE_UP, Activity.NOT_STARTED)


@dataclass(frozen=True)
class ProcessId:
    """A process, so that it can be told from a later one with its number, or one of another machine or container."""

    pid: int
    started: float
    """Seconds since 1970 by the clock of the time when this was written."""
    host: str
    namespace: int
    """Of process numbers: containers have one each."""


@dataclass(frozen=True)
class Amount:
    """Of what the PACS sent."""

    studies: int = 0
    """Verified ones."""
    images: int = 0
    size: int = 0
    """Bytes."""


@dataclass(frozen=True)
class Problem:
    """A line of the log that somebody may want to know of."""

    time: datetime
    line: str


@dataclass(frozen=True)
class RunState:
    """One run as it was when this was written; it names no patient. Times carry their zone."""

    process: ProcessId
    mode: Mode
    started: datetime
    written: datetime
    activity: Activity
    since: datetime
    """When the activity began."""
    words: str
    """What it is doing, as a person reads it."""
    counts: dict[Outcome, int] = field(default_factory=dict)
    """Rows by outcome, pending ones too; empty before the list is read."""
    done_before: int = 0
    """How many rows were done before this run."""
    received: Amount = Amount()
    """What arrived in this run; its studies are those that it verified."""
    verified: Amount = Amount()
    """What this run and those before it verified."""
    average: Rate | None = None
    """Over the open windows of this run; None before there is one."""
    recent: Rate | None = None
    """Over the last ten minutes of them."""
    seconds_left: float | None = None
    """Of work; None where it cannot be known yet."""
    estimated_end: datetime | None = None
    problems: tuple[Problem, ...] = ()
    """The last ones, in their order."""
    exit_code: int | None = None
    """Of a run that has ended."""

    @property
    def rows(self) -> int:
        """How many rows the list has."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """How many of them have their outcome."""
        return self.rows - self.counts.get(Outcome.PENDING, 0)


class Life(Enum):
    """What became of the process of a run."""

    RUNS = "it runs"
    ENDED = "it ended in good order"
    GONE = "it is gone without having said so"
    ELSEWHERE = "it is on another machine or in another container, where nothing is known of it"


class StateFile:
    """Keeps the state of a run on disk, cheaply; a disk that refuses it does not hinder the run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._activity: Activity | None = None
        self._written_activity: Activity | None = None
        self._written_at = float("-inf")
        self._has_failed = False
        self.since = datetime.now().astimezone()
        """When the present activity began."""

    def is_due(self, activity: Activity) -> bool:
        """Whether the state is to be written: what is being done has changed, or some seconds have passed."""
        if activity is not self._activity:
            self._activity = activity
            self.since = datetime.now().astimezone()
        is_news = activity is not self._written_activity
        return time.monotonic() - self._written_at >= (_LEAST_SECONDS if is_news else _WRITTEN_EVERY_SECONDS)

    def write(self, state: RunState) -> str:
        """Write it; returns, once, in one line why that failed."""
        self._written_activity = state.activity
        self._written_at = time.monotonic()
        try:
            write_atomically(self._path, _adapter().dump_json(state, indent=1), flush=False)
        except GaveUpError:
            is_first, self._has_failed = not self._has_failed, True
            return (
                f"{self._path}: cannot be written, so --Status shows nothing new; make room or mend the folder"
                if is_first
                else ""
            )
        self._has_failed = False
        return ""


def state_json(modified_csv: Path) -> Path:
    """The file with the state of the run over a list."""
    return modified_csv.with_name(f"{modified_csv.name}.state.json")


def read_state(path: Path) -> RunState | None:
    """The state of the last run, None where there is no file; raises WrongInputError where it is no state."""
    try:
        return _adapter().validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WrongInputError(f"{path}: cannot be read: {error.strerror}; mend its rights") from None
    except ValidationError:
        # A power cut, or another version of Niffler.
        raise WrongInputError(f"{path}: is not the state of a run; the next run writes it anew") from None


def this_process() -> ProcessId:
    """The process that calls this."""
    # The time of its start follows the clock, which may be set right while it runs: so it is asked for each time.
    return ProcessId(os.getpid(), psutil.Process().create_time(), socket.gethostname(), _namespace())


def life_of(state: RunState) -> Life:
    """What became of the process that wrote a state."""
    process = state.process
    if state.activity.is_end:
        return Life.ENDED
    if (process.host, process.namespace) != (socket.gethostname(), _namespace()):
        return Life.ELSEWHERE
    with contextlib.suppress(psutil.Error):
        found = psutil.Process(process.pid)
        is_same = abs(found.create_time() - process.started) < _SAME_START_SECONDS
        if is_same and found.status() != psutil.STATUS_ZOMBIE:
            return Life.RUNS
    return Life.GONE


def age_of(state: RunState) -> float:
    """How many seconds ago a state was written."""
    return max(0.0, (datetime.now().astimezone() - state.written).total_seconds())


def _namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


@functools.cache
def _adapter() -> TypeAdapter[RunState]:
    return TypeAdapter(RunState)
