"""The extraction from DCMTK's dcmqrscp, which counts no instances, knows few keys and moves whatever is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from demo.studies import WrittenStudy
from tests.real_pacs import (
    DCMQRSCP,
    RealPacs,
    answers,
    attributes,
    check_files,
    dcmqrscp,
    stored_files,
    study_entries,
    write_archive,
)

if DCMQRSCP is None:
    pytest.skip("needs dcmqrscp: apt install dcmtk", allow_module_level=True)

Archive = dict[str, WrittenStudy]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """The studies that dcmqrscp holds, by AccessionNumber."""
    return write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def pacs(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPacs]:
    with dcmqrscp(tmp_path_factory.mktemp("dcmqrscp"), archive.values()) as running:
        yield running


def test_patients_and_all_of_their_studies(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    with pacs.extraction(tmp_path / "work") as extraction:
        rows = ["00005678", "5678", "NOBODY", "00001234", "0000?234", "ΑΘ-00042", "00005678"]
        extraction.write_list("PatientID", [[row] for row in rows])
        finished = extraction.run()
        assert finished.exit_code == 1, finished.output
        assert answers(extraction) == [
            ("retrieved", "3", "11", "11"),
            ("retrieved", "1", "3", "3"),
            ("not-found", "0", "0", "0"),
            ("retrieved", "1", "7", "7"),
            ("invalid", "0", "0", "0"),
            ("retrieved", "1", "4", "4"),
            ("retrieved", "3", "11", "11"),
        ]
        accessions = ("CR19A00231", "CT20A00305", "MR20A00112", "17", "CT20A00017", "MR20A00418")
        studies = [archive[accession] for accession in accessions]
        check_files(extraction, studies)
        entries = {"00005678", "5678", "00001234", "ΑΘ-00042"} | study_entries(studies)
        assert sorted(extraction.checkpoint()) == sorted(entries)


def test_patient_and_accession_in_the_patient_root_model_are_that_study_alone(
    pacs: RealPacs, archive: Archive, tmp_path: Path
) -> None:
    config = attributes("PatientID", "AccessionNumber", indexes=(1, 0))
    with pacs.extraction(tmp_path / "work", config, {"InformationModel": "PatientRoot"}) as extraction:
        rows = [
            ["CT20A00305", "00005678"],
            ["0000017", "1234"],
            ["17", "1234"],
            ["MR20A00112", "00001234"],
            ["MR20A00418", "ΑΘ-00042"],
        ]
        extraction.write_list("AccessionNumber,PatientID", rows)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["retrieved", "retrieved", "not-found", "not-found", "retrieved"]
        studies = [archive[accession] for accession in ("CT20A00305", "0000017", "MR20A00418")]
        check_files(extraction, studies)
        pairs = {"00005678,CT20A00305", "1234,0000017", "ΑΘ-00042,MR20A00418"}
        assert set(extraction.checkpoint()) == pairs | study_entries(studies)


def test_patient_accession_and_date_in_another_order_of_attributes(
    pacs: RealPacs, archive: Archive, tmp_path: Path
) -> None:
    config = attributes("StudyDate", "PatientID", "AccessionNumber", indexes=(2, 0, 1)) | {"DateFormat": "%d.%m.%Y"}
    with pacs.extraction(tmp_path / "work", config) as extraction:
        rows = [
            ["00001234", "CT20A00017", "15.01.2020"],
            ["00005678", "MR20A00112", "02.03.2020"],
            ["00005678", "CT20A00305", "15.01.2020"],
            ["00005678", "CR19A00231", "31.11.2019"],
        ]
        extraction.write_list("EMPI,Accession,Day", rows)
        finished = extraction.run()
        assert finished.exit_code == 1, finished.output
        assert extraction.words() == ["retrieved", "retrieved", "not-found", "invalid"]
        studies = [archive["CT20A00017"], archive["MR20A00112"]]
        check_files(extraction, studies)
        assert set(extraction.checkpoint()) == study_entries(studies)


def test_patient_accession_and_month(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    config = attributes("PatientID", "AccessionNumber", "StudyMonth")
    with pacs.extraction(tmp_path / "work", config) as extraction:
        rows = [
            ["B-0815", "MR20A00131", "202001"],
            ["00005678", "CR19A00231", "201912"],
            ["00005678", "CT20A00305", "202002"],
        ]
        extraction.write_list("PatientID,AccessionNumber,Month", rows)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["retrieved", "retrieved", "not-found"]
        studies = [archive["MR20A00131"], archive["CR19A00231"]]
        check_files(extraction, studies)
        assert set(extraction.checkpoint()) == study_entries(studies)


def test_accessions_over_four_associations(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    with pacs.extraction(tmp_path / "work", attributes("AccessionNumber"), {"ParallelRetrievals": 4}) as extraction:
        extraction.write_list("Accession", [[accession] for accession in (*archive, "017")])
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == [*["retrieved"] * len(archive), "not-found"]
        check_files(extraction, archive.values())
        assert set(extraction.checkpoint()) == study_entries(archive.values())


def test_the_whole_study_of_a_patient_by_the_uid_of_a_series(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    def series(accession: str, instance: int) -> str:
        return str(dcmread(archive[accession].paths[instance]).SeriesInstanceUID)

    config = attributes("PatientID", "SeriesInstanceUID")
    with pacs.extraction(tmp_path / "work", config, {"InformationModel": "PatientRoot"}) as extraction:
        rows = [
            ["00001234", series("CT20A00017", -1)],
            ["00005678", series("CT20A00305", 0)],
            ["00001234", series("MR20A00112", 0)],
        ]
        extraction.write_list("PatientID,Series", rows)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["retrieved", "retrieved", "not-found"]
        studies = [archive["CT20A00017"], archive["CT20A00305"]]
        check_files(extraction, studies)
        assert set(extraction.checkpoint()) == study_entries(studies)


def test_a_key_that_dcmqrscp_does_not_know_moves_nothing(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    with pacs.extraction(tmp_path / "work", attributes("PatientID", "Modality")) as extraction:
        extraction.write_list("PatientID,Modality", [["00005678", "CT"], ["NOBODY", "CT"]])
        finished = extraction.run()
        assert finished.exit_code == 1, finished.output
        assert extraction.words() == ["refused", "not-found"]
        assert "ModalitiesInStudy" in extraction.outcomes()[0]["Detail"]
        assert stored_files(extraction) == []
        assert extraction.checkpoint() == []
