"""What the suite's own work costs, by the length of the list; each measured in a process of its own."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.by_hand import BareTools
from benchmarks.figures import Check, Figure, Report, by_key
from benchmarks.lists import ENTRIES_PER_ROW, KEYWORDS, write_list
from benchmarks.own_cost_child import RESULTS
from benchmarks.processes import free_port, seconds_of
from benchmarks.script import LIST, SCRIPT, write_settings

BOOKKEEPING_ROWS = (10_000, 100_000)
LONGEST_LIST = 1_000_000
_LEFT_OVER = 1000
"""So many rows are left when the bookkeeping of a nearly finished list is measured."""
_MEMORY_ROWS = 5000

_MILLISECONDS_A_STUDY = 5
_PLAN = {
    "plan": ("read, check, plan", "s"),
    "peak": ("  peak memory", "GB"),
    "outcomes": ("  write the outcome files", "s"),
}
_RESUME = {
    "plan": ("the same, resuming with as many entries", "s"),
    "peak": ("  peak memory", "GB"),
    "outcomes": ("  write the outcome files", "s"),
    "checkpoint": ("  write the checkpoint", "s"),
    "peak_in_all": ("  peak memory in all", "GB"),
}
_BOOKKEEPING = {
    "study": ("bookkeeping of a study, {state}", "ms"),
    "study_cpu": ("  of it processor time", "ms"),
    "flush": ("  one line flushed to this disk", "ms"),
}


def measure_own_cost(sizes: Sequence[int], rounds: int, folder: Path) -> Report:
    """Planning and resuming of lists of these lengths, and the bookkeeping of a study in those up to 100,000 rows."""
    figures: list[Figure] = []
    for rows in sizes:
        place = folder / f"list-{rows}"
        _make_list(place, rows)
        figures += _measured(place, rounds, f"plan.{rows}", f"{rows:,} rows: ", _PLAN, "plan")
        begun = f"{rows:,} rows: "
        if rows in BOOKKEEPING_ROWS:
            figures += _bookkeeping(place, rounds, f"begin.{rows}", begun, "none complete yet")
            left = folder / f"left-{rows}"
            shutil.copytree(place, left)
            _run(left, "prepare", rows - _LEFT_OVER)
            figures += _bookkeeping(left, rounds, f"end.{rows}", begun, f"all but {_LEFT_OVER:,} complete")
            shutil.rmtree(left)
        _run(place, "prepare", rows // ENTRIES_PER_ROW)
        figures += _measured(place, rounds, f"resume.{rows}", begun, _RESUME, "plan")
        shutil.rmtree(place)
    figures += _memory(folder)
    notes = [
        f"resuming: the checkpoint has as many entries as the list has rows, {ENTRIES_PER_ROW} for each row that is "
        "complete, for itself and its study"
    ]
    return Report("Own cost, without tools and PACS", figures, list(_checks(by_key(figures), sizes)), notes)


def _checks(medians: Mapping[str, float], sizes: Sequence[int]) -> Iterator[Check]:
    most = max(sizes)
    promised = most == LONGEST_LIST
    yield Check(
        f"{most:,} rows: read, check, plan", medians[f"plan.{most}.plan"], "s", at_most=15 if promised else None
    )
    yield Check(f"{most:,} rows: peak memory", medians[f"plan.{most}.peak"], "GB", at_most=1.5 if promised else None)
    more = medians[f"resume.{most}.plan"] - medians[f"plan.{most}.plan"]
    yield Check(f"{most:,} rows: resuming takes longer by", more, "s", at_most=5 if promised else None)
    measured = [rows for rows in BOOKKEEPING_ROWS if rows in sizes]
    for rows in measured:
        worst = max(medians[f"begin.{rows}.study"], medians[f"end.{rows}.study"])
        yield Check(f"{rows:,} rows: bookkeeping of a study", worst, "ms", at_most=_MILLISECONDS_A_STUDY)
    if len(measured) > 1:
        few, many = (medians[f"end.{rows}.study_cpu"] for rows in measured)
        yield Check("processor time of a study, 100,000 rows / 10,000 rows", many / few, "times")


def _bookkeeping(place: Path, rounds: int, key: str, begun: str, state: str) -> list[Figure]:
    titles = {name: (title.format(state=state), unit) for name, (title, unit) in _BOOKKEEPING.items()}
    return _measured(place, rounds, key, begun, titles, "bookkeep", _LEFT_OVER)


def _memory(folder: Path) -> list[Figure]:
    """How the memory of a run grows from one study to the next, over a whole list."""
    place = folder / "memory"
    _make_list(place, _MEMORY_ROWS)
    kilobytes = _run(place, "bookkeep", _MEMORY_ROWS)["study_memory"]
    shutil.rmtree(place)
    return [Figure("memory.study", "memory that a completed study takes", "kB", (kilobytes,))]


def _measured(
    place: Path, rounds: int, key: str, begun: str, titles: Mapping[str, tuple[str, str]], task: str, *numbers: int
) -> list[Figure]:
    """The figures of a task, each time from the state that the folder is in now."""
    values: dict[str, list[float]] = {name: [] for name in titles}
    for number in range(rounds):
        copy = place.with_name(f"{place.name}-{number}")
        shutil.copytree(place, copy)
        measured = _run(copy, task, *numbers)
        shutil.rmtree(copy)
        for name in titles:
            values[name].append(measured[name])
    return [
        Figure(f"{key}.{name}", title if title.startswith(" ") else begun + title, unit, tuple(values[name]))
        for name, (title, unit) in titles.items()
    ]


def _make_list(place: Path, rows: int) -> None:
    write_settings(place, BareTools("embedded", "NOBODY@127.0.0.1:104", free_port()), KEYWORDS)
    write_list(place / LIST, rows)


def _run(place: Path, task: str, *numbers: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.own_cost_child", task, *map(str, numbers)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    seconds_of([command], place / "output.txt", folder=place, environment=environment)
    figures: dict[str, float] = json.loads((place / RESULTS).read_text())
    return figures
