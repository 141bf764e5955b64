"""--Status: how far the extraction of a list is and what it is doing; only the files beside the list are read."""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from niffler import outcomes
from niffler.errors import WrongInputError
from niffler.night import in_local_time
from niffler.progress import (
    end_in_words,
    in_hours,
    progress_line,
    rates_in_words,
    received_in_words,
    rows_in_words,
)
from niffler.run_state import Activity, Life, RunState, life_of, read_state, state_json
from niffler.worklist import modified_csv

AGAIN = "start the same command again"
REDRAWN_EVERY_SECONDS = 1.0
BEGINS_WITHIN_SECONDS = 10.0
"""So long a run that was started just before the watch may take to say that it has begun."""
LINE_EVERY_SECONDS = 600.0
"""Where there is no terminal, a watch says a line so often, and at each change."""
SILENT_SECONDS = 120.0
"""A run that lives writes its state every few seconds; while it prepares, a long list takes longer."""


@dataclass(frozen=True)
class Sight:
    """What is to be seen of a list: each line has a label. ``state`` is None before any run."""

    lines: Sequence[tuple[str, str]]
    state: RunState | None = None
    is_running: bool = False


def show(csv_file: Path, *, is_redrawn: bool) -> int:
    """Say how far the extraction of the list is, once or until it ends; returns the exit code."""
    if is_redrawn:
        # Until here Ctrl-C ends the process at once, which would leave the terminal without its cursor.
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            (_redraw if sys.stdout.isatty() else _say_changes)(csv_file)
    elif sys.stdout.isatty():
        Console().print(_drawn(look_at(csv_file)))
    else:
        _say(look_at(csv_file))
    return 0


def look_at(csv_file: Path) -> Sight:
    """Read what is there; raises WrongInputError where there is neither a list nor anything of it."""
    modified = modified_csv(csv_file)
    problem = ""
    try:
        state = read_state(state_json(modified))
    except WrongInputError as fault:
        state, problem = None, str(fault)
    if state is not None:
        life = life_of(state)
        is_running = life is Life.RUNS or (life is Life.ELSEWHERE and _age(state) <= SILENT_SECONDS)
        return Sight(_lines(csv_file, state, life), state, is_running)
    counts = outcomes.read_counts(modified)
    if not (counts or problem or csv_file.is_file()):
        raise WrongInputError(f"{csv_file}: there is no such file; see CsvFile")
    lines = [("list", str(csv_file))]
    if problem:
        lines.append(("now", f"not known: {problem}"))
    elif counts:
        lines.append(("now", f"not known: an earlier version of Niffler was the last to work on it; {AGAIN} to go on"))
    else:
        lines.append(("now", "no extraction of this list was started yet"))
    if counts:
        file = outcomes.outcomes_csv(modified)
        written = in_local_time(datetime.fromtimestamp(file.stat().st_mtime))
        lines.append(("outcomes", f"{outcomes.in_words(counts)}, according to {file} of {written}"))
    return Sight(lines)


def _lines(csv_file: Path, state: RunState, life: Life) -> list[tuple[str, str]]:
    modified = modified_csv(csv_file)
    counts = state.counts or outcomes.read_counts(modified)  # a run that could not start says nothing of rows
    verified = received_in_words(state.verified)
    lines = [
        ("list", f"{csv_file}: {state.mode.value}"),
        ("now", _now(state, life)),
        ("rows", rows_in_words(state) if state.rows else ""),
        ("outcomes", outcomes.in_words(counts)),
        ("received", received_in_words(state.received)),
        ("verified", f"{state.verified.studies} studies, {verified}, by all runs" if verified else ""),
        ("rate", rates_in_words(state)),
        ("left", "" if state.activity.is_end or life is Life.GONE else end_in_words(state)),
        ("run", _run(state)),
    ]
    if state.activity.is_end and state.done:
        lines.append(("files", f"every row: {outcomes.outcomes_csv(modified)}"))
        lines.append(("", f"rows to look at: {outcomes.unfinished_csv(modified)}" if state.exit_code else ""))
    lines += [
        ("" if number else "problems", f"{in_local_time(problem.time)}: {problem.line}")
        for number, problem in enumerate(reversed(state.problems))
    ]
    return [(label, text) for label, text in lines if text]


def _now(state: RunState, life: Life) -> str:
    """What is being done, or what has become of the process."""
    age = _age(state)
    match life:
        case Life.GONE:
            return f"the process is gone (killed?), {AGAIN}; the last that it said: {state.words}"
        case Life.ELSEWHERE:
            silent = f"; if it does not write any more, it is gone: {AGAIN} there" if age > SILENT_SECONDS else ""
            return (
                f"{state.words}, as it said {in_hours(age)} ago on {state.process.host}, another machine or "
                f"container{silent}"
            )
        case Life.ENDED if state.exit_code and state.activity is Activity.COMPLETE:
            return f"{state.words} at {in_local_time(state.written)}; some rows need somebody to look at them"
        case Life.ENDED:
            return f"{state.words} ({in_local_time(state.written)})"
        case Life.RUNS if age > SILENT_SECONDS:
            return f"{state.words}, as it said {in_hours(age)} ago; it runs, but writes nothing: is the disk full?"
        case _:
            return state.words


def _run(state: RunState) -> str:
    process = f"process {state.process.pid} on {state.process.host}, started {in_local_time(state.started)}"
    if state.activity.is_end:
        took = in_hours((state.written - state.started).total_seconds())
        return f"{process}, ended after {took} with exit code {state.exit_code}"
    return f"{process}, this was written {state.written.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def _age(state: RunState) -> float:
    return max(0.0, (datetime.now().astimezone() - state.written).total_seconds())


# How it is shown


def _say(sight: Sight) -> None:
    width = max(len(label) for label, _ in sight.lines)
    sys.stdout.write("".join(f"{label:{width}}  {text}\n" for label, text in sight.lines))
    sys.stdout.flush()


def _drawn(sight: Sight) -> Group:
    """The same for a terminal."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in sight.lines:
        table.add_row(label, Text(text, style="bold" if label == "now" else ""))
        if label == "rows" and sight.state is not None:
            table.add_row("", ProgressBar(total=sight.state.rows, completed=sight.state.done, width=50))
    return Group(table)


def _redraw(csv_file: Path) -> None:
    with Live(auto_refresh=False) as live:
        for sight in _sights(csv_file):
            live.update(_drawn(sight), refresh=True)


def _say_changes(csv_file: Path) -> None:
    """Everything at first and in the end; in between a line for each change of what is done, and now and then."""
    said: tuple[object, ...] = ()
    for sight in _sights(csv_file):
        state = sight.state
        is_moment = time.monotonic() // LINE_EVERY_SECONDS
        news = (state.process.pid, state.activity, is_moment) if state and sight.is_running else (sight.lines,)
        if news == said:
            continue
        if said and state and sight.is_running:
            sys.stdout.write(f"{in_local_time(state.written)}: {progress_line(state)}\n")
            sys.stdout.flush()
        else:
            _say(sight)
        said = news


def _sights(csv_file: Path) -> Iterator[Sight]:
    """What is to be seen, again and again until the run ends; one that is just being started is waited for."""
    until = time.monotonic() + BEGINS_WITHIN_SECONDS
    while True:
        sight = look_at(csv_file)
        yield sight
        if sight.is_running:
            until = float("-inf")
        elif time.monotonic() >= until:
            return
        time.sleep(REDRAWN_EVERY_SECONDS)
