"""ColdDataRetriever.py as a user runs it: a process in a folder of its own, with its settings and list."""

import csv
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.by_hand import AE_TITLE, FILE_PATH, BareTools
from benchmarks.figures import BenchmarkError
from benchmarks.processes import running, wait_for_end

SCRIPT = Path(__file__).resolve().parent.parent / "ColdDataRetriever.py"
COMMAND = (sys.executable, str(SCRIPT))
LIST = "list.csv"
MODIFIED_LIST = "list_mod.csv"


@dataclass(frozen=True)
class Run:
    """A run of the script that brought everything."""

    seconds: float
    first_image: float
    """Seconds from the start of the process until an image was on disk; 0 in the C-FIND modes."""


def write_settings(folder: Path, tools: BareTools, keywords: Iterable[str], **others: object) -> None:
    """Write system.json and config.json; ``others`` are more keys of either file."""
    attributes = list(keywords)
    system = {
        "DCM4CHEBin": tools.setting, "SrcAet": tools.source, "QueryAet": f"{AE_TITLE}:{tools.port}",
        "DestAet": AE_TITLE, "NightlyOnly": False, "MaxNifflerProcesses": 50,
    }  # fmt: skip
    config = {
        "CsvFile": LIST, "StorageFolder": str(folder / "storage"), "SendEmail": False, "FilePath": FILE_PATH,
        "NumberOfQueryAttributes": len(attributes),
    }  # fmt: skip
    for position, (name, keyword) in enumerate(zip(("First", "Second", "Third"), attributes, strict=False)):
        config |= {f"{name}Attr": keyword, f"{name}Index": position}
    for key, value in others.items():
        (config if key in config else system)[key] = value
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "system.json").write_text(json.dumps(system))
    (folder / "config.json").write_text(json.dumps(config))


def run_script(
    folder: Path,
    tools: BareTools,
    keyword: str,
    values: Iterable[str],
    *,
    file_path: str = FILE_PATH,
    parallel: int = 1,
) -> Run:
    """Run the script to its end over a list with one column."""
    write_settings(folder, tools, [keyword], FilePath=file_path, ParallelRetrievals=parallel)
    (folder / LIST).write_text("\n".join([keyword, *values]) + "\n")
    output = folder / "output.txt"
    started_at, began = time.time(), time.perf_counter()
    with running(COMMAND, output, folder=folder) as process:
        wait_for_end(process, output)
        seconds = time.perf_counter() - began
    _expect_good_outcomes(folder)
    written = [path.stat().st_mtime for path in (folder / "storage").rglob("*.dcm")]
    return Run(seconds, min(written) - started_at if written else 0.0)


def _expect_good_outcomes(folder: Path) -> None:
    with (folder / f"{MODIFIED_LIST}.outcomes.csv").open(encoding="utf-8", newline="") as stream:
        others = [row for row in csv.DictReader(stream) if row["Outcome"] not in ("retrieved", "found")]
    if others:
        raise BenchmarkError(f"{len(others)} rows have another outcome than expected, the first: {others[0]}")
