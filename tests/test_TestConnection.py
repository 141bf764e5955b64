"""TestConnection.py as a user runs it: a process, one line, one exit code."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.ports import free_port
from tests.extraction import ROOT
from tests.pacs import faults
from tests.pacs.fault import Fault
from tests.pacs.scripted import ScriptedPacs

SUCCESS = "C-ECHO request status: 0x0000\n"
NOT_CONNECTED = "Association rejected, aborted or never connected\n"
MOST_SECONDS = 20.0
"""Ten, and what it takes Python to start on a busy machine."""
Begin = Callable[..., ScriptedPacs]


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    exit_code: int
    output: str
    errors: str


def run(script: Path, folder: Path, *arguments: str) -> Finished:
    """Run the script in a folder; it has to end in time."""
    process = subprocess.run(
        [sys.executable, str(script), *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=MOST_SECONDS, check=False,
    )  # fmt: skip
    return Finished(process.returncode, process.stdout, process.stderr)


@dataclass(frozen=True)
class ConnectionTest:
    """The script in a folder of its own."""

    folder: Path

    def run(self, *arguments: str) -> Finished:
        return run(ROOT / "TestConnection.py", self.folder, *arguments)

    def ask(self, source: str) -> Finished:
        """Run it with this PACS in system.json."""
        self.write_system(source)
        return self.run()

    def write_system(self, source: str, name: str = "system.json", **others: object) -> None:
        system = {"SrcAet": source, "QueryAet": "QBNIFFLER:4243", "DestAet": "QBNIFFLER", **others}
        (self.folder / name).write_text(json.dumps(system))


@pytest.fixture
def connection_test(tmp_path: Path) -> ConnectionTest:
    return ConnectionTest(tmp_path)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts a PACS that holds nothing."""
    (tmp_path / "archive").mkdir()
    with contextlib.ExitStack() as running:

        def start(*script: Fault) -> ScriptedPacs:
            return running.enter_context(ScriptedPacs(tmp_path / "archive", *script))

        yield start


def test_a_pacs_that_answers_is_a_success(connection_test: ConnectionTest, begin: Begin) -> None:
    pacs = begin()
    assert connection_test.ask(pacs.address) == Finished(0, SUCCESS, "")
    [request] = pacs.requests("echo")
    assert (request.calling_ae_title, request.called_ae_title) == ("QBNIFFLER", "FAULTY")


def test_the_settings_of_todays_niffler_will_do(connection_test: ConnectionTest, begin: Begin) -> None:
    connection_test.write_system(
        begin().address, DCM4CHEBin="/opt/dcm4che-5.22.5/bin", NightlyOnly=True, StartHour=19, EndHour=7, NifflerID=1,
        MaxNifflerProcesses=1,
    )  # fmt: skip
    assert connection_test.run() == Finished(0, SUCCESS, "")


def test_the_port_of_the_own_ae_may_be_taken_by_a_running_extraction(
    connection_test: ConnectionTest, begin: Begin
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        connection_test.write_system(begin().address, QueryAet=f"QBNIFFLER:{taken.getsockname()[1]}")
        assert connection_test.run() == Finished(0, SUCCESS, "")


def test_a_pacs_that_is_not_there_is_told_and_nothing_else(connection_test: ConnectionTest) -> None:
    assert connection_test.ask(f"FAULTY@127.0.0.1:{free_port()}") == Finished(1, NOT_CONNECTED, "")


def test_a_host_that_nobody_knows_is_told_and_nothing_else(connection_test: ConnectionTest) -> None:
    assert connection_test.ask("FAULTY@no-such-host.invalid:104") == Finished(1, NOT_CONNECTED, "")


@pytest.mark.parametrize(
    "fault",
    [
        faults.reject("permanent"),
        faults.reject("transient"),
        faults.reject_callers_except("SOMEBODY"),
        faults.reject_other_called("ANOTHER"),
        faults.abort("association"),
        faults.drop("association"),
        faults.abort("echo"),
        faults.drop("echo"),
    ],
    ids=[
        "rejects",
        "rejects for the moment",
        "does not know the caller",
        "is called by a wrong name",
        "aborts at once",
        "cuts the connection at once",
        "accepts and aborts",
        "accepts and cuts the connection",
    ],
)
def test_a_pacs_that_does_not_answer_the_echo_is_told_and_nothing_else(
    connection_test: ConnectionTest, begin: Begin, fault: Fault
) -> None:
    assert connection_test.ask(begin(fault).address) == Finished(1, NOT_CONNECTED, "")


def test_whoever_never_answers_does_not_hang_it(tmp_path: Path, begin: Begin) -> None:
    """All at once, for each takes its ten seconds."""
    with contextlib.ExitStack() as held:
        silent = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        full = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # its queue of connections is full after these
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        sources = {
            "a PACS that does not answer the association request": begin(faults.hang("association")).address,
            "a PACS that does not answer the C-ECHO": begin(faults.hang("echo")).address,
            "a server that says nothing": f"FAULTY@127.0.0.1:{silent.getsockname()[1]}",
            "a connection that is never made": f"FAULTY@127.0.0.1:{full.getsockname()[1]}",
            "a server that stops in its answer": held.enter_context(greeting_server(b"\x02\0\0\0\x10\0half")),
        }

        def ask(name: str) -> Finished:
            connection_test = ConnectionTest(tmp_path / name)
            connection_test.folder.mkdir()
            return connection_test.ask(sources[name])

        with ThreadPoolExecutor(len(sources)) as threads:
            finished = dict(zip(sources, threads.map(ask, sources), strict=True))
    assert finished == dict.fromkeys(sources, Finished(1, NOT_CONNECTED, ""))


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.2p1\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["SSH", "HTTP"]
)
def test_a_server_that_speaks_no_dicom_is_told_and_nothing_else(
    connection_test: ConnectionTest, greeting: bytes
) -> None:
    with greeting_server(greeting) as source:
        assert connection_test.ask(source) == Finished(1, NOT_CONNECTED, "")


@contextlib.contextmanager
def greeting_server(greeting: bytes) -> Iterator[str]:
    """A server that says this to the first who connects, and then nothing; as AET@HOST:PORT."""
    ended = threading.Event()

    def greet() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(greeting)
            ended.wait()

    with ThreadPoolExecutor(1) as threads, socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(MOST_SECONDS)
        greeted = threads.submit(greet)
        try:
            yield f"FAULTY@127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
        greeted.result()


def test_another_file_of_settings_can_be_named(connection_test: ConnectionTest, begin: Begin) -> None:
    connection_test.write_system(f"FAULTY@127.0.0.1:{free_port()}")
    (connection_test.folder / "machines").mkdir()
    connection_test.write_system(begin().address, "machines/other.json")
    assert connection_test.run("--NifflerSystem", "machines/other.json") == Finished(0, SUCCESS, "")
    elsewhere = str(connection_test.folder / "machines" / "other.json")
    assert connection_test.run("--NifflerSystem", elsewhere) == Finished(0, SUCCESS, "")


def test_the_settings_beside_the_script_serve_another_folder(tmp_path: Path, begin: Begin) -> None:
    """The script's folder holds the settings, and the current one does not."""
    suite, elsewhere = ConnectionTest(tmp_path / "suite"), tmp_path / "elsewhere"
    for folder in (suite.folder, elsewhere):
        folder.mkdir()
    (suite.folder / "niffler").symlink_to(ROOT / "niffler")
    script = Path(shutil.copy(ROOT / "TestConnection.py", suite.folder))
    suite.write_system(begin().address)
    assert run(script, elsewhere) == Finished(0, SUCCESS, "")


GOOD = {"SrcAet": "P@h:1", "QueryAet": "A:104", "DestAet": "A"}
WRONG = {
    "no JSON": (b"{", "JSON"),
    "no object": (b"[]", "JSON"),
    "not text": (b"\xff", "UTF-8"),
    "nothing": (b"{}", "SrcAet QueryAet DestAet"),
    "a PACS without a port": (json.dumps({**GOOD, "SrcAet": "P@host"}).encode(), "SrcAet P@host AET@HOST:PORT"),
    "an unknown key": (json.dumps({**GOOD, "NightlyOnyl": True}).encode(), "NightlyOnyl NightlyOnly"),
    "an hour that is none": (json.dumps({**GOOD, "StartHour": 24}).encode(), "StartHour 24 23"),
    "several things": (
        json.dumps({"SrcAet": "P@host", "QueryAet": "A", "EndHour": -1, "Unheard": "of"}).encode(),
        "SrcAet P@host QueryAet DestAet EndHour -1 Unheard",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_told_in_readable_lines(connection_test: ConnectionTest, name: str) -> None:
    content, words = WRONG[name]
    (connection_test.folder / "system.json").write_bytes(content)
    finished = connection_test.run()
    assert finished.exit_code == 2
    assert [word for word in words.split() if word not in finished.errors] == []
    assert all(line.startswith("system.json: ") for line in finished.errors.splitlines())
    assert finished.output == ""


def test_settings_that_are_not_there_are_told(connection_test: ConnectionTest) -> None:
    finished = connection_test.run("--NifflerSystem", "nowhere.json")
    assert finished.exit_code == 2
    assert finished.errors.startswith("nowhere.json: ")
    assert "No such file or directory" in finished.errors
    assert finished.output == ""


def test_an_unknown_option_is_told(connection_test: ConnectionTest) -> None:
    finished = connection_test.run("--NoSuchOption")
    assert finished.exit_code == 2
    assert "--NoSuchOption" in finished.errors
    assert "Traceback" not in finished.errors


def test_nothing_is_left_in_the_folder(connection_test: ConnectionTest, begin: Begin) -> None:
    connection_test.ask(begin().address)
    assert sorted(path.name for path in connection_test.folder.iterdir()) == ["archive", "system.json"]
