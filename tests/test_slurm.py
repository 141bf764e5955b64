"""The job script for Slurm on a real cluster: a node and a task that die, the night's end, the time limit."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
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

    def submit(self, array: str) -> list[str]:
        """Submit the shipped script; returns the tasks of the array job."""
        self.machine.write_settings()
        command = ("sbatch", f"--array={array}", "--mem=0", "deploy/slurm/extract.sbatch")
        job = self.nodes.run(*command, cwd=self.machine.folder, NIFFLER_PYTHON=sys.executable).split()[-1]
        first, last = map(int, array.partition("%")[0].split("-"))
        return [f"{job}_{number}" for number in range(first, last + 1)]

    def submitted_again(self, before: Sequence[str]) -> list[str]:
        """The tasks of the only job that was submitted after one with these tasks."""
        number = int(before[0].partition("_")[0])
        [again] = {task.partition("_")[0] for task in self.nodes.jobs() if int(task.partition("_")[0]) > number}
        return [f"{again}_{task.partition('_')[2]}" for task in before]

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


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster", 3) as running:
        yield running


@pytest.fixture
def three_nodes(started: Cluster) -> Cluster:
    started.begin_anew()
    return started


def test_an_array_brings_the_files_of_an_unsplit_run_although_a_node_and_a_task_die(
    tmp_path: Path, three_nodes: Cluster
) -> None:
    studies = generate_studies(tmp_path / "studies", 9, instances=2, size=16)
    tasks: list[str] = []
    with split(tmp_path, studies) as one:
        job = Submitted(three_nodes, one)

        def of_shard(number: int, request: Request) -> bool:
            return request.destination == f"{one.title}{number}"

        def lose_the_node() -> None:
            three_nodes.fail_node(three_nodes.jobs()[tasks[0]]["NodeList"])

        def kill_the_task() -> None:
            job.extraction(tasks[1]).kill()

        one.pacs.script(
            faults.call(lose_the_node, "move").when(lambda request: of_shard(1, request)).nth(3),
            faults.call(kill_the_task, "move").when(lambda request: of_shard(2, request)).nth(2),
        )
        tasks += job.submit("1-3")
        first, second, third = tasks
        job.wait_until_ended(second)
        assert three_nodes.jobs()[second]["ExitCode"] == "137:0", "a run that was killed is none that succeeded"
        three_nodes.run("scontrol", "requeue", second)
        wait_for(lambda: three_nodes.jobs()[first]["Restarts"] == "1", job.output)
        for task in (first, second):
            three_nodes.start_soon(task)
        job.wait_until_ended(first, second, third)
        assert [job.state(task) for task in (first, second, third)] == ["COMPLETED"] * 3, job.output()
        assert one.outcomes(3) == {study.patient_id: "retrieved" for study in studies}
        moved = one.pacs.moved()
        assert len(set(moved)) == 9
        assert len(moved) <= 11, "nothing is moved again but what was under way when the node and the task died"

        one.pacs.script()
        again = Extraction(tmp_path / "unsplit", one.pacs.address, one.unsplit.port)
        again.write_list("EMPI", [[study.patient_id] for study in studies])
        assert again.run().exit_code == 0
        assert one.images() == contents(again.storage)


def test_at_the_end_of_the_night_the_whole_array_is_submitted_once_for_the_next_one_with_its_bound(
    tmp_path: Path, three_nodes: Cluster
) -> None:
    studies = generate_studies(tmp_path / "studies", 4, instances=1, size=16)
    with split(tmp_path, studies, most=2) as one:
        job = Submitted(three_nodes, one)
        opening = (datetime.now().hour + 2) % 24
        job.machine.system |= {"NightlyOnly": True, "StartHour": opening, "EndHour": (opening + 1) % 24}
        tasks = job.submit("1-2%2")
        job.wait_until_ended(*tasks)
        assert [job.state(task) for task in tasks] == ["COMPLETED"] * 2, job.output()
        assert one.pacs.requests() == []
        again = job.submitted_again(tasks)
        [waiting] = [told for told in three_nodes.jobs().values() if told["JobId"] == again[0].partition("_")[0]]
        assert (waiting["JobState"], waiting["ArrayTaskId"], waiting["ArrayTaskThrottle"]) == ("PENDING", "1-2%2", "2")
        assert datetime.fromisoformat(waiting["StartTime"]).hour == opening

        job.machine.system["NightlyOnly"] = False
        job.machine.write_settings()
        three_nodes.start_soon(waiting["JobId"])
        wait_for(lambda: [job.state(task) for task in again] == ["COMPLETED"] * 2, job.output)
        assert one.outcomes(2) == {study.patient_id: "retrieved" for study in studies}


def test_near_the_time_limit_a_run_saves_and_goes_on_as_another_job_and_a_cancelled_one_does_not(
    tmp_path: Path, three_nodes: Cluster
) -> None:
    studies = generate_studies(tmp_path / "studies", 6, instances=1, size=16)
    tasks: list[str] = []
    with split(tmp_path, studies, most=2) as one:
        job = Submitted(three_nodes, one)

        def when_a_shard_is_at_its_second_study(number: int, *command: str) -> Fault:
            strike = faults.call(lambda: three_nodes.run(*command, tasks[number - 1]), "move")
            return strike.when(lambda request: request.destination == f"{one.title}{number}").nth(2)

        one.pacs.script(
            when_a_shard_is_at_its_second_study(1, "scancel"),
            when_a_shard_is_at_its_second_study(2, "scancel", "--batch", "--signal=USR1"),
            faults.slow("move", seconds=0.2),
        )
        tasks += job.submit("1-2")
        job.wait_until_ended(*tasks)
        assert [job.state(task) for task in tasks] == ["CANCELLED", "COMPLETED"], job.output()
        assert job.output().count("stopped by SIGTERM; start the same command again to go on") == 2
        assert not list(one.unsplit.folder.glob("*.journal")), "both have saved"
        assert len(one.pacs.moved()) < 6
        one.pacs.script()
        again = job.submitted_again(tasks)
        wait_for(lambda: [job.state(task) for task in again] == ["COMPLETED"] * 2, job.output)
        assert one.outcomes(2) == {study.patient_id: "retrieved" for study in studies}
        assert set(one.pacs.moved()) == {study.study_instance_uid for study in studies}
        assert len(one.pacs.moved()) <= 8, "nothing is moved again but what was under way and did not end in time"
