"""--Status: how far the extraction of a list is and what it is doing; only the files beside the list are read."""

import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from niffler.run_state import SILENT_SECONDS, Activity, Life, RunState, age_of, life_of, read_state, state_json
from niffler.shards import Shard, modified_csv, titled
from niffler.split import Part, Standing, newest_split, parts_of
from niffler.split import in_words as parts_in_words
from niffler.vocabulary import Outcome

AGAIN = "start the same command again"
REDRAWN_EVERY_SECONDS = 1.0
BEGINS_WITHIN_SECONDS = 10.0
"""So long a run that was started just before the watch may take to say that it has begun."""
LINE_EVERY_SECONDS = 600.0
"""Where there is no terminal, a watch says a line so often, and at each change."""


@dataclass(frozen=True)
class Sight:
    """What is to be seen of a list: each line has a label. ``states`` has one for each shard that was run, or one."""

    lines: Sequence[tuple[str, str]]
    states: Mapping[str, RunState] = field(default_factory=dict)
    is_running: bool = False


def show(csv_file: Path, shard: Shard | None = None, *, is_redrawn: bool) -> int:
    """Say how far the extraction of the list, or of a shard, is, once or until it ends; returns the exit code."""
    if is_redrawn:
        # Until here Ctrl-C ends the process at once, which would leave the terminal without its cursor.
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            (_redraw if sys.stdout.isatty() else _say_changes)(csv_file, shard)
    elif sys.stdout.isatty():
        Console().print(_drawn(look_at(csv_file, shard)))
    else:
        _say(look_at(csv_file, shard))
    return 0


def look_at(csv_file: Path, shard: Shard | None = None) -> Sight:
    """Read what is there; raises WrongInputError where there is neither a list nor anything of it.

    Without a shard all of them are looked at, where the list was split when it was last run.
    """
    whole = modified_csv(csv_file)
    if shard is None and (count := newest_split(whole)) > 1:
        return _look_at_all(csv_file, parts_of(whole, count))
    modified = modified_csv(csv_file, shard)
    name = titled(str(csv_file), shard)
    problem = ""
    try:
        state = read_state(state_json(modified))
    except WrongInputError as fault:
        state, problem = None, str(fault)
    if state is not None:
        life = life_of(state)
        is_running = life is Life.RUNS or (life is Life.ELSEWHERE and age_of(state) <= SILENT_SECONDS)
        return Sight(_lines(name, modified, state, life), {"": state}, is_running)
    counts = outcomes.read_counts(modified)
    if not (counts or problem or csv_file.is_file()):
        raise WrongInputError(f"{csv_file}: there is no such file; see CsvFile")
    lines = [("list", name)]
    if problem:
        lines.append(("now", f"not known: {problem}"))
    elif counts:
        lines.append(("now", f"not known: an earlier version of Niffler was the last to work on it; {AGAIN} to go on"))
    else:
        lines.append(("now", f"no extraction of this {'shard' if shard else 'list'} was started yet"))
    if counts:
        file = outcomes.outcomes_csv(modified)
        written = in_local_time(datetime.fromtimestamp(file.stat().st_mtime))
        lines.append(("outcomes", f"{outcomes.in_words(counts)}, according to {file} of {written}"))
    return Sight(lines)


def _look_at_all(csv_file: Path, parts: Sequence[Part]) -> Sight:
    """First all shards together, then one after the other."""
    states = {f"shard {part.shard}": part.state for part in parts if part.state is not None}
    counts: Counter[Outcome] = Counter()
    for part in parts:
        counts.update((part.state.counts if part.state else {}) or outcomes.read_counts(part.modified))
    is_known = Standing.MISSING not in {part.standing for part in parts}
    rows, pending = counts.total(), counts[Outcome.PENDING]
    lines = [
        ("list", f"{csv_file}: {len(parts)} shards"),
        ("now", parts_in_words(parts)),
        ("rows", f"{rows - pending} of {rows} done{'' if is_known else ', without those of missing shards'}"),
        ("outcomes", outcomes.in_words({outcome: counts[outcome] for outcome in Outcome if counts[outcome]})),
    ]
    for part in parts:
        lines += _lines_of(part)
    return Sight(
        [(label, text) for label, text in lines if text], states, any(part.standing is Standing.RUNS for part in parts)
    )


def _lines_of(part: Part) -> Iterator[tuple[str, str]]:
    """What is to be seen of one shard; the label names it, and the first line says how it stands."""
    name, standing = f"shard {part.shard}", part.standing.value
    if part.state is None or part.life is None:
        remedy = f"start it with --Shard {part.shard}"
        yield name, f"{standing}: {part.problem or f'it was not started yet, or not beside this list; {remedy}'}"
        return
    for label, text in _lines(name, part.modified, part.state, part.life):
        if label == "now":
            yield name, f"{standing}: {text}"
        elif label not in ("list", "files", "verified"):
            yield "", f"{label}: {text}" if label else text


def _lines(name: str, modified: Path, state: RunState, life: Life) -> list[tuple[str, str]]:
    counts = state.counts or outcomes.read_counts(modified)  # a run that could not start says nothing of rows
    verified = received_in_words(state.verified)
    lines = [
        ("list", f"{name}: {state.mode.value}"),
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
    age = age_of(state)
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
        if label == "rows" and sight.states:
            states = sight.states.values()
            rows, done = sum(state.rows for state in states), sum(state.done for state in states)
            table.add_row("", ProgressBar(total=rows, completed=done, width=50))
    return Group(table)


def _redraw(csv_file: Path, shard: Shard | None) -> None:
    with Live(auto_refresh=False) as live:
        for sight in _sights(csv_file, shard):
            live.update(_drawn(sight), refresh=True)


def _say_changes(csv_file: Path, shard: Shard | None) -> None:
    """Everything at first and in the end; in between a line for each change of what is done, and now and then."""
    said: tuple[object, ...] = ()
    for sight in _sights(csv_file, shard):
        doing = tuple((name, state.process.pid, state.activity) for name, state in sight.states.items())
        news = (doing, time.monotonic() // LINE_EVERY_SECONDS) if sight.is_running else (sight.lines,)
        if news == said:
            continue
        if said and sight.is_running:
            for name, state in sight.states.items():
                of_shard_named = f"{name}: " if name else ""
                sys.stdout.write(f"{in_local_time(state.written)}: {of_shard_named}{progress_line(state)}\n")
            sys.stdout.flush()
        else:
            _say(sight)
        said = news


def _sights(csv_file: Path, shard: Shard | None) -> Iterator[Sight]:
    """What is to be seen, again and again until the run ends; one that is just being started is waited for."""
    until = time.monotonic() + BEGINS_WITHIN_SECONDS
    while True:
        sight = look_at(csv_file, shard)
        yield sight
        if sight.is_running:
            until = float("-inf")
        elif time.monotonic() >= until:
            return
        time.sleep(REDRAWN_EVERY_SECONDS)
