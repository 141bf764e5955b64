"""ColdDataRetriever.py as a user runs it: a process in a folder of its own, its settings, and what it leaves there."""

import contextlib
import csv
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pydicom import dcmread

from demo.ports import free_port
from demo.studies import WrittenStudy
from tests.pacs.fault import Fault
from tests.pacs.scripted import ScriptedPacs

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "ColdDataRetriever.py"
TOOLS = os.environ.get("DCM4CHE_BIN", "embedded")
AE_TITLE = "QBNIFFLER"
LONGEST_RUN_SECONDS = 120.0


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    exit_code: int
    output: str


@dataclass
class Extraction:
    """One extraction: settings, list, state and images live below ``folder``."""

    folder: Path
    source: str = field(default_factory=lambda: f"NOBODY{free_port()}@127.0.0.1:1")
    port: int = field(default_factory=free_port)
    system: dict[str, object] = field(default_factory=dict)
    config: dict[str, object] = field(default_factory=dict)
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def storage(self) -> Path:
        """Where the images go."""
        return self.folder / "storage"

    @property
    def list_file(self) -> Path:
        """The CSV."""
        return self.folder / "list.csv"

    def state(self, ending: str) -> Path:
        """A file of the list's state, such as ``.pickle``."""
        return self.folder / f"list_mod.csv{ending}"

    def write_list(self, header: str, rows: Iterable[Sequence[str]]) -> None:
        """Write the CSV."""
        with self.list_file.open("w", encoding="utf-8", newline="") as stream:
            stream.write(header + "\n")
            csv.writer(stream, lineterminator="\n").writerows(rows)

    def write_settings(self) -> None:
        """Write both JSON files."""
        system = {
            "DCM4CHEBin": TOOLS, "SrcAet": self.source, "QueryAet": f"{AE_TITLE}:{self.port}", "DestAet": AE_TITLE,
            "NightlyOnly": False, "MaxNifflerProcesses": 50, "MinFreeDiskGB": 0, "GiveUpMinutes": 0.2,
            "ConnectTimeoutSeconds": 5, "ResponseTimeoutSeconds": 20, "RetrieveTimeoutSeconds": 20, **self.system,
        }  # fmt: skip
        config = {"StorageFolder": str(self.storage), "CsvFile": self.list_file.name, "SendEmail": False, **self.config}
        (self.folder / "system.json").write_text(json.dumps(system))
        (self.folder / "config.json").write_text(json.dumps(config))

    def start(
        self, *arguments: str, environment: dict[str, str] | None = None, under: Sequence[str] = ()
    ) -> "subprocess.Popen[str]":
        """Start the script, ``under`` a command such as nohup; its output goes to ``output.txt``."""
        self.write_settings()
        with (self.folder / "output.txt").open("w") as output:
            process = subprocess.Popen(
                [*under, sys.executable, str(SCRIPT), *arguments], cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(environment or {})},
                start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def finish(self, process: "subprocess.Popen[str]") -> Finished:
        """Wait for the end of a run."""
        try:
            exit_code = process.wait(LONGEST_RUN_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            raise AssertionError(f"the extraction did not end:\n{self.output}") from None
        return Finished(exit_code, self.output)

    def run(self, *arguments: str, environment: dict[str, str] | None = None, under: Sequence[str] = ()) -> Finished:
        """Run the script to its end."""
        return self.finish(self.start(*arguments, environment=environment, under=under))

    @property
    def output(self) -> str:
        """What the run has printed so far."""
        return (self.folder / "output.txt").read_text()

    @property
    def log(self) -> str:
        """The log of this run and those before it."""
        return (self.folder / "niffler1.log").read_text(encoding="utf-8")

    def wait_until_it_says(self, text: str, *, times: int = 1, seconds: float = 60.0) -> None:
        """Wait for a text in the output, or for so many of it."""
        wait_until(lambda: self.output.count(text) >= times, seconds)

    def outcomes(self) -> list[dict[str, str]]:
        """The outcomes file."""
        return read_csv(self.state(".outcomes.csv"))

    def words(self) -> list[str]:
        """The outcome of every row."""
        return [row["Outcome"] for row in self.outcomes()]

    def checkpoint(self) -> list[str]:
        """The entries of the pickle, read as anybody reads a pickle."""
        entries: list[str] = pickle.loads(self.state(".pickle").read_bytes())
        return entries

    def instances(self) -> dict[str, Path]:
        """SOPInstanceUID → file of everything in StorageFolder."""
        files = [path for path in self.storage.rglob("*") if path.is_file() and path.suffix != ".part"]
        return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in files}


@contextlib.contextmanager
def from_pacs(folder: Path, *script: Fault) -> Iterator[tuple[Extraction, ScriptedPacs]]:
    """An extraction in ``folder/work`` and its PACS, which holds the studies of ``folder/studies``.

    No tool of the extraction may be left in the end.
    """
    extraction = Extraction(folder / "work")
    destinations = {AE_TITLE: ("127.0.0.1", extraction.port)}
    with ScriptedPacs(folder / "studies", *script, destinations=destinations) as pacs:
        extraction.source = pacs.address
        try:
            yield extraction, pacs
        finally:  # where a test failed
            for process in extraction.started:
                process.kill()
                process.wait()
            left = tools_running(extraction.port)
            for tool in left:
                tool.kill()
    assert left == []


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that becomes true; AssertionError where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def tools_running(port: int, tool: str = "") -> list[psutil.Process]:
    """The tools, or those of one kind, that run for an AE of this test."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if f"{AE_TITLE}:{port}" in words and any(tool in word for word in words):
                found.append(process)
    return found


def patient_data(studies: Iterable[WrittenStudy]) -> set[str]:
    """What must not be read outside the outcomes files: IDs, names and UIDs."""
    found: set[str] = set()
    for study in studies:
        name = str(dcmread(study.paths[0], stop_before_pixels=True).PatientName)
        found |= {study.patient_id, study.accession_number, study.study_instance_uid, *study.sop_instance_uids}
        found |= {name, *name.split("^")}
    return found


def all_instances(studies: Iterable[WrittenStudy]) -> set[str]:
    """The SOPInstanceUIDs of studies."""
    return {uid for study in studies for uid in study.sop_instance_uids}


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV with a header line."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))
