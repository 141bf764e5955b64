"""Processes that are measured: started with their output in a file, waited for, ended with all that they started."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.figures import BenchmarkError

_LONGEST_SECONDS = 1800.0
_START_SECONDS = 60.0

Process = subprocess.Popen[bytes]


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str], output: Path, *, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """A process that is ended with all of its children in the end."""
    with output.open("ab") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        _end(process)


def seconds_of(
    commands: Sequence[Sequence[str]], output: Path, *, folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> float:  # fmt: skip
    """Run some processes side by side; the seconds until the last has ended. All of them have to end well."""
    with contextlib.ExitStack() as ending:
        began = time.perf_counter()
        processes = [
            ending.enter_context(running(command, output, folder=folder, environment=environment))
            for command in commands
        ]
        for process in processes:
            wait_for_end(process, output)
        return time.perf_counter() - began


def wait_for_end(process: Process, output: Path) -> None:
    """Wait until a process has ended well."""
    # Popen.wait looks every 50 ms when it is given a timeout, which is too seldom for what is measured here.
    watchdog = threading.Timer(_LONGEST_SECONDS, process.kill)
    watchdog.start()
    try:
        exit_code = process.wait()
    finally:
        watchdog.cancel()
    if exit_code != 0:
        raise BenchmarkError(f"{process.args!r} ended with exit code {exit_code}:\n{_tail(output)}")


def wait_until_listening(process: Process, port: int, output: Path) -> None:
    """Wait until somebody listens on a port; the process has to live."""

    def listens() -> bool:
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            for connection in psutil.net_connections("tcp")
        )

    wait_until(listens, process, output)


def wait_until_it_says(process: Process, text: str, output: Path) -> None:
    """Wait for a text in the output of a process."""
    wait_until(lambda: text in output.read_text(errors="replace"), process, output)


def wait_until(happened: Callable[[], bool], process: Process, output: Path) -> None:
    """Wait for something that a living process brings about."""
    deadline = time.monotonic() + _START_SECONDS
    while not happened():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchmarkError(f"{process.args!r} did not start:\n{_tail(output)}")
        time.sleep(0.02)


def first_line(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """The first line that a command prints; nothing where there is no such command."""
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=_START_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next(iter(done.stdout.decode(errors="replace").strip().splitlines()), "")


def _end(process: Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)


def _tail(output: Path) -> str:
    return "\n".join(output.read_text(errors="replace").splitlines()[-10:])
