"""Shards of one list as runs of the script: together they do what an unsplit run does, and nothing twice."""

import contextlib
import pickle
import signal
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from demo.ports import free_port
from demo.studies import WrittenStudy, generate_studies
from niffler.shards import Shard, of_shard
from tests.extraction import Extraction, Finished, from_pacs, read_csv
from tests.pacs import faults
from tests.pacs.scripted import ScriptedPacs


@pytest.fixture
def studies(tmp_path: Path) -> tuple[WrittenStudy, ...]:
    return generate_studies(tmp_path / "studies", 7, instances=2, size=16)


class Split:
    """One list and the machines that take a shard of it each, all with the same settings."""

    def __init__(self, unsplit: Extraction, pacs: ScriptedPacs, most: int) -> None:
        self.unsplit = unsplit
        self.pacs = pacs
        self.ports = ports_that_end_alike(most)
        self.title = f"SHARD{self.ports}X"  # other tests of this machine have theirs
        self.system: dict[str, object] = {
            "QueryAet": f"{self.title}{{shard}}:{self.ports}{{shard}}", "DestAet": f"{self.title}{{shard}}",
        }  # fmt: skip
        self.config: dict[str, object] = {
            "CsvFile": str(unsplit.list_file), "StorageFolder": str(unsplit.folder / "split" / "{shard}"),
        }  # fmt: skip
        for number in range(1, most + 1):
            pacs.add_destination(f"{self.title}{number}", "127.0.0.1", int(f"{self.ports}{number}"))

    def machine(self, number: int) -> Extraction:
        folder = self.unsplit.folder / f"machine-{number}"
        port = int(f"{self.ports}{number}")
        return Extraction(folder, self.pacs.address, port, dict(self.system), dict(self.config), self.unsplit.started)

    def run(self, count: int, *, environments: Sequence[dict[str, str]] = ()) -> list[Finished]:
        """All shards at once."""
        machines = [self.machine(number) for number in range(1, count + 1)]
        running = [
            machine.start(environment=environments[number])
            if environments
            else machine.start("--Shard", f"{number + 1}/{count}")
            for number, machine in enumerate(machines)
        ]
        return [machine.finish(process) for machine, process in zip(machines, running, strict=True)]

    def state(self, number: int, count: int, ending: str = "") -> Path:
        return Path(f"{of_shard(self.unsplit.state(''), Shard(number, count))}{ending}")

    def outcome_words(self, number: int, count: int) -> list[str]:
        return [row["Outcome"] for row in read_csv(self.state(number, count, ".outcomes.csv"))]

    def outcomes(self, count: int) -> dict[str, str]:
        """Patient → outcome over all shards; no row is in two of them."""
        rows = [row for number in range(count) for row in read_csv(self.state(number + 1, count, ".outcomes.csv"))]
        assert len({row["EMPI"] for row in rows}) == len(rows)
        return {row["EMPI"]: row["Outcome"] for row in rows}

    def images(self) -> dict[str, bytes]:
        """Path below the folder of its shard → content."""
        return contents(*(self.unsplit.folder / "split").iterdir())


def contents(*folders: Path) -> dict[str, bytes]:
    files = [(folder, path) for folder in folders for path in folder.rglob("*") if path.is_file()]
    found = {str(path.relative_to(folder)): path.read_bytes() for folder, path in files}
    assert len(found) == len(files), "no image is in the folders of two shards"
    return found


def ports_that_end_alike(count: int) -> int:
    """What comes before the last digit of free ports that end with 1, 2, ... count."""
    while True:
        start = free_port() // 10
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for number in range(1, count + 1):
                probes.enter_context(socket.create_server(("127.0.0.1", start * 10 + number)))
            return start


@contextlib.contextmanager
def split(tmp_path: Path, studies: Sequence[WrittenStudy], most: int = 3) -> Iterator[Split]:
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        yield Split(extraction, pacs, most)


def slurm(number: int, count: int) -> dict[str, str]:
    told = {"ID": number, "MIN": 1, "MAX": count, "COUNT": count, "STEP": 1}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in told.items()}


def test_three_shards_at_once_bring_the_same_files_as_an_unsplit_run(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    with split(tmp_path, studies) as one:
        finished = one.run(3, environments=[slurm(number, 3) for number in (1, 2, 3)])
        assert [end.exit_code for end in finished] == [0, 0, 0], finished
        assert all(f"shard {number}/3: " in end.output for number, end in enumerate(finished, 1))
        assert one.outcomes(3) == {study.patient_id: "retrieved" for study in studies}
        assert sorted(one.pacs.moved()) == sorted(study.study_instance_uid for study in studies)
        assert {path.name for path in (one.unsplit.folder / "split").iterdir()} == {"1", "2", "3"}
        assert all(
            (one.unsplit.folder / f"machine-{number}" / f"niffler1.shard-{number}-of-3.log").exists()
            for number in (1, 2, 3)
        )
        assert not one.unsplit.state("").exists(), "the files of an unsplit run are not touched"

        one.unsplit.folder.rename(tmp_path / "split-run")
        again = Extraction(tmp_path / "work", one.pacs.address, one.unsplit.port)
        again.write_list("EMPI", [[study.patient_id] for study in studies])
        assert again.run().exit_code == 0
        assert contents(*(tmp_path / "split-run" / "split").iterdir()) == contents(again.storage)


def test_with_another_number_of_shards_midway_nothing_is_moved_again_and_no_file_of_another_run_is_changed(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    with split(tmp_path, studies) as one:
        pacs, unsplit = one.pacs, one.unsplit

        def kill() -> None:
            unsplit.wait_until_it_says(": retrieved, ", times=3)
            unsplit.started[0].kill()

        pacs.script(faults.call(kill, "move").nth(4))
        unsplit.system["RetrieveTimeoutSeconds"] = 100
        assert unsplit.run().exit_code == -signal.SIGKILL
        assert unsplit.state(".pickle.journal").stat().st_size > 0, "a part of what is complete stands there alone"
        pacs.script()
        left_behind = files_beside(unsplit)
        patient = {study.study_instance_uid: study.patient_id for study in studies}
        complete = set(map(patient.__getitem__, pacs.moved()[:3]))
        verified_at_the_kill = frozenset(complete)

        machine = one.machine(1)
        assert machine.run("--Shard", "1/3").exit_code == 0
        complete |= {row["EMPI"] for row in read_csv(one.state(1, 3, ".outcomes.csv"))}
        assert "1 checkpoints of other splits of the list are looked into" in machine.output
        assert left_behind.items() <= files_beside(unsplit).items()
        left_behind = files_beside(unsplit)
        before = len(pacs.moved())
        assert before < 4 + 7

        assert [end.exit_code for end in one.run(2)] == [0, 0]
        assert one.outcomes(2) == {study.patient_id: "retrieved" for study in studies}
        assert {patient[uid] for uid in pacs.moved()[before:]} == set(patient.values()) - complete
        assert left_behind.items() <= files_beside(unsplit).items()
        for number in (1, 2):
            carried = [row for row in read_csv(one.state(number, 2, ".outcomes.csv")) if row["EMPI"] in complete]
            assert all((row["Received"], row["Detail"]) == ("2", "") for row in carried), "as it was verified"
            entries = pickle.loads(one.state(number, 2, ".pickle").read_bytes())
            studies_here = {patient for patient, _, uid in (entry.partition(",") for entry in entries) if uid}
            assert not studies_here & complete, "what was retrieved elsewhere has its entry there"

        moved = len(pacs.moved())
        finished = unsplit.run()
        assert finished.exit_code == 0, finished.output
        assert unsplit.words() == ["retrieved"] * 7
        assert len(pacs.moved()) == moved, "an unsplit run looks into the checkpoints of shards"
        twice = [uid for uid, times in Counter(pacs.moved()).items() if times > 1]
        # The study under way at the kill, and the next one, which movescu may have asked for before it died.
        assert len(twice) in (1, 2), twice
        assert moved == 7 + len(twice)
        assert not {patient[uid] for uid in twice} & verified_at_the_kill


def files_beside(unsplit: Extraction) -> dict[str, bytes]:
    """The state of all runs of the list."""
    return {path.name: path.read_bytes() for path in unsplit.folder.glob("list_mod*")}


def test_a_patient_half_done_in_another_split_goes_on_with_the_next_study_and_a_shard_without_rows_is_complete(
    tmp_path: Path,
) -> None:
    studies = generate_studies(tmp_path / "studies", 4, studies_per_patient=4, instances=1, size=16)
    assert len({study.patient_id for study in studies}) == 1
    with split(tmp_path, studies[:1], most=2) as one:
        pacs, unsplit = one.pacs, one.unsplit
        pacs.script(
            faults.call(lambda: unsplit.started[0].terminate(), "move").nth(2), faults.slow("move", seconds=0.2)
        )
        assert unsplit.run().exit_code == 143
        pacs.script()
        assert 0 < len(pacs.moved()) < 4
        assert [end.exit_code for end in one.run(2)] == [0, 0]
        assert sorted(pacs.moved()) == sorted(study.study_instance_uid for study in studies)
        number = 1 if Shard(1, 2).takes(studies[0].patient_id) else 2
        assert one.outcome_words(number, 2) == ["retrieved"]
        assert one.outcome_words(3 - number, 2) == []
        ledger = one.state(number, 2, ".studies.csv").read_text()
        assert [uid in ledger for uid in pacs.moved()] == [
            uid not in unsplit.state(".studies.csv").read_text() for uid in pacs.moved()
        ], "each stays where it was retrieved"


def test_metadata_of_shards_goes_into_a_file_each_and_nothing_is_asked_twice(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    with split(tmp_path, studies, most=2) as one:
        storage = one.unsplit.folder / "metadata"
        one.config |= {"StorageFolder": str(storage), "FilePath": "CFIND-ONLY"}
        assert [end.exit_code for end in one.run(2)] == [0, 0]
        files = [storage / f"cfind-output.shard-{number}-of-2.csv" for number in (1, 2)]
        listed = [row["PatientID"] for file in files for row in read_csv(file)]
        assert sorted(listed) == sorted(study.patient_id for study in studies)
        asked = len(one.pacs.requests("find"))
        one.unsplit.config |= one.config
        detailed = one.unsplit.run("--FilePath", "CFIND-DETAILED")
        assert (detailed.exit_code, "of-2.csv: has other columns" in detailed.output) == (2, True), detailed.output
        moved_away = files[1].rename(storage / "moved-away")
        missing = one.unsplit.run()
        assert (missing.exit_code, "lists rows that are in it; put it back" in missing.output) == (2, True), (
            missing.output
        )
        moved_away.rename(files[1])
        assert one.unsplit.run().exit_code == 0
        assert one.unsplit.words() == ["found"] * 7
        assert len(one.pacs.requests("find")) == asked


def test_while_a_shard_runs_its_receiving_ae_title_and_its_pacs_are_refused_to_those_that_may_not_share_them(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    with split(tmp_path, studies[:2], most=2) as one:
        refused: list[Finished] = []
        same_title, other_list = one.machine(2), Extraction(tmp_path / "other-list", one.pacs.address)
        same_title.system |= {"QueryAet": f"{one.title}1:{other_list.port}", "DestAet": f"{one.title}1"}
        other_list.write_list("EMPI", [["1"]])
        number = 1 if Shard(1, 2).takes(studies[0].patient_id) else 2

        def start_others() -> None:
            running = [same_title.start("--Shard", f"{3 - number}/2"), other_list.start("--Shard", "1/2")]
            refused.extend(map(Extraction.finish, [same_title, other_list], running))

        one.pacs.script(faults.call(start_others, "move").first())
        one.system |= {"RetrieveTimeoutSeconds": 100, "QueryAet": f"{one.title}1:{one.ports}1"}
        one.system["DestAet"] = f"{one.title}1"
        first = one.machine(1).run("--Shard", f"{number}/2")
        assert first.exit_code == 0, first.output
        assert [end.exit_code for end in refused] == [3, 3], refused
        assert f"another shard receives as {one.title}1 on this machine" in refused[0].output
        assert "another extraction uses the same SrcAet" in refused[1].output
