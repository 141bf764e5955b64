"""What is measured in a process of its own, in the folder of a list: the suite's work without tools and PACS."""

import contextlib
import json
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.figures import BenchmarkError
from benchmarks.instant_pacs import InstantConnections
from benchmarks.lists import write_checkpoint
from benchmarks.script import MODIFIED_LIST, SCRIPT
from ColdDataRetriever import Extraction
from niffler import drawing
from niffler.errors import StoppedError
from niffler.log import start_log
from niffler.settings_files import read_settings
from niffler.storage import open_storage
from niffler.vocabulary import PENDING

RESULTS = "figures.json"
_FLUSHES = 50


def plan() -> dict[str, float]:
    """Read, check and plan the list, take up the checkpoint if there is one, then write the files of its state."""
    extraction = _extraction()
    began = time.perf_counter()
    extraction.read_list()
    extraction.take_up_checkpoint()
    deque(iter(extraction.agenda.next_group, None), maxlen=0)
    planned = time.perf_counter()
    peak = _peak_bytes()
    extraction.write_outcomes()
    wrote_outcomes = time.perf_counter()
    extraction.checkpoint.begin()
    return {
        "plan": planned - began,
        "peak": peak / 1e9,
        "outcomes": wrote_outcomes - planned,
        "checkpoint": time.perf_counter() - wrote_outcomes,
        "peak_in_all": _peak_bytes() / 1e9,
    }


def bookkeep(studies: int) -> dict[str, float]:
    """Let so many studies be completed by the main loop; seconds and processor seconds of one, and its memory."""
    extraction = _extraction()
    extraction.read_list()
    extraction.take_up_checkpoint()
    extraction.checkpoint.begin()
    drawing.prepare()  # the main loop has it done after some seconds, and it is not a study's memory
    pending = extraction.results.count(PENDING)
    memory: dict[int, int] = {}

    def on_studies(done: int) -> None:
        if done in (studies // 5, studies) and done not in memory:
            memory[done] = psutil.Process().memory_info().rss
        if done >= studies:
            extraction.stop(StoppedError(15))

    extraction.connections = InstantConnections(extraction.settings.storage_folder, on_studies)
    began, cpu_began = time.perf_counter(), time.process_time()
    with contextlib.suppress(StoppedError):
        extraction.work()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    completed = pending - extraction.results.count(PENDING)  # the association that was under way is brought to its end
    if completed < studies:
        raise BenchmarkError(f"{completed} studies were completed, not {studies}")
    first, last = memory[studies // 5], memory[studies]
    return {
        "study": seconds / completed * 1000,
        "study_cpu": cpu_seconds / completed * 1000,
        "study_memory": (last - first) / (studies - studies // 5) / 1000,
        "flush": _flush_seconds() * 1000,
    }


def prepare(rows: int) -> dict[str, float]:
    """Write a checkpoint in which so many rows are complete."""
    write_checkpoint(Path(MODIFIED_LIST), rows)
    return {}


def _extraction() -> Extraction:
    start_log(Path("niffler1.log"))
    extraction = Extraction(read_settings([], beside=SCRIPT.parent))
    extraction.tools_version = "none"
    extraction.storage = open_storage(extraction.settings.storage_folder, 0)
    return extraction


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _flush_seconds() -> float:
    """What the disk takes for one line that is appended and flushed."""
    with Path("flushed").open("ab") as stream:
        began = time.perf_counter()
        for _ in range(_FLUSHES):
            stream.write(bytes(300))
            stream.flush()
            os.fsync(stream.fileno())
        return (time.perf_counter() - began) / _FLUSHES


def main(task: str, *numbers: str) -> None:
    """Carry out a task in the current folder and leave its figures there."""
    tasks: dict[str, Callable[..., dict[str, float]]] = {"plan": plan, "bookkeep": bookkeep, "prepare": prepare}
    Path(RESULTS).write_text(json.dumps(tasks[task](*map(int, numbers))))


if __name__ == "__main__":
    main(*sys.argv[1:])
