"""Several shards of one list at once, from a PACS that takes a fixed time for everything: where is it the limit?"""

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.by_hand import BareTools
from benchmarks.figures import BenchmarkError, Check, Figure, Report, by_key
from benchmarks.processes import free_port, seconds_of
from benchmarks.script import COMMAND, LIST, write_settings
from demo.archive import Instance
from demo.conversation import Conversation
from demo.pacs import DemoPacs
from demo.plan import Plan, Result
from demo.studies import generate_studies

SHARDS = (1, 2, 4)
STUDIES = 40
"""Of these patients each of 2 and of 4 shards has about as many."""
_INSTANCES = 6
_FIND_SECONDS = 0.02
_IMAGE_SECONDS = 0.08
_AT_ONCE = 2
_AT_ITS_LIMIT = 90
"""Percent of the time."""
_LONGEST_START = 120.0


def measure_shards(setting: str, studies: int, folder: Path) -> Report:
    """How many images a second come from the PACS, and how busy it is; ``setting`` is that of DCM4CHEBin."""
    archived = generate_studies(folder / "archive", studies, instances=_INSTANCES, size=16)
    patients = [study.patient_id for study in archived]
    figures: list[Figure] = []
    for count in SHARDS:
        rate, busy = _measure(setting, count, folder / "archive", patients, folder / str(count))
        title = f"{count} shard{'s' if count > 1 else ''}"
        figures.append(Figure(f"shards.{count}", title, "images/s", (rate,)))
        figures.append(Figure(f"shards.{count}.busy", "  the PACS is busy", "%", (busy,)))
    measured = by_key(figures)
    checks = [
        Check(f"{count} shards / 1 shard", measured[f"shards.{count}"] / measured["shards.1"], "times")
        for count in SHARDS[1:]
    ]
    notes = [
        f"the PACS takes {_FIND_SECONDS * 1000:g} ms for a C-FIND and {_IMAGE_SECONDS * 1000:g} ms for an image, and "
        f"reads {_AT_ONCE} images at once: {_AT_ONCE / _IMAGE_SECONDS:g} images/s at most; the time begins when every "
        "shard has sent its first C-MOVE",
        _limit([count for count in SHARDS if measured[f"shards.{count}.busy"] >= _AT_ITS_LIMIT]),
    ]
    return Report(f"Shards of one list of {studies} studies with {_INSTANCES} images each", figures, checks, notes)


def _limit(reached: Sequence[int]) -> str:
    if not reached:
        return "it is not the limit yet"
    more = " more shards bring nothing, and" if reached[0] < SHARDS[-1] else ""
    return f"from {reached[0]} shards on the PACS is the limit:{more} only a faster one would help"


def _measure(setting: str, count: int, archive: Path, patients: Sequence[str], folder: Path) -> tuple[float, float]:
    """Images a second, and the percentage of the time in which the PACS did what it can."""
    ports = [free_port() for _ in range(count)]
    titles = [f"SHARD{number}" for number in range(1, count + 1)]
    with _PacedPacs(archive, titles, ports) as pacs:
        write_settings(folder, BareTools(setting, pacs.address, ports[0]), ["PatientID"])
        (folder / LIST).write_text("\n".join(["PatientID", *patients]) + "\n")
        system = json.loads((folder / "system.json").read_text())
        commands = []
        for number, (title, port) in enumerate(zip(titles, ports, strict=True), 1):
            own = folder / f"system-{number}.json"
            own.write_text(json.dumps({**system, "QueryAet": f"{title}:{port}", "DestAet": title}))
            commands.append((*COMMAND, "--Shard", f"{number}/{count}", "--NifflerSystem", own.name))
        seconds_of(commands, folder / "output.txt", folder=folder)
        if pacs.images != len(patients) * _INSTANCES:
            raise BenchmarkError(f"{count} shards: the PACS sent {pacs.images} images; see {folder / 'output.txt'}")
        seconds = pacs.last_image_at - pacs.began_at
    return pacs.images / seconds, 100 * pacs.images * _IMAGE_SECONDS / (_AT_ONCE * seconds)


class _PacedPacs(DemoPacs):
    """Takes a fixed time for a C-FIND and for an image, of which it reads some at once."""

    def __init__(self, folder: Path, titles: Sequence[str], ports: Sequence[int]) -> None:
        destinations = {title: ("127.0.0.1", port) for title, port in zip(titles, ports, strict=True)}
        super().__init__(folder, destinations=destinations)
        self.images = 0
        self.began_at = self.last_image_at = 0.0
        self._waited_for = set(titles)
        self._lock = threading.Lock()
        self._reading = threading.BoundedSemaphore(_AT_ONCE)
        self._all_there = threading.Barrier(len(titles), action=self._begin)

    def plan(self, conversation: Conversation) -> Plan:
        if conversation.kind == "find":
            self.stopping.wait(_FIND_SECONDS)
        with self._lock:
            is_first = conversation.move_destination in self._waited_for
            self._waited_for.discard(conversation.move_destination)
        if is_first:
            self._all_there.wait(_LONGEST_START)
        return super().plan(conversation)

    def note_sub_operation(self, instance: Instance, result: Result, *, is_sent: bool) -> None:
        del instance, result, is_sent
        with self._reading:
            time.sleep(_IMAGE_SECONDS)
        with self._lock:
            self.images += 1
            self.last_image_at = time.monotonic()

    def _begin(self) -> None:
        self.began_at = time.monotonic()
