"""Who else is running on this machine: other extractions, tools that a killed run left, who holds a port."""

import contextlib
import itertools
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from niffler.errors import CannotStartError
from niffler.locks import held_together, lock_folder, lock_of, locked
from niffler.settings import Task
from niffler.shards import Shard, modified_csv

_PRIVATE_PREFIX = "niffler-run-"
PRIVATE_FOLDER = f"{_PRIVATE_PREFIX}{os.getpid()}-"
"""How the names of this run's private folders begin."""
SCRIPT = "ColdDataRetriever.py"
_TOOLS = ("storescp", "findscu", "movescu")
_PATIENCE_SECONDS = 5.0
_LATEST = (float("inf"), 0)


@dataclass(frozen=True)
class Running:
    """How many extractions and receivers run on this machine, this one included."""

    niffler_processes: int
    storescp_processes: int

    @property
    def in_words(self) -> str:
        """The line of the log."""
        return (
            f"Number of running niffler processes: {self.niffler_processes} and storescp processes: "
            f"{self.storescp_processes}"
        )


class SlotTakenError(CannotStartError):
    """Another extraction is in the way."""

    def __init__(self, running: Running, why: str) -> None:
        super().__init__(
            f"[EXTRACTION FAILURE] {datetime.now()}: Previous extraction still running. As such, your extraction "
            "attempt was not successful this time. Please wait until that completes and re-run your query."
        )
        self.running = running
        self.why = why


@dataclass(frozen=True)
class LeftoverTool:
    """A DCM4CHE tool that no living extraction owns."""

    pid: int
    name: str
    user: str
    mine: bool


@contextlib.contextmanager
def claim_slot(source: str, most_processes: int, *, party: str = "") -> Iterator[Running]:
    """Hold one of the machine's places for extractions, and the only one for this PACS (AET@HOST:PORT).

    Those that name the same ``party`` may share the PACS. Raises SlotTakenError where there is none.
    """
    with contextlib.ExitStack() as held:
        with locked(lock_folder() / "count.lock", wait=True):
            extractions = _extractions()
            running = Running(len(extractions), len(_tools("storescp")))
            claimed = held.enter_context(held_together(lock_of("pacs", source), party))
            # Of two that start at once each sees the other; only those that are older than oneself are in the way.
            before = sum(started < extractions.get(os.getpid(), _LATEST) for started in extractions.values())
            if not claimed:
                raise SlotTakenError(running, f"another extraction uses the same SrcAet, {source}")
            if before >= most_processes:
                raise SlotTakenError(running, f"MaxNifflerProcesses in system.json is {most_processes}")
        yield running


def is_source_in_use(source: str) -> bool:
    """Whether an extraction uses this PACS now. Takes no place, and delays whoever takes one by a moment only."""
    with (
        locked(lock_folder() / "count.lock", wait=True),
        locked(lock_of("pacs", source), wait=False) as is_free,
    ):
        return not is_free


def extractions_running() -> int:
    """How many extractions run on this machine."""
    return len(_extractions())


@contextlib.contextmanager
def claim_file(path: Path, *, party: str = "") -> Iterator[None]:
    """Hold a file, by its name, against other runs of this machine but those that name the same ``party``.

    Raises CannotStartError where one has it.
    """
    with contextlib.ExitStack() as held:
        with locked(lock_folder() / "count.lock", wait=True):
            claimed = held.enter_context(held_together(lock_of("file", str(path.resolve())), party))
        if not claimed:
            raise CannotStartError(f"{path}: another extraction works on it; wait until that has ended")
        yield


@contextlib.contextmanager
def claim_list(csv_file: Path, shard: Shard | None) -> Iterator[None]:
    """Hold a list, or a shard of it, against all runs of the list but those of its other shards."""
    with contextlib.ExitStack() as held:
        held.enter_context(claim_file(modified_csv(csv_file), party=f"of {shard.count}" if shard else ""))
        if shard:
            held.enter_context(claim_file(modified_csv(csv_file, shard)))
        yield


@contextlib.contextmanager
def claim_receiving(title: str) -> Iterator[None]:
    """Hold an AE title that images are sent to, as the PACS knows one address for it; raises CannotStartError."""
    with locked(lock_of("receiving", title), wait=False) as claimed:
        if not claimed:
            raise CannotStartError(
                f"another shard receives as {title} on this machine; give each its own, such as NIFFLER{{shard}} in "
                "QueryAet and DestAet"
            )
        yield


def leftover_tools(receiving: str, source: str) -> list[LeftoverTool]:
    """The tools that work for an AE (AET:PORT) or ask this PACS as it, and descend from no living run of the script."""
    living = _scripts().keys()
    leftovers = []
    for process, name in _tools(*_TOOLS):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if _option(words, "-b") != receiving or (name != "storescp" and _option(words, "-c") != source):
                continue
            if living & {parent.pid for parent in process.parents()}:
                continue
            user = process.username()
            leftovers.append(LeftoverTool(process.pid, name, user, process.uids().real == os.getuid()))
    return leftovers


def end_processes(pids: Sequence[int]) -> None:
    """End processes, by force where they do not go."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            process.terminate()
            processes.append(process)
    for process in _wait_for_end(processes):
        with contextlib.suppress(psutil.Error):
            process.kill()
    _wait_for_end(processes)


def _wait_for_end(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Wait a moment for processes to end; returns those that have not. One that nobody reaps has ended, too."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    alive = [process for process in processes if _is_alive(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(0.02)
        alive = [process for process in alive if _is_alive(process)]
    return alive


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def remove_private_folders() -> None:
    """Remove what killed runs of this user left in the folder for temporary files: query files name patients."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PRIVATE_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PRIVATE_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            if pid.isdigit() and not psutil.pid_exists(int(pid)) and folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)


def fault_of_port(port: int) -> str:
    """Why nothing could listen on a port; empty where something could. Nobody is kept from it."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", port))
        except OSError as error:
            holder = port_holder(port)
            return f"port {port} is held by {holder}" if holder else f"port {port}: {error.strerror}"
    return ""


def port_holder(port: int) -> str:
    """Who listens on a port, where this user may know; else nothing."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (process {process.pid}) of user {process.username()}"
    return ""


def receives_into(folder: Path) -> bool:
    """Whether some storescp of this machine writes into the folder."""
    for process, _ in _tools("storescp"):
        with contextlib.suppress(psutil.Error):
            directory = _option(process.cmdline(), "--directory")
            if directory and Path(process.cwd(), directory).resolve() == folder.resolve():
                return True
    return False


def _extractions() -> dict[int, tuple[float, int]]:
    """The extractions by PID, each with what puts them into the order of their start.

    They are the runs of the script but for those that only look at an extraction.
    """
    return {pid: (started, pid) for pid, (started, words) in _scripts().items() if not _only_looks(words)}


def _scripts() -> dict[int, tuple[float, list[str]]]:
    """The Python processes whose script is ColdDataRetriever.py: when each began, and its command line."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if process.status() != psutil.STATUS_ZOMBIE and _script(words) == SCRIPT:
                found[process.pid] = (process.create_time(), words)
    return found


def _only_looks(words: Sequence[str]) -> bool:
    """Whether a call of the script is for a look, which needs no place; those options stand on the command line."""
    values = {f"--{task.value}": "" for task in Task if task.value}
    for word, following in itertools.pairwise([*words, ""]):
        option, separator, value = word.partition("=")
        if option in values:
            values[option] = value if separator else following
    return any(value.strip().casefold() not in ("", "false", "no", "0") for value in values.values())


def _script(words: Sequence[str]) -> str:
    """The name of the script that a command line runs in Python; nothing for other commands, ``-c`` and ``-m``."""
    if not words or not Path(words[0]).name.startswith("python"):
        return ""
    rest = iter(words[1:])
    for word in rest:
        if word in ("-X", "-W", "--check-hash-based-pycs"):
            next(rest, None)
        elif word.startswith(("-X", "-W")):
            continue
        elif word.startswith("-") and ("c" in word or "m" in word) and not word.startswith("--"):
            return ""
        elif not word.startswith("-"):
            return Path(word).name
    return ""


def _tools(*names: str) -> list[tuple[psutil.Process, str]]:
    """The running DCM4CHE tools and embedded ones with these names."""
    classes = {f"org.dcm4che3.tool.{name}.": name for name in names}
    modules = {f"niffler.embedded.{name}": name for name in names}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            for word in words[1:]:
                name = modules.get(word) or next((classes[start] for start in classes if word.startswith(start)), None)
                if name:
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found.append((process, name))
                    break
    return found


def _option(words: Sequence[str], option: str) -> str:
    return next((words[index + 1] for index, word in enumerate(words[:-1]) if word == option), "")
