"""Measure the suite against the bare tools, and what its own work costs; print, keep and draw the figures."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.by_hand import AE_TITLE, BareTools, as_installed
from benchmarks.extraction import measure_find, measure_retrieval
from benchmarks.figures import BenchmarkError, Report
from benchmarks.idle import measure_idle
from benchmarks.java import measure_java
from benchmarks.machine import describe_machine, describe_versions, now
from benchmarks.orthanc import orthanc
from benchmarks.own_cost import BOOKKEEPING_ROWS, LONGEST_LIST, measure_own_cost
from benchmarks.picture import draw
from benchmarks.processes import free_port
from benchmarks.receiver import measure_receiver
from benchmarks.report import print_about, print_report, write_json
from benchmarks.shards import STUDIES, measure_shards
from demo.studies import generate_studies

PARTS = ("find", "retrieval", "own-cost", "idle", "receiver", "shards", "java")
_WITH_PACS = {"find", "retrieval", "java"}
_RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Scope:
    """How much is measured."""

    rows: int
    rounds: int
    studies: int = 400
    one_by_one: int = 25
    """So many rows are asked with one process each, and stand for all of them."""
    list_lengths: tuple[int, ...] = (*BOOKKEEPING_ROWS, LONGEST_LIST)
    idle_seconds: float = 20
    slices: int = 100
    of_shards: int = STUDIES


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit code."""
    options = _options(arguments)
    if options.quick:
        scope = Scope(options.rows or 20, options.rounds or 1, 40, 3, BOOKKEEPING_ROWS[:1], 5, 20, 12)
    else:
        scope = Scope(options.rows or 100, options.rounds or 3)
    parts = options.only or PARTS
    is_whole = set(parts) == set(PARTS) and not options.quick
    json_file: Path | None = options.json or (_RESULTS if is_whole else None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="niffler-benchmarks-") as folder:
            tools = BareTools(_setting(), "", free_port())
            about = {
                "date": now(),
                "machine": describe_machine(),
                "versions": describe_versions(Path(tools.launcher("findscu")), as_installed()),
            }
            print_about(about)
            reports = list(_measure(parts, tools, scope, Path(folder)))
    except BenchmarkError as failure:
        print(failure, file=sys.stderr)
        return 2
    if json_file is not None:
        write_json(json_file, about, reports)
        draw(json_file.with_suffix(".svg"), about, reports)
        print(f"\n{json_file}, {json_file.with_suffix('.svg')}")
    return 0


def _measure(parts: Sequence[str], tools: BareTools, scope: Scope, folder: Path) -> Iterator[Report]:
    """The reports of the parts, each printed as soon as it is there."""
    for report in _reports(parts, tools, scope, folder):
        print_report(report)
        yield report


def _reports(parts: Sequence[str], tools: BareTools, scope: Scope, folder: Path) -> Iterator[Report]:
    if _WITH_PACS & set(parts):
        archived = generate_studies(folder / "archive", max(scope.studies, scope.rows))
        studies = archived[: scope.rows]
        sample = studies[: scope.one_by_one]
        with orthanc(folder / "orthanc", archived, (AE_TITLE, tools.port)) as source:
            asking = replace(tools, source=source)
            if "find" in parts:
                yield measure_find(asking, studies, sample, scope.rounds, folder)
            if "retrieval" in parts:
                yield measure_retrieval(asking, studies, sample, scope.rounds, folder)
            if "java" in parts and tools.setting != "embedded":
                yield measure_java(asking, studies[0].study_instance_uid, scope.rounds, folder / "java")
    if "own-cost" in parts:
        yield measure_own_cost(scope.list_lengths, scope.rounds, folder)
    if "idle" in parts:
        yield measure_idle(tools, scope.idle_seconds, folder / "idle")
    if "receiver" in parts:
        yield measure_receiver(tools.setting, scope.slices, scope.rounds, folder / "receiver")
    if "shards" in parts:
        yield measure_shards(tools.setting, scope.of_shards, folder / "shards")


def _setting() -> str:
    """DCM4CHE_BIN as an absolute path; the embedded tools where it is not set."""
    given = os.environ.get("DCM4CHE_BIN", "embedded")
    return given if given == "embedded" else str(Path(given).resolve())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        epilog="DCM4CHE_BIN names the bin folder of a DCM4CHE; without it the embedded tools are measured.",
    )
    parser.add_argument("--rows", type=_positive, help="rows of the lists for C-FIND and retrieval (default: 100)")
    parser.add_argument("--rounds", type=_positive, help="how often each is measured (default: 3)")
    parser.add_argument("--quick", action="store_true", help="small numbers, for a look")
    parser.add_argument(
        "--json", type=Path, metavar="FILE",
        help="where the figures go, the picture beside it; by default benchmarks/results.json, if all is measured",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="measure this part alone; may be given several times"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
