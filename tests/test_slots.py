"""Who else runs on the machine, told from real processes: places for extractions, leftover tools, ports."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from demo.ports import free_port
from niffler import slots
from niffler.dcm4che import tools_folder
from niffler.errors import CannotStartError
from niffler.shards import Shard
from niffler.slots import (
    LeftoverTool,
    Running,
    SlotTakenError,
    claim_file,
    claim_list,
    claim_receiving,
    claim_slot,
    end_processes,
    is_source_in_use,
    leftover_tools,
    port_holder,
    receives_into,
)
from tests.extraction import wait_until

ROOT = Path(__file__).resolve().parent.parent
TAIL = shutil.which("tail") or "tail"
PACS = "PACS@127.0.0.1:104"
AE = "QBNIFFLER:4243"
STORESCP = "org.dcm4che3.tool.storescp.StoreSCP"
FINDSCU = "org.dcm4che3.tool.findscu.FindSCU"
MOVESCU = "org.dcm4che3.tool.movescu.MoveSCU"
REFUSAL = re.compile(
    r"\[EXTRACTION FAILURE\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}: Previous extraction still running\. As such, your "
    r"extraction attempt was not successful this time\. Please wait until that completes and re-run your query\."
)
SIT_THERE = "#!/usr/bin/env python3\nimport os, sys\nprint(os.getpid(), flush=True)\nsys.stdin.read()\n"
START_A_TOOL = """
import os, shlex, subprocess, sys
tool = subprocess.Popen(shlex.split(os.environ["TOOL"]))
print(os.getpid(), tool.pid, flush=True)
sys.stdin.read()
"""
CLAIM = """
import os, sys
import psutil
psutil.PROCFS_PATH = sys.argv[1]
from niffler.slots import SlotTakenError, claim_slot
print(os.getpid(), flush=True)
sys.stdin.readline()
try:
    with claim_slot(sys.argv[2], int(sys.argv[3])):
        print("claimed", flush=True)
        sys.stdin.read()
except SlotTakenError as refusal:
    print("refused", flush=True)
    sys.exit(refusal.exit_code)
"""


class Machine:
    """The processes of one test in a /proc of their own, as others run on this machine, too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proc = folder / "proc"
        self.proc.mkdir()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                (self.proc / entry.name).symlink_to(entry)
        self._started: list[subprocess.Popen[str]] = []
        for pid in (1, os.getpid()):
            self.show(pid)
        self.java = self.script("java", "#!/bin/sh\nread line\n")
        """What sits there with the command line that it is given, as a tool of DCM4CHE would."""

    def show(self, pid: int) -> None:
        # Popen returns when the program is found, a moment before the kernel knows its command line.
        wait_until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() != b"")
        (self.proc / str(pid)).symlink_to(f"/proc/{pid}")

    def script(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def start(self, *command: str | Path, executable: str | None = None) -> "subprocess.Popen[str]":
        """Start a process that lives until its standard input is closed."""
        process = subprocess.Popen(
            command, executable=executable, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": tempfile.gettempdir(),
                 "NIFFLER_PYTHON": sys.executable, "TOOL": f"{self.java} {STORESCP} -b {AE}"},
        )  # fmt: skip
        self._started.append(process)
        self.show(process.pid)
        return process

    def start_python(self, *command: str | Path) -> "subprocess.Popen[str]":
        """Start a process, and wait until the script that it runs has told its PIDs."""
        process = self.start(*command)
        for pid in map(int, line_of(process).split()):
            if not (self.proc / str(pid)).is_symlink():
                self.show(pid)
        return process

    def end(self) -> None:
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    running = Machine(tmp_path)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(running.proc))
    yield running
    running.end()


@pytest.fixture
def extraction_script(machine: Machine) -> Path:
    return machine.script("ColdDataRetriever.py", SIT_THERE)


def counted() -> int:
    with claim_slot("NOBODY@127.0.0.1:1", 99) as running:
        return running.niffler_processes


# Who is an extraction


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-u"],
        ["-X", "dev"],
        ["-W", "ignore"],
        ["-B", "-O", "-s"],
        ["-Xdev", "-uB"],
        ["-Ximporttime", "-Wignore::DeprecationWarning"],
    ],
)
def test_a_python_process_counts_whose_script_has_that_name(
    machine: Machine, extraction_script: Path, words: list[str]
) -> None:
    assert counted() == 0
    machine.start_python(sys.executable, *words, extraction_script, "--CsvFile", "x.csv")
    assert counted() == 1


def test_a_script_counts_that_is_started_by_a_relative_path_or_by_itself(
    machine: Machine, extraction_script: Path
) -> None:
    machine.start_python(sys.executable, extraction_script.name)
    machine.start_python(f"./{extraction_script.name}")
    assert counted() == 2


def test_an_extraction_under_timeout_or_nohup_counts_once(machine: Machine, extraction_script: Path) -> None:
    machine.start_python("timeout", "300", sys.executable, extraction_script)
    assert counted() == 1
    machine.start_python("nohup", sys.executable, extraction_script)
    assert counted() == 2


def test_what_only_has_that_name_on_its_command_line_does_not_count(machine: Machine, extraction_script: Path) -> None:
    other = machine.script("other.py", SIT_THERE)
    commands: list[list[str | Path]] = [
        [TAIL, "-f", extraction_script],
        ["timeout", "300", TAIL, "-f", extraction_script],
        ["nohup", TAIL, "-f", extraction_script],
        ["/bin/sh", "-c", "read line", extraction_script],
        ["/bin/sh", machine.script("python", "read line"), extraction_script],
    ]
    for command in commands:
        machine.start(*command)
    machine.start("vi", "-f", extraction_script, executable=TAIL)
    machine.start_python(sys.executable, other, extraction_script)
    machine.start_python(sys.executable, "-c", SIT_THERE, extraction_script)
    machine.start_python(sys.executable, "-c", f"{SIT_THERE}# {extraction_script}")
    machine.start_python(sys.executable, "-m", other.stem, extraction_script)
    machine.start_python(sys.executable, "-um", other.stem, extraction_script)
    assert counted() == 0


def test_an_extraction_that_has_ended_and_waits_for_its_parent_does_not_count(
    machine: Machine, extraction_script: Path
) -> None:
    process = machine.start_python(sys.executable, extraction_script)
    process.kill()
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert counted() == 0


# A place for each


def test_the_log_line_says_how_many_run(machine: Machine, extraction_script: Path) -> None:
    machine.start_python(sys.executable, extraction_script)
    machine.start(machine.java, STORESCP, "-b", AE)
    with claim_slot(PACS, 2) as running:
        assert running == Running(1, 1)
        assert running.in_words == "Number of running niffler processes: 1 and storescp processes: 1"


def test_where_as_many_run_as_may_the_next_is_refused_in_the_words_of_the_log(
    machine: Machine, extraction_script: Path
) -> None:
    machine.start_python(sys.executable, extraction_script)
    with pytest.raises(SlotTakenError) as refusal, claim_slot(PACS, 1):
        pass
    assert REFUSAL.fullmatch(str(refusal.value))
    assert refusal.value.exit_code == 3
    assert refusal.value.running == Running(1, 0)
    with claim_slot(PACS, 2):
        pass


def test_a_pacs_has_one_extraction_at_a_time_and_other_pacs_have_theirs(machine: Machine) -> None:
    with claim_slot(PACS, 9):
        with pytest.raises(SlotTakenError), claim_slot(PACS, 9):
            pass
        with claim_slot("OTHER@127.0.0.1:104", 9):
            pass
    with claim_slot(PACS, 9):
        pass


def claiming(machine: Machine, source: str, most: int) -> "subprocess.Popen[str]":
    """An extraction that is started and waits for a line before it claims its place."""
    script = machine.script("ColdDataRetriever.py", CLAIM)
    return machine.start_python(sys.executable, script, machine.proc, source, str(most))


def test_of_several_that_start_at_once_one_has_the_pacs(machine: Machine) -> None:
    processes = [claiming(machine, PACS, 99) for _ in range(4)]
    for process in processes:
        tell(process)
    assert sorted(map(line_of, processes)) == ["claimed", "refused", "refused", "refused"]


def test_of_several_that_start_at_once_the_oldest_have_the_places(machine: Machine) -> None:
    processes = [claiming(machine, f"PACS{number}@127.0.0.1:104", 2) for number in range(4)]
    for process in reversed(processes):
        tell(process)
    assert [line_of(process) for process in processes] == ["claimed", "claimed", "refused", "refused"]
    assert [process.wait(30) for process in processes[2:]] == [3, 3]


def test_a_place_is_free_again_when_its_holder_was_killed(machine: Machine) -> None:
    holder = claiming(machine, PACS, 1)
    tell(holder)
    assert line_of(holder) == "claimed"
    with pytest.raises(SlotTakenError), claim_slot(PACS, 99):
        pass
    holder.kill()
    holder.wait()
    with claim_slot(PACS, 1):
        pass


def test_a_file_is_held_against_others_by_whatever_path_it_is_named(machine: Machine) -> None:
    path = machine.folder / "list.csv"
    link = machine.folder / "link.csv"
    link.symlink_to(path)
    with claim_file(path):
        for name in (path, link, machine.folder / "tmp" / ".." / "list.csv"):
            with pytest.raises(CannotStartError, match="another extraction works on it") as refusal, claim_file(name):
                pass
            assert str(name) in str(refusal.value)
        with claim_file(machine.folder / "other.csv"):
            pass
    with claim_file(link):
        pass


def test_shards_of_one_list_share_its_pacs_and_nobody_else_comes_in_between(machine: Machine) -> None:
    with claim_slot(PACS, 9, party="list"), claim_slot(PACS, 9, party="list"):
        for party in ("", "other list"):
            with pytest.raises(SlotTakenError), claim_slot(PACS, 9, party=party):
                pass
        assert is_source_in_use(PACS)
    assert not is_source_in_use(PACS)
    with claim_slot(PACS, 9), pytest.raises(SlotTakenError), claim_slot(PACS, 9, party="list"):
        pass
    with claim_slot(PACS, 9, party="other list"):
        pass


def test_of_a_list_the_shards_of_one_split_are_worked_on_together_each_by_one_run(machine: Machine) -> None:
    path = machine.folder / "list.csv"

    def refused(shard: Shard | None) -> str:
        with pytest.raises(CannotStartError) as refusal, claim_list(path, shard):
            pass
        return str(refusal.value).partition(": another extraction works on it")[0]

    with claim_list(path, Shard(1, 3)), claim_list(path, Shard(2, 3)):
        assert refused(Shard(1, 3)) == str(machine.folder / "list_mod.shard-1-of-3.csv")
        assert refused(Shard(1, 2)) == refused(None) == str(machine.folder / "list_mod.csv")
        with claim_list(machine.folder / "other.csv", None):
            pass
    with claim_list(path, None):
        assert refused(None) == refused(Shard(1, 3)) == str(machine.folder / "list_mod.csv")
    with claim_list(path, Shard(1, 2)):
        pass


def test_two_shards_on_one_machine_do_not_receive_under_the_same_title(machine: Machine) -> None:
    in_the_way = pytest.raises(CannotStartError, match="another shard receives as NIFFLER1")
    with claim_receiving("NIFFLER1"), claim_receiving("NIFFLER2"), in_the_way, claim_receiving("NIFFLER1"):
        pass
    with claim_receiving("NIFFLER1"):
        pass


def test_the_locks_can_be_used_by_every_user_whatever_the_umask(machine: Machine) -> None:
    before = os.umask(0o077)
    try:
        with claim_slot(PACS, 9), claim_file(machine.folder / "list.csv"):
            pass
    finally:
        os.umask(before)
    [folder] = (machine.folder / "tmp").iterdir()
    assert folder.stat().st_mode & 0o7777 == 0o1777
    assert len(list(folder.iterdir())) == 3
    assert all(lock.stat().st_mode & 0o444 == 0o444 for lock in folder.iterdir())


@pytest.mark.parametrize("hostile", ["file", "link", "link as lock"])
def test_what_somebody_put_in_place_of_the_locks_is_an_error_that_names_it(machine: Machine, hostile: str) -> None:
    folder = machine.folder / "tmp" / "niffler-locks"
    victim = machine.folder / "victim"
    if hostile == "file":
        folder.touch()
    elif hostile == "link":
        folder.symlink_to(machine.folder)
    else:
        folder.mkdir()
        (folder / "count.lock").symlink_to(victim)
    with pytest.raises(CannotStartError, match=r"niffler-locks.*remove it"), claim_slot(PACS, 9):
        pass
    assert not victim.exists()


# Tools that a dead run left


def found(leftovers: Sequence[LeftoverTool]) -> dict[int, str]:
    return {leftover.pid: leftover.name for leftover in leftovers}


def test_tools_of_this_ae_and_this_pacs_without_a_living_extraction_are_left_over(machine: Machine) -> None:
    commands = {
        "storescp": ["-cp", "etc:lib", STORESCP, "--accept-unknown", "-b", AE],
        "findscu": [FINDSCU, "-c", PACS, "-b", AE],
        "movescu": ["niffler.embedded.movescu", "-c", PACS, "-b", AE, "--dest", "X"],
    }
    expected = {machine.start(machine.java, *words).pid: name for name, words in commands.items()}
    leftovers = leftover_tools(AE, PACS)
    assert found(leftovers) == expected
    assert all(leftover.mine for leftover in leftovers)
    assert {leftover.user for leftover in leftovers} == {psutil.Process().username()}


def test_tools_of_another_ae_or_another_pacs_are_left_alone(machine: Machine) -> None:
    for words in (
        [STORESCP, "-b", "QBNIFFLER:4244"],
        [STORESCP, "-b", "OTHER:4243"],
        [STORESCP],
        [FINDSCU, "-c", "OTHER@127.0.0.1:104", "-b", AE],
        [MOVESCU, "-c", PACS, "-b", "OTHER:4243"],
        ["org.dcm4che3.tool.storescu.StoreSCU", "-c", PACS, "-b", AE],
        ["niffler.embedded.bin", "-c", PACS, "-b", AE],
    ):
        machine.start(machine.java, *words)
    assert leftover_tools(AE, PACS) == []


def test_a_tool_of_a_living_extraction_is_not_left_over_until_that_is_killed(machine: Machine) -> None:
    script = machine.script("ColdDataRetriever.py", START_A_TOOL)
    extraction = machine.start_python(sys.executable, script)
    assert leftover_tools(AE, PACS) == []
    extraction.kill()
    extraction.wait()
    [leftover] = leftover_tools(AE, PACS)
    assert leftover.name == "storescp"
    end_processes([leftover.pid])
    assert leftover_tools(AE, PACS) == []


def test_a_tool_under_something_else_than_an_extraction_is_left_over(machine: Machine) -> None:
    script = machine.script("other.py", START_A_TOOL)
    machine.start_python(sys.executable, script)
    assert list(found(leftover_tools(AE, PACS)).values()) == ["storescp"]


@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can start a process of another user, with setpriv of util-linux; run the tests as root",
)
def test_a_tool_of_another_user_is_told_as_not_mine(machine: Machine) -> None:
    command = ["setpriv", "--reuid", "65534", "--clear-groups", "/bin/sh", "-c", "read line", STORESCP, "-b", AE]
    process = machine.start(*command)
    wait_until(lambda: psutil.Process(process.pid).uids().real == 65534)
    [leftover] = leftover_tools(AE, PACS)
    assert (leftover.pid, leftover.mine) == (process.pid, False)
    assert leftover.user == psutil.Process(process.pid).username()


# Ending processes


def test_processes_are_asked_to_end_and_those_that_are_gone_are_no_error(machine: Machine) -> None:
    gone = machine.start(machine.java)
    gone.kill()
    gone.wait()
    processes = [machine.start("/bin/sh", "-c", "trap 'echo asked; exit' TERM; echo ready; read line") for _ in "ab"]
    assert [line_of(process) for process in processes] == ["ready", "ready"]
    end_processes([gone.pid, *(process.pid for process in processes)])
    assert all(process.poll() is not None for process in processes)
    assert [line_of(process) for process in processes] == ["asked", "asked"]
    end_processes([])


def test_a_process_that_does_not_go_is_ended_by_force(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_PATIENCE_SECONDS", 0.5)
    stubborn = machine.start("/bin/sh", "-c", "trap '' TERM; echo ready; read line")
    assert line_of(stubborn) == "ready"
    end_processes([stubborn.pid])
    assert stubborn.poll() is not None


# A real tool, its port and its folder


@pytest.fixture
def receiver(machine: Machine) -> "subprocess.Popen[str]":
    """The embedded storescp as a run starts it, listening."""
    (machine.folder / "images").mkdir()
    process = machine.start(
        tools_folder("embedded") / "storescp", "--accept-unknown", "--directory", "images", "--filepath",
        "{00080018}", "-b", f"QBNIFFLER:{free_port()}",
    )  # fmt: skip
    assert "Start TCP Listener" in line_of(process)
    return process


def test_a_real_receiver_is_known_as_one(machine: Machine, receiver: "subprocess.Popen[str]") -> None:
    words = psutil.Process(receiver.pid).cmdline()
    [leftover] = leftover_tools(words[-1], PACS)
    assert (leftover.pid, leftover.name) == (receiver.pid, "storescp")
    with claim_slot(PACS, 9) as running:
        assert running.storescp_processes == 1


def test_who_listens_on_a_port_is_named(machine: Machine, receiver: "subprocess.Popen[str]") -> None:
    process = psutil.Process(receiver.pid)
    port = int(process.cmdline()[-1].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as own:
        assert port_holder(port) == f"{process.name()} (process {receiver.pid}) of user {process.username()}"
        assert f"(process {os.getpid()})" in port_holder(own.getsockname()[1])


def test_a_port_that_nobody_listens_on_is_held_by_nobody(machine: Machine) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert port_holder(bound.getsockname()[1]) == ""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert port_holder(client.getsockname()[1]) == ""


def test_the_folder_that_a_receiver_writes_into_is_known_by_its_path_from_the_receivers_folder(
    machine: Machine, receiver: "subprocess.Popen[str]"
) -> None:
    assert receives_into(machine.folder / "images")
    assert not receives_into(machine.folder)
    (machine.folder / "link").symlink_to("images")
    assert receives_into(machine.folder / "link")
    machine.start(machine.java, STORESCP, "--directory", machine.folder / "absolute")
    assert receives_into(machine.folder / "absolute")
    machine.start(machine.java, FINDSCU, "--directory", machine.folder / "no receiver")
    assert not receives_into(machine.folder / "no receiver")
