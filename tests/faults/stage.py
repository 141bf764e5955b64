"""Where a scenario is played: a list, a PACS with faults, the real script as a process, and a record of its runs."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from demo.studies import WrittenStudy
from tests.extraction import Extraction, Finished, from_pacs, tools_running, wait_until
from tests.faults.promises import Evidence, Run, broken, holdings, verified_studies
from tests.pacs.fault import Fault
from tests.pacs.scripted import ScriptedPacs

_PLACES = {"work", "studies", "clock", "tools", "other", "disk"}
"""What a scenario may have in its folder; the extraction itself writes into ``work`` alone."""
_HOSTILE_PLACES = (Path("/tmp/niffler-hostile"),)


class Stage:
    """One list and one PACS; every run is remembered, so that the promises can be checked over all of them."""

    def __init__(self, folder: Path, extraction: Extraction, pacs: ScriptedPacs) -> None:
        self.folder = folder
        self.extraction = extraction
        self.pacs = pacs
        self.studies: tuple[WrittenStudy, ...] = ()
        self.attributes: tuple[str, ...] = ("PatientID",)
        self.runs: list[Run] = []
        self.longest_seconds = 120.0

    def serve(self, studies: Sequence[WrittenStudy]) -> None:
        """Have the PACS hold these studies, and every patient in the list."""
        self.studies = tuple(studies)
        for study in studies:
            for path in study.paths:
                self.pacs.archive.add(path)
        self.extraction.write_list("EMPI", [[study.patient_id] for study in studies])

    def script(self, *faults: Fault) -> None:
        """What goes wrong from now on; nothing makes a PACS in good order."""
        self.pacs.script(*faults)

    def run(
        self,
        *arguments: str,
        environment: dict[str, str] | None = None,
        under: Sequence[str] = (),
        meanwhile: Callable[["subprocess.Popen[str]"], object] | None = None,
    ) -> Finished:
        """Run the script to its end, which ``meanwhile`` may bring about."""
        before = verified_studies(self.extraction.state(".pickle"))
        moved = len(self.pacs.requests("move"))
        begun = time.monotonic()
        process = self.extraction.start(*arguments, environment=environment, under=under)
        if meanwhile is not None:
            meanwhile(process)
        finished = self.extraction.finish(process)
        seconds = time.monotonic() - begun
        was_killed = finished.exit_code == -signal.SIGKILL
        if was_killed:  # its tools die with it, but not in the same instant
            wait_until(lambda: tools_running(self.extraction.port) == [], 10)
        uids = tuple(uid for request in self.pacs.requests("move")[moved:] for uid in request.study_instance_uids)
        self.runs.append(Run(finished.exit_code, finished.output, seconds, before, uids, was_killed))
        return finished

    def evidence(self, *, is_finished: bool = False) -> Evidence:
        """What there is now."""
        work = self.extraction.folder
        return Evidence(
            work=work,
            storage=self.extraction.storage,
            attributes=self.attributes,
            holdings=holdings(self.folder / "studies"),
            requests=self.pacs.requests(),
            runs=tuple(self.runs),
            strangers=frozenset(
                [
                    *(place for place in self.folder.iterdir() if place.name not in _PLACES),
                    *(
                        place
                        for place in self.extraction.folder.iterdir()
                        if place.is_dir() and place.name != "storage"
                    ),
                    *(place for place in _HOSTILE_PLACES if place.exists()),
                ]
            ),
            longest_seconds=self.longest_seconds,
            is_finished=is_finished,
        )

    def check(self, *, is_finished: bool = False) -> None:
        """Fail where a promise is broken."""
        found = broken(self.evidence(is_finished=is_finished))
        assert not found, "\n".join([*found, self.runs[-1].output if self.runs else ""])

    def kill_tool(self, name: str) -> bool:
        """kill -9 of the tool or tools of this name that run now."""
        tools = tools_running(self.extraction.port, name)
        for tool in tools:
            with contextlib.suppress(Exception):
                tool.kill()
        return bool(tools)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """A stage in ``folder``; no process of the extraction is left in the end."""
    (folder / "studies").mkdir()
    with from_pacs(folder) as (extraction, pacs):
        yield Stage(folder, extraction, pacs)
