"""What a run costs while it waits: for the nightly window, and for a PACS that does not answer."""

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psutil

from benchmarks.by_hand import BareTools
from benchmarks.figures import Check, Figure, Report
from benchmarks.processes import running, wait_until, wait_until_it_says
from benchmarks.script import COMMAND, LIST, write_settings

_MOST_PERCENT = 1
_START_SECONDS = 3.0


def measure_idle(tools: BareTools, seconds: float, folder: Path) -> Report:
    """Processor time of the script and its tools, in percent of one core."""
    hour = datetime.now().hour
    shut = {"NightlyOnly": True, "StartHour": (hour + 2) % 24, "EndHour": (hour + 3) % 24}
    with _silent_peer() as port:
        silent = replace(tools, source=f"SILENT@127.0.0.1:{port}")
        window = _percent(silent, folder / "window", seconds, shut)
        pacs = _percent(silent, folder / "pacs", seconds, {"ConnectTimeoutSeconds": 600})
    figures = [
        Figure("idle.window", "waiting for the nightly window", "%", (window,)),
        Figure("idle.pacs", "waiting for a PACS that does not answer", "%", (pacs,)),
    ]
    checks = [Check(figure.title, figure.median, "%", at_most=_MOST_PERCENT) for figure in figures]
    return Report(f"Processor time of the script and its tools over {seconds:g} s, of one core", figures, checks)


def _percent(tools: BareTools, folder: Path, seconds: float, settings: Mapping[str, object]) -> float:
    write_settings(folder, tools, ["PatientID"], **settings)
    (folder / LIST).write_text("PatientID\n00001234\n")
    output = folder / "output.txt"
    with running(COMMAND, output, folder=folder) as process:
        script = psutil.Process(process.pid)
        if "NightlyOnly" in settings:
            wait_until_it_says(process, "the nightly window is shut", output)
        else:
            wait_until(lambda: any(_asks(tools, child) for child in script.children()), process, output)
        time.sleep(_START_SECONDS)
        before = _processor_seconds(script)
        time.sleep(seconds)
        return (_processor_seconds(script) - before) / seconds * 100


def _asks(tools: BareTools, process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return tools.source in process.cmdline()
    return False


def _processor_seconds(script: psutil.Process) -> float:
    """Of the script, the tools that it runs, and those that have ended."""
    own = script.cpu_times()
    tools = [child.cpu_times() for child in script.children(recursive=True)]
    return float(own.children_user + own.children_system + sum(one.user + one.system for one in (own, *tools)))


@contextlib.contextmanager
def _silent_peer() -> Iterator[int]:
    """Somebody who takes the connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])
