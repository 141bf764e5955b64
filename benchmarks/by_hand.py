"""The bare tools, called without the suite: one process per row as Niffler did, and all query files in one process."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import BenchmarkError
from benchmarks.processes import running, seconds_of, wait_until_listening
from demo.studies import WrittenStudy
from niffler import dcm4che
from niffler.lookup import ALWAYS_RETURNED
from niffler.query_files import move_query, write_find_query
from niffler.vocabulary import FindKind, Query, Study

AE_TITLE = "BENCHMARK"
FILE_PATH = "{00100020}/{0020000D}/{0020000E}/{00080018}.dcm"
_OUT_FILE = "'match-'00000000'.xml'"


@dataclass(frozen=True)
class BareTools:
    """The tools, the PACS (AET@HOST:PORT), and the port of the receiver."""

    setting: str
    """As DCM4CHEBin says it."""
    source: str
    port: int

    def launcher(self, tool: str) -> str:
        """The command of a tool."""
        return str(dcm4che.tools_folder(self.setting) / tool)

    def options(self) -> list[str]:
        """Whom a findscu or movescu talks to, and as whom."""
        return ["-c", self.source, "-b", AE_TITLE, "-M", "StudyRoot"]

    def environment_of_suite(self, folder: Path) -> dict[str, str]:
        """What the suite gives its tools: Java options and the level of the log."""
        tools = dcm4che.Tools(
            dcm4che.tools_folder(self.setting), folder, self.source, f"{AE_TITLE}:{self.port}", 30, 300, 1800, {}
        )
        return tools._environment()


def as_installed() -> dict[str, str]:
    """The environment of somebody who calls the tools as they are."""
    return {**os.environ, "NIFFLER_PYTHON": sys.executable}


def find_one_by_one(tools: BareTools, studies: Sequence[WrittenStudy], folder: Path) -> float:
    """Seconds for one findscu after the other, a study each."""
    folder.mkdir()
    seconds = 0.0
    for number, study in enumerate(studies):
        matches = folder / str(number)
        matches.mkdir()
        command = [
            tools.launcher("findscu"), *tools.options(), "-m", f"StudyInstanceUID={study.study_instance_uid}",
            *(word for keyword in ALWAYS_RETURNED[2:] for word in ("-r", keyword)), "-r", "PatientID", "-X",
            "--out-dir", str(matches), "--out-file", _OUT_FILE,
        ]  # fmt: skip
        seconds += seconds_of([command], folder / "output.txt", environment=as_installed())
    _expect(len(studies), folder, "*.xml")
    return seconds


def find_all(tools: BareTools, studies: Sequence[WrittenStudy], folder: Path) -> float:
    """Seconds for one findscu with a query file for each study."""
    folder.mkdir()
    files = [folder / f"query-{number:06d}.xml" for number in range(len(studies))]
    for file, study in zip(files, studies, strict=True):
        write_find_query(file, Query(FindKind(), {"StudyInstanceUID": study.study_instance_uid}, ALWAYS_RETURNED))
    matches = folder / "matches"
    matches.mkdir()
    command = [
        tools.launcher("findscu"), *tools.options(), "-X", "--out-dir", str(matches), "--out-file", _OUT_FILE,
        "--not-async", *map(str, files),
    ]  # fmt: skip
    seconds = seconds_of([command], folder / "output.txt", environment=tools.environment_of_suite(folder))
    _expect(len(studies), matches, "*.xml")
    return seconds


def move_one_by_one(tools: BareTools, studies: Sequence[WrittenStudy], folder: Path) -> float:
    """Seconds for one movescu after the other, a study each; storescp listens already."""
    folder.mkdir()
    with receiving(tools, folder, as_installed()):
        seconds = sum(
            seconds_of(
                [
                    [
                        tools.launcher("movescu"), *tools.options(), "-m",
                        f"StudyInstanceUID={study.study_instance_uid}", "--dest", AE_TITLE,
                    ]
                ],
                folder / "output.txt",
                environment=as_installed(),
            )
            for study in studies
        )  # fmt: skip
    _expect_images(studies, folder)
    return seconds


def move_all(tools: BareTools, studies: Sequence[WrittenStudy], folder: Path, *, processes: int) -> float:
    """Seconds for so many movescu side by side, each with a query file for each of its studies."""
    folder.mkdir()
    files = [folder / f"study-{number:06d}.dcm" for number in range(len(studies))]
    for file, study in zip(files, studies, strict=True):
        file.write_bytes(move_query(Study(study.study_instance_uid, "")))
    command = [
        tools.launcher("movescu"), *tools.options(), "-i", "StudyInstanceUID", "--dest", AE_TITLE, "--not-async"
    ]  # fmt: skip
    commands = [[*command, *map(str, files[part::processes])] for part in range(processes)]
    environment = tools.environment_of_suite(folder)
    with receiving(tools, folder, environment):
        seconds = seconds_of(commands, folder / "output.txt", environment=environment)
    _expect_images(studies, folder)
    return seconds


@contextlib.contextmanager
def receiving(tools: BareTools, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A storescp that listens, and writes into ``folder/images``."""
    output = folder / "storescp.out"
    command = [
        tools.launcher("storescp"), "--accept-unknown", "--directory", str(folder / "images"), "--filepath", FILE_PATH,
        "-b", f"{AE_TITLE}@127.0.0.1:{tools.port}",
    ]  # fmt: skip
    with running(command, output, environment=environment) as process:
        wait_until_listening(process, tools.port, output)
        yield


def _expect_images(studies: Sequence[WrittenStudy], folder: Path) -> None:
    _expect(sum(len(study.paths) for study in studies), folder / "images", "*.dcm")


def _expect(count: int, folder: Path, pattern: str) -> None:
    found = sum(1 for _ in folder.rglob(pattern))
    if found != count:
        raise BenchmarkError(f"the tools brought {found} of {count} files; see {folder}")
