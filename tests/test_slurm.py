"""The job script for Slurm on a real cluster: a node and a task that die, the night's end, the time limit."""

import contextlib
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from demo.studies import generate_studies
from tests.extraction import ROOT, Extraction
from tests.pacs import faults
from tests.pacs.fault import Fault
from tests.pacs.journal import Request
from tests.slurm import Cluster, cluster, missing, wait_for
from tests.test_sharded_runs import Split, contents, split

pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.timeout(600)]
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"}


class Submitted:
    """The suite's folder, which all nodes share, and what was submitted in it."""

    def __init__(self, nodes: Cluster, one: Split) -> None:
        self.nodes = nodes
        self.machine = one.machine(1)
        for name in ("ColdDataRetriever.py", "niffler", "deploy"):
            (self.machine.folder / name).symlink_to(ROOT / name)

    def submit(self, array: str) -> str:
        """Submit the shipped script; returns the number of the array job."""
        self.machine.write_settings()
        command = ("sbatch", f"--array={array}", "--mem=0", "deploy/slurm/extract.sbatch")
        return self.nodes.run(*command, cwd=self.machine.folder, NIFFLER_PYTHON=sys.executable).split()[-1]

    def state(self, task: str) -> str:
        return self.nodes.jobs().get(task, {}).get("JobState", "")

    def wait_until_ended(self, *tasks: str) -> None:
        wait_for(lambda: {self.state(task) for task in tasks} <= ENDED, self.output)

    def output(self) -> str:
        return "".join(f"{path.name}: {path.read_text()}" for path in sorted(self.machine.folder.glob("niffler-*.out")))

    def extraction(self, task: str) -> psutil.Process:
        """The process of the script that a task runs."""
        job, _, index = task.partition("_")
        wanted = {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": index, **self.nodes.own}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if "ColdDataRetriever.py" in process.cmdline() and wanted.items() <= process.environ().items():
                    return process
        raise AssertionError(f"{task} runs no extraction")


@pytest.fixture
def three_nodes(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster", 3) as running:
        yield running


def test_an_array_brings_the_files_of_an_unsplit_run_although_a_node_and_a_task_die(
    tmp_path: Path, three_nodes: Cluster
) -> None:
    studies = generate_studies(tmp_path / "studies", 12, instances=2, size=16)
    with split(tmp_path, studies) as one:
        job = Submitted(three_nodes, one)

        def of_shard(number: int, request: Request) -> bool:
            return request.destination == f"{one.title}{number}"

        def lose_the_node() -> None:
            three_nodes.fail_node(three_nodes.jobs()["1_1"]["NodeList"])

        def kill_the_task() -> None:
            job.extraction("1_2").kill()

        one.pacs.script(
            faults.call(lose_the_node, "move").when(lambda request: of_shard(1, request)).nth(3),
            faults.call(kill_the_task, "move").when(lambda request: of_shard(2, request)).nth(2),
        )
        assert job.submit("1-3") == "1"
        job.wait_until_ended("1_2")
        assert three_nodes.jobs()["1_2"]["ExitCode"] == "137:0", "a run that was killed is none that succeeded"
        three_nodes.run("scontrol", "requeue", "1_2")
        wait_for(lambda: three_nodes.jobs()["1_1"]["Restarts"] == "1", job.output)
        for task in ("1_1", "1_2"):
            three_nodes.start_soon(task)
        job.wait_until_ended("1_1", "1_2", "1_3")
        assert [job.state(task) for task in ("1_1", "1_2", "1_3")] == ["COMPLETED"] * 3, job.output()
        assert one.outcomes(3) == {study.patient_id: "retrieved" for study in studies}
        moved = one.pacs.moved()
        assert len(set(moved)) == 12
        assert len(moved) <= 14, "nothing is moved again but what was under way when the node and the task died"

        one.pacs.script()
        again = Extraction(tmp_path / "unsplit", one.pacs.address, one.unsplit.port)
        again.write_list("EMPI", [[study.patient_id] for study in studies])
        assert again.run().exit_code == 0
        assert one.images() == contents(again.storage)


def test_at_the_end_of_the_night_the_whole_array_is_submitted_once_for_the_next_one_with_its_bound(
    tmp_path: Path, three_nodes: Cluster
) -> None:
    studies = generate_studies(tmp_path / "studies", 4, instances=1, size=16)
    with split(tmp_path, studies) as one:
        job = Submitted(three_nodes, one)
        opening = (datetime.now().hour + 2) % 24
        job.machine.system |= {"NightlyOnly": True, "StartHour": opening, "EndHour": (opening + 1) % 24}
        assert job.submit("1-3%2") == "1"
        job.wait_until_ended("1_1", "1_2", "1_3")
        assert [job.state(task) for task in ("1_1", "1_2", "1_3")] == ["COMPLETED"] * 3, job.output()
        assert one.pacs.requests() == []
        jobs = three_nodes.jobs()
        [waiting] = [told for task, told in jobs.items() if not task.startswith("1_")]
        assert (waiting["JobState"], waiting["ArrayTaskId"], waiting["ArrayTaskThrottle"]) == ("PENDING", "1-3%2", "2")
        assert datetime.fromisoformat(waiting["StartTime"]).hour == opening

        job.machine.system["NightlyOnly"] = False
        job.machine.write_settings()
        three_nodes.start_soon(waiting["JobId"])
        tasks = [f"{waiting['JobId']}_{number}" for number in (1, 2, 3)]
        wait_for(lambda: [job.state(task) for task in tasks] == ["COMPLETED"] * 3, job.output)
        assert one.outcomes(3) == {study.patient_id: "retrieved" for study in studies}


def test_near_the_time_limit_a_run_saves_and_goes_on_as_another_job_and_a_cancelled_one_does_not(
    tmp_path: Path, three_nodes: Cluster
) -> None:
    studies = generate_studies(tmp_path / "studies", 12, instances=1, size=16)
    with split(tmp_path, studies) as one:
        job = Submitted(three_nodes, one)

        def when_a_shard_is_at_its_second_study(number: int, *command: str) -> Fault:
            strike = faults.call(lambda: three_nodes.run(*command), "move")
            return strike.when(lambda request: request.destination == f"{one.title}{number}").nth(2)

        one.pacs.script(
            when_a_shard_is_at_its_second_study(1, "scancel", "1_1"),
            when_a_shard_is_at_its_second_study(3, "scancel", "--batch", "--signal=USR1", "1_3"),
            faults.slow("move", seconds=0.2),
        )
        assert job.submit("1-3") == "1"
        job.wait_until_ended("1_1", "1_2", "1_3")
        assert [job.state(task) for task in ("1_1", "1_2", "1_3")] == ["CANCELLED", "COMPLETED", "COMPLETED"]
        assert job.output().count("stopped by SIGTERM; start the same command again to go on") == 2
        assert not list(one.unsplit.folder.glob("*.journal")), "both have saved"
        assert len(one.pacs.moved()) < 12
        [again] = {task.partition("_")[0] for task in three_nodes.jobs()} - {"1"}
        tasks = [f"{again}_{number}" for number in (1, 2, 3)]
        wait_for(lambda: [job.state(task) for task in tasks] == ["COMPLETED"] * 3, job.output)
        assert one.outcomes(3) == {study.patient_id: "retrieved" for study in studies}
        assert set(one.pacs.moved()) == {study.study_instance_uid for study in studies}
        assert len(one.pacs.moved()) <= 14, "nothing is moved again but what was under way and did not end in time"
