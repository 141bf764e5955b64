"""The extraction as a whole, against the PACS with faults to order: one promise a test."""

import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.studies import WrittenStudy, generate_studies, write_study
from tests.extraction import AE_TITLE, Extraction, tools_running, wait_until
from tests.pacs import faults
from tests.pacs.fault import Fault
from tests.pacs.scripted import ScriptedPacs

Begin = Callable[..., tuple[Extraction, ScriptedPacs]]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """A PACS that holds the studies of ``tmp_path/studies`` and an extraction from it."""
    running: list[ScriptedPacs] = []
    extractions: list[Extraction] = []

    def start(*script: Fault) -> tuple[Extraction, ScriptedPacs]:
        extraction = Extraction(tmp_path / "work")
        pacs = ScriptedPacs(tmp_path / "studies", *script, destinations={AE_TITLE: ("127.0.0.1", extraction.port)})
        pacs.__enter__()
        running.append(pacs)
        extractions.append(extraction)
        extraction.source = pacs.address
        return extraction, pacs

    yield start
    for pacs in running:
        pacs.__exit__(None, None, None)
    for extraction in extractions:
        assert tools_running(extraction.port) == []


@pytest.fixture
def studies(tmp_path: Path) -> tuple[WrittenStudy, ...]:
    """Six studies of three images, each of another patient."""
    return generate_studies(tmp_path / "studies", 6, instances=3)


def patients(extraction: Extraction, studies: tuple[WrittenStudy, ...]) -> None:
    extraction.write_list("EMPI", [[study.patient_id] for study in studies])


def all_instances(studies: tuple[WrittenStudy, ...]) -> set[str]:
    return {uid for study in studies for uid in study.sop_instance_uids}


def test_every_row_of_a_list_of_patients_is_retrieved(begin: Begin, studies: tuple[WrittenStudy, ...]) -> None:
    extraction, _ = begin()
    patients(extraction, studies)
    finished = extraction.run()
    assert finished.exit_code == 0, finished.output
    assert extraction.words() == ["retrieved"] * 6
    assert set(extraction.instances()) == all_instances(studies)
    assert set(extraction.checkpoint()) >= {study.patient_id for study in studies}
    assert "[EXTRACTION COMPLETE]" in finished.output
    assert not extraction.state(".pickle.journal").exists()


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA702, 0xA900, 0xB000, 0xC000, 0x0122, 0x0124, 0xFE00])
def test_a_study_answered_with_a_failure_status_is_never_retrieved(
    begin: Begin, studies: tuple[WrittenStudy, ...], status: int
) -> None:
    extraction, pacs = begin(faults.answer_move(status, "completed=99, status=0H").study(studies[1].study_instance_uid))
    patients(extraction, studies)
    finished = extraction.run()
    assert finished.exit_code == 1, finished.output
    assert extraction.words() == ["retrieved", "failed", *["retrieved"] * 4]
    assert f"{status:04X}H" in extraction.outcomes()[1]["Detail"]
    assert extraction.outcomes()[1]["Attempts"] == "3"
    assert pacs.moved().count(studies[1].study_instance_uid) == 3


@pytest.mark.parametrize(
    ("name", "fault", "outcome"),
    [
        ("one fewer, counted as sent", faults.withhold(1), "partial"),
        ("success with nothing sent", faults.send_nothing(), "failed"),
        ("one failed", faults.fail_instances(1), "partial"),
        ("one twice for another", faults.repeat_one_for_another(), "partial"),
        ("everything twice", faults.send_twice(is_counted=True), "retrieved"),
        ("no counts", faults.no_counts(), "retrieved"),
        ("more announced than there is", faults.announce(99), "partial"),
    ],
)
def test_a_study_is_retrieved_only_if_all_that_was_announced_is_on_disk(
    begin: Begin, studies: tuple[WrittenStudy, ...], name: str, fault: Fault, outcome: str
) -> None:
    extraction, _ = begin(fault.study(studies[0].study_instance_uid))
    patients(extraction, studies[:2])
    finished = extraction.run()
    assert extraction.words() == [outcome, "retrieved"], finished.output + str(extraction.outcomes())


def test_a_run_that_is_killed_goes_on_where_it_was(begin: Begin, studies: tuple[WrittenStudy, ...]) -> None:
    extraction, pacs = begin(faults.slow("move", seconds=0.3))
    patients(extraction, studies)
    process = extraction.start()
    pacs.wait_until(lambda pacs: len(pacs.moved()) >= 3, seconds=30)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: tools_running(extraction.port) == [])
    pacs.script()
    moved_before = pacs.moved()
    finished = extraction.run()
    assert finished.exit_code == 0, finished.output
    assert extraction.words() == ["retrieved"] * 6
    assert set(extraction.instances()) == all_instances(studies)
    moved_again = [uid for uid in pacs.moved()[len(moved_before) :] if uid in moved_before]
    assert len(moved_again) <= 1, "only the study that was under way is moved again"


def test_a_checkpoint_of_todays_niffler_is_continued(begin: Begin, studies: tuple[WrittenStudy, ...]) -> None:
    extraction, pacs = begin()
    patients(extraction, studies)
    extraction.state(".pickle").write_bytes(pickle.dumps([studies[0].patient_id, studies[1].patient_id]))
    finished = extraction.run()
    assert finished.exit_code == 0, finished.output
    assert set(pacs.moved()) == {study.study_instance_uid for study in studies[2:]}
    assert extraction.outcomes()[0]["Detail"] == "from an earlier checkpoint, not verified"
    assert extraction.checkpoint()[:2] == [studies[0].patient_id, studies[1].patient_id]


def test_an_ignored_key_moves_nothing(begin: Begin, studies: tuple[WrittenStudy, ...]) -> None:
    extraction, pacs = begin(faults.ignore_key())
    extraction.write_list("Accession", [["UNKNOWN1"], ["UNKNOWN2"]])
    extraction.config["FirstAttr"] = "AccessionNumber"
    finished = extraction.run()
    assert finished.exit_code == 1
    assert extraction.words() == ["refused", "refused"]
    assert "AccessionNumber" in extraction.outcomes()[0]["Detail"]
    assert pacs.moved() == []


def test_an_accession_of_another_patient_is_not_retrieved(begin: Begin, studies: tuple[WrittenStudy, ...]) -> None:
    extraction, pacs = begin(faults.ignore_key("PatientID"))
    extraction.write_list("EMPI,Accession", [[studies[0].patient_id, studies[1].accession_number]])
    extraction.config["NumberOfQueryAttributes"] = 2
    extraction.run()
    assert extraction.words() == ["refused"]
    assert pacs.moved() == []


def test_a_pacs_that_is_not_there_is_given_up(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path / "work", system={"GiveUpMinutes": 0.05})
    extraction.write_list("EMPI", [["1"], ["2"]])
    finished = extraction.run()
    assert finished.exit_code == 4, finished.output
    assert extraction.words() == ["pending", "pending"]
    assert "has not answered" in finished.output
    assert tools_running(extraction.port) == []


def test_a_patient_with_three_studies_has_one_row_with_three(begin: Begin, tmp_path: Path) -> None:
    for number in range(3):
        write_study(tmp_path / "studies", patient_id="0007", accession_number=f"A{number}", instances_per_series=2)
    extraction, _ = begin()
    extraction.write_list("EMPI", [["0007"]])
    extraction.run()
    [row] = extraction.outcomes()
    assert (row["Outcome"], row["Studies"], row["Expected"], row["Received"]) == ("retrieved", "3", "6", "6")


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_in_good_order(
    begin: Begin, studies: tuple[WrittenStudy, ...], number: signal.Signals, exit_code: int
) -> None:
    extraction, pacs = begin(faults.slow("move", seconds=0.3))
    patients(extraction, studies)
    process = extraction.start()
    pacs.wait_until(lambda pacs: len(pacs.moved()) >= 2, seconds=30)
    process.send_signal(number)
    finished = extraction.finish(process)
    assert finished.exit_code == exit_code, finished.output
    assert {"retrieved", "pending"} >= set(extraction.words())
    assert not extraction.state(".pickle.journal").exists()
