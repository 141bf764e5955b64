"""Who else is on the machine: other extractions, what a killed one left behind, the receiver and its port."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from demo.studies import WrittenStudy, generate_studies
from niffler.dcm4che import tools_folder
from tests.extraction import (
    AE_TITLE,
    SCRIPT,
    TOOLS,
    Extraction,
    Finished,
    all_instances,
    from_pacs,
    tools_running,
    wait_until,
)
from tests.pacs import faults
from tests.pacs.client import Receiver

RUNNING = r"^INFO:root:Number of running niffler processes: (\d+) and storescp processes: (\d+)$"
REFUSAL = (
    r"^ERROR:root:\[EXTRACTION FAILURE\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}: Previous extraction still running\. As "
    r"such, your extraction attempt was not successful this time\. Please wait until that completes and re-run your "
    r"query\.$"
)


@pytest.fixture
def studies(tmp_path: Path) -> tuple[WrittenStudy, ...]:
    return generate_studies(tmp_path / "studies", 4, instances=3, size=16)


@pytest.fixture
def decoys(tmp_path: Path) -> Iterator[int]:
    """So many processes of each kind that only have the script's name on their command line."""
    tail = "/usr/bin/tail"
    of_each = 30
    script = tmp_path / SCRIPT.name
    script.touch()
    (tmp_path / "editor.py").touch()
    commands: list[tuple[str | Path, ...]] = [
        (tail, "-f", script),
        ("timeout", "300", tail, "-f", script),
        ("nohup", tail, "-f", script),
        ("vi", "-f", script),
        ("python3.11", "-f", "editor.py", script),
    ]
    started = [
        subprocess.Popen(
            command, executable=tail if command[0] in ("vi", "python3.11") else None, cwd=tmp_path,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for command in commands for _ in range(of_each)
    ]  # fmt: skip
    yield of_each
    for process in started:
        process.terminate()
    for process in started:
        process.wait()


def patients(extraction: Extraction, studies: tuple[WrittenStudy, ...]) -> None:
    extraction.write_list("EMPI", [[study.patient_id] for study in studies])


REASON = r"(?:another extraction uses the same SrcAet, \S+|MaxNifflerProcesses in system.json is \d+)"


def is_refused(finished: Finished) -> bool:
    """Whether a run ended because of another one, with the two lines that say so, the reason, and nothing else."""
    lines = re.fullmatch(f"{RUNNING}\n{REFUSAL}\nINFO:root:{REASON}\n", finished.output, re.MULTILINE)
    return finished.exit_code == 3 and lines is not None and int(lines[1]) >= 2


def test_a_second_extraction_from_the_same_pacs_and_one_too_many_are_refused_at_once(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    second = Extraction(tmp_path / "second")
    one_too_many = Extraction(tmp_path / "third", system={"MaxNifflerProcesses": 1})
    same_list = Extraction(tmp_path / "fourth", config={"CsvFile": str(tmp_path / "work" / "list.csv")})
    for extraction in (second, one_too_many):
        patients(extraction, studies)
    refused: list[Finished] = []

    def start_others() -> None:
        running = [second.start(), one_too_many.start(), same_list.start()]
        refused.extend(map(Extraction.finish, (second, one_too_many, same_list), running))

    with from_pacs(tmp_path, faults.call(start_others, "move").first()) as (first, pacs):
        second.source = pacs.address
        patients(first, studies)
        finished = first.run()
        assert is_refused(refused[0]), refused
        assert is_refused(refused[1]), refused
        assert refused[2].exit_code == 3
        assert "another extraction works on it" in refused[2].output
        assert finished.exit_code == 0, finished.output
        assert re.search(RUNNING, finished.output, re.MULTILINE)
        assert set(first.instances()) == all_instances(studies), "the first is not disturbed"


def test_of_two_that_start_in_the_same_instant_exactly_one_runs(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    running: list[subprocess.Popen[str]] = []

    def wait_for_the_other() -> None:
        wait_until(lambda: any(process.poll() is not None for process in running), seconds=15)

    with from_pacs(tmp_path, faults.call(wait_for_the_other, "find")) as (one, pacs):
        other = Extraction(tmp_path / "other", pacs.address, port=one.port)
        for extraction in (one, other):
            patients(extraction, studies)
        running += [one.start(), other.start()]
        finished = [one.finish(running[0]), other.finish(running[1])]
        assert sorted(end.exit_code for end in finished) == [0, 3], finished
        assert [is_refused(end) for end in finished].count(True) == 1
        assert sorted(pacs.moved()) == sorted(study.study_instance_uid for study in studies)


def test_an_editor_tail_timeout_and_nohup_with_the_name_of_the_script_do_not_count(tmp_path: Path, decoys: int) -> None:
    extraction = Extraction(tmp_path / "work", system={"MaxNifflerProcesses": decoys})
    extraction.write_list("EMPI;Accession", [["1;2"]])
    finished = extraction.run(under=("nohup", "timeout", "300"))
    counted = re.search(RUNNING, finished.output, re.MULTILINE)
    assert counted, finished.output
    assert 1 <= int(counted[1]) < decoys
    assert "separated by semicolons" in finished.output, "it comes as far as the list, and no further"
    assert finished.exit_code == 2


def test_a_port_that_is_taken_ends_the_run_with_the_name_of_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        extraction = Extraction(tmp_path / "work", port=holder.getsockname()[1])
        extraction.write_list("EMPI", [["1"]])
        finished = extraction.run()
    assert finished.exit_code == 3, finished.output
    said = finished.output.splitlines()[-1]
    name = psutil.Process().name()
    assert f"port {extraction.port} is held by {name} (process {os.getpid()}) of user" in said
    assert "QueryAet" in said


def test_a_receiver_that_is_killed_midway_is_started_again_and_everything_is_retrieved(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    with from_pacs(tmp_path) as (extraction, pacs):

        def kill_receiver() -> None:
            for process in tools_running(extraction.port, "storescp"):
                process.kill()
                process.wait()

        pacs.script(faults.call(kill_receiver, "move", after=1).nth(2))
        patients(extraction, studies)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert finished.output.count("starting it again") == 1
        assert extraction.words() == ["retrieved"] * 4
        assert set(extraction.instances()) == all_instances(studies)


def test_a_receiver_that_dies_four_times_ends_the_run(tmp_path: Path, studies: tuple[WrittenStudy, ...]) -> None:
    with from_pacs(tmp_path, faults.reject()) as (extraction, _):
        extraction.system["GiveUpMinutes"] = 5
        patients(extraction, studies)

        def has_listened(times: int) -> bool:
            output = extraction.folder / "storescp.out"
            return output.exists() and output.read_text().count("Start TCP Listener") == times

        process = extraction.start()
        for death in range(4):
            if death:
                extraction.wait_until_it_says("starting it again", times=death)
            wait_until(lambda times=death: has_listened(times + 1))  # type: ignore[misc]
            [receiver] = tools_running(extraction.port, "storescp")
            receiver.kill()
            wait_until(lambda gone=receiver: not gone.is_running())  # type: ignore[misc]
        finished = extraction.finish(process)
        assert finished.exit_code == 4, finished.output
        assert "storescp ended 4 times" in finished.output
        assert extraction.words() == ["pending"] * 4
        assert "Traceback" not in finished.output


def test_the_receiver_that_a_killed_run_left_is_ended_and_the_log_says_so(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    with from_pacs(tmp_path) as (extraction, _):
        patients(extraction, studies[:1])
        extraction.storage.mkdir()
        command = [str(tools_folder(TOOLS) / "storescp"), "--directory", str(extraction.storage)]
        leftover = subprocess.Popen(
            [*command, "-b", f"{AE_TITLE}:{extraction.port}"], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "NIFFLER_PYTHON": sys.executable},
        )  # fmt: skip
        assert leftover.stdout is not None
        threading.Thread(target=leftover.wait).start()  # a process that nobody waits for would stay as a zombie
        try:
            with leftover.stdout as printed:
                assert any("Start TCP Listener" in line for line in printed)
                finished = extraction.run()
            assert finished.exit_code == 0, finished.output
            assert leftover.wait(5) in (143, -signal.SIGTERM)
        finally:
            leftover.kill()
        assert (
            f"ending storescp (process {leftover.pid}), left over from an extraction that was killed" in finished.output
        )


def test_images_for_another_ae_need_no_receiver_here(tmp_path: Path, studies: tuple[WrittenStudy, ...]) -> None:
    with from_pacs(tmp_path) as (extraction, pacs), Receiver("ELSEWHERE") as receiver:
        pacs.add_destination("ELSEWHERE", "127.0.0.1", receiver.port)
        tools: list[list[psutil.Process]] = []
        pacs.script(faults.call(lambda: tools.append(tools_running(extraction.port, "storescp")), "move"))
        extraction.system["DestAet"] = "ELSEWHERE"
        patients(extraction, studies)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["retrieved"] * 4
        assert set(receiver.sop_instance_uids()) == all_instances(studies)
        assert tools == [[]] * 4
        assert re.search("^INFO:root:DestAet ELSEWHERE .* the receiver is external", finished.output, re.MULTILINE)
        assert not (extraction.folder / "storescp.out").exists()
