"""Asking again how many instances a study has after it was moved: what a PACS took in meanwhile comes, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.ports import free_port
from demo.studies import WrittenStudy, generate_studies
from tests.extraction import Extraction, from_pacs
from tests.pacs import faults
from tests.pacs.fault import Fault
from tests.pacs.scripted import ScriptedPacs

Started = tuple[Extraction, ScriptedPacs, tuple[WrittenStudy, ...]]


@contextmanager
def two_studies(tmp_path: Path, *script: Fault) -> Iterator[Started]:
    studies = generate_studies(tmp_path / "studies", 2, instances=3, size=16)
    with from_pacs(tmp_path, *script) as (extraction, pacs):
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        yield extraction, pacs, studies


def rows(extraction: Extraction) -> list[tuple[str, str, str]]:
    return [(row["Outcome"], row["Expected"], row["Received"]) for row in extraction.outcomes()]


@pytest.mark.parametrize("model", ["StudyRoot", "PatientRoot"])
def test_a_study_that_grew_while_it_was_moved_is_moved_again_for_the_rest(tmp_path: Path, model: str) -> None:
    with two_studies(tmp_path, faults.grow(2).first(1)) as (extraction, pacs, studies):
        extraction.system = {"InformationModel": model}
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert rows(extraction) == [("retrieved", "5", "5"), ("retrieved", "3", "3")]
        grown = studies[0].study_instance_uid
        assert sorted(pacs.moved()) == sorted([grown, grown, studies[1].study_instance_uid])
        assert len(extraction.instances()) == 8
        assert "line 2: the PACS has more images by now; they are retrieved" in finished.output
        assert "line 2: retrieved, 1 study, 5 of 5 images" in finished.output


def test_a_study_that_grows_for_ever_is_partial_after_max_attempts_and_not_in_the_checkpoint(tmp_path: Path) -> None:
    with two_studies(tmp_path, faults.grow(1)) as (extraction, pacs, studies):
        extraction.system = {"MaxAttempts": 2}
        finished = extraction.run()
        assert finished.exit_code == 1, finished.output
        assert rows(extraction) == [("partial", "5", "4")] * 2
        assert {study.patient_id for study in studies}.isdisjoint(extraction.checkpoint())
        pacs.script()
        assert extraction.run().exit_code == 0
        assert rows(extraction) == [("retrieved", "5", "5")] * 2


def test_many_studies_are_counted_with_one_query(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 12, instances=1, size=16)
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.write_list("Study", [[study.study_instance_uid] for study in studies])
        extraction.config = {"FirstAttr": "StudyInstanceUID"}
        assert extraction.run().exit_code == 0
        assert [len(request.keys["StudyInstanceUID"]) for request in pacs.requests("find")] == [12, 12]


def test_a_pacs_that_refuses_to_count_again_is_asked_by_the_next_run(tmp_path: Path) -> None:
    with two_studies(tmp_path, faults.grow(1).first(1), faults.answer_find(0xC001).after(2)) as (extraction, pacs, _):
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert rows(extraction) == [("retrieved", "3", "3")] * 2
        assert "a retrieved study could not be counted again (C-FIND: " in finished.output
        pacs.script()
        assert extraction.run().exit_code == 0
        assert rows(extraction) == [("retrieved", "4", "4"), ("retrieved", "3", "3")]


@pytest.mark.parametrize("trouble", [faults.answer_find(0xA700), faults.drop("find")], ids=["busy", "dropped"])
def test_a_count_that_is_not_answered_at_once_is_asked_again(tmp_path: Path, trouble: Fault) -> None:
    with two_studies(tmp_path, faults.grow(2).first(1), trouble.nth(3, 4)) as (extraction, _pacs, _studies):
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert rows(extraction) == [("retrieved", "5", "5"), ("retrieved", "3", "3")]


def test_a_study_that_has_grown_is_not_complete_though_the_pacs_gives_no_count_later(tmp_path: Path) -> None:
    with two_studies(tmp_path, faults.grow(2)) as (extraction, pacs, _studies):
        extraction.system = {"MaxAttempts": 1}
        assert extraction.run().exit_code == 1
        assert rows(extraction) == [("partial", "5", "3")] * 2
        assert extraction.checkpoint() == []
        pacs.script(faults.omit("NumberOfStudyRelatedInstances"))
        assert extraction.run().exit_code == 0
        assert rows(extraction) == [("retrieved", "5", "5")] * 2
        assert len(pacs.moved()) == 4


def test_a_run_that_is_killed_before_it_asked_again_asks_when_it_is_started_again(tmp_path: Path) -> None:
    with two_studies(tmp_path) as (extraction, pacs, studies):
        process = extraction.start()
        pacs.script(faults.call(process.kill, "find").nth(1).when(lambda _: len(pacs.moved()) == 2))
        process.wait()
        for study in studies:
            pacs.grow(study.study_instance_uid)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert rows(extraction) == [("retrieved", "4", "4")] * 2


def test_what_is_verified_stays_retrieved_while_a_run_that_goes_on_has_not_asked_again(tmp_path: Path) -> None:
    with two_studies(tmp_path) as (extraction, pacs, _studies):
        process = extraction.start()
        pacs.script(faults.call(process.kill, "find").nth(1).when(lambda _: len(pacs.moved()) == 2))
        process.wait()
        address, extraction.source = extraction.source, f"NOBODY{free_port()}@127.0.0.1:1"
        assert extraction.run().exit_code == 4
        assert rows(extraction) == [("retrieved", "3", "3")] * 2
        extraction.source = address
        pacs.script(faults.answer_find(0xC001))
        assert extraction.run().exit_code == 0
        assert rows(extraction) == [("retrieved", "3", "3")] * 2
        assert len(pacs.moved()) == 2
