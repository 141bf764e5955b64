"""The extraction from Orthanc: every CSV format, both information models, a run that is killed, the C-FIND modes."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.studies import WrittenStudy, generate_studies
from tests.extraction import Extraction, Finished, read_csv, tools_running, wait_until
from tests.real_pacs import (
    DESCRIPTION,
    ORTHANC,
    RealPacs,
    answers,
    attributes,
    check_files,
    orthanc,
    receptions,
    stored_files,
    study_entries,
    write_archive,
)

if ORTHANC is None:
    pytest.skip("needs Orthanc: apt install orthanc", allow_module_level=True)

Archive = dict[str, WrittenStudy]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """The studies that Orthanc holds, by AccessionNumber."""
    return write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[WrittenStudy, ...]:
    """Studies of so many images that a run can be killed between the first and the last of one."""
    return generate_studies(tmp_path_factory.mktemp("large"), 4, instances=30, size=16)


@pytest.fixture(scope="module")
def pacs(
    archive: Archive, large: tuple[WrittenStudy, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealPacs]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), [*archive.values(), *large]) as running:
        yield running


@dataclass(frozen=True)
class RunTwice:
    """An extraction after its second run."""

    extraction: Extraction
    first: Finished
    second: Finished
    receptions_before: dict[Path, tuple[int, int]]


@pytest.fixture(scope="module")
def patients(pacs: RealPacs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunTwice]:
    """[1] A list of patients in the PatientRoot model, run twice."""
    system: dict[str, object] = {"InformationModel": "PatientRoot"}
    with pacs.extraction(tmp_path_factory.mktemp("patients"), system=system) as extraction:
        rows = ["00001234", "00005678", "NOBODY", "0000*", "ΑΘ-00042", "00005678", "B-0815"]
        extraction.write_list("PatientID", [[row] for row in rows])
        first = extraction.run()
        before = receptions(extraction)
        yield RunTwice(extraction, first, extraction.run(), before)


def of_patients(archive: Archive) -> list[WrittenStudy]:
    accessions = ("CT20A00017", "CR19A00231", "CT20A00305", "MR20A00112", "MR20A00418", "MR20A00131")
    return [archive[accession] for accession in accessions]


def test_every_row_of_a_list_of_patients_has_a_true_answer(patients: RunTwice) -> None:
    assert patients.first.exit_code == 1, patients.first.output
    assert answers(patients.extraction) == [
        ("retrieved", "1", "7", "7"),
        ("retrieved", "3", "11", "11"),
        ("not-found", "0", "0", "0"),
        ("invalid", "0", "0", "0"),
        ("retrieved", "1", "4", "4"),
        ("retrieved", "3", "11", "11"),
        ("retrieved", "1", "2", "2"),
    ]
    assert "line 5" in patients.extraction.outcomes()[3]["Detail"]


def test_all_studies_of_these_patients_and_nothing_else_are_on_disk(patients: RunTwice, archive: Archive) -> None:
    check_files(patients.extraction, of_patients(archive))


def test_the_checkpoint_of_a_list_of_patients_has_the_patients_and_their_studies(
    patients: RunTwice, archive: Archive
) -> None:
    entries = {"00001234", "00005678", "ΑΘ-00042", "B-0815"} | study_entries(of_patients(archive))
    assert sorted(patients.extraction.checkpoint()) == sorted(entries)


def test_a_second_run_retrieves_nothing_again(patients: RunTwice) -> None:
    assert patients.second.exit_code == 1, patients.second.output
    assert receptions(patients.extraction) == patients.receptions_before
    assert "INFO:root:0 images" in patients.second.output
    assert patients.first.output.count("retrieved, ") == 5
    assert "retrieved, " not in patients.second.output


def test_patient_and_accession_in_another_order_of_columns(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    config = attributes("PatientID", "AccessionNumber", indexes=(3, 1))
    with pacs.extraction(tmp_path / "work", config) as extraction:
        rows = [
            ["first, of two series", "CT20A00017", "", "00001234"],
            ["one of three studies", "MR20A00112", "", "00005678"],
            ["leading zeros", "0000017", "", "1234"],
            ["the accession of another patient", "CR19A00231", "", "00001234"],
            ["the patient with the leading zeros is another", "0000017", "", "00001234"],
            ["without a patient", "17", "", ""],
        ]
        extraction.write_list("Remark,Accession,Nothing,EMPI", rows)
        finished = extraction.run()
        assert finished.exit_code == 1, finished.output
        assert extraction.words() == [*["retrieved"] * 3, *["not-found"] * 2, "invalid"]
        assert [row["Remark"] for row in extraction.outcomes()] == [row[0] for row in rows]
        studies = [archive[accession] for accession in ("CT20A00017", "MR20A00112", "0000017")]
        check_files(extraction, studies)
        pairs = {"00001234,CT20A00017", "00005678,MR20A00112", "1234,0000017"}
        assert set(extraction.checkpoint()) == pairs | study_entries(studies)


def test_patient_accession_and_date_written_as_date_format_says(
    pacs: RealPacs, archive: Archive, tmp_path: Path
) -> None:
    config = attributes("PatientID", "AccessionNumber", "StudyDate") | {"DateFormat": "%m/%d/%y"}
    with pacs.extraction(tmp_path / "work", config) as extraction:
        rows = [
            ["00001234", "CT20A00017", "01/15/20"],
            ["00005678", "CR19A00231", "12/03/19"],
            ["00005678", "CT20A00305", "01/23/20"],
            ["00005678", "MR20A00112", "20200302"],
        ]
        extraction.write_list("PatientID,AccessionNumber,StudyDate", rows)
        finished = extraction.run()
        assert finished.exit_code == 1, finished.output
        assert extraction.words() == ["retrieved", "retrieved", "not-found", "invalid"]
        studies = [archive["CT20A00017"], archive["CR19A00231"]]
        check_files(extraction, studies)
        assert set(extraction.checkpoint()) == study_entries(studies)


def test_patient_accession_and_month(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    config, system = attributes("PatientID", "AccessionNumber", "StudyDate"), {"InformationModel": "PatientRoot"}
    with pacs.extraction(tmp_path / "work", config, dict(system)) as extraction:
        rows = [
            ["00005678", "CT20A00305", "202001"],
            ["B-0815", "MR20A00131", "2020-01"],
            ["00005678", "CR19A00231", "202001"],
            ["00005678", "MR20A00112", "2020-03-17"],
        ]
        extraction.write_list("PatientID,AccessionNumber,StudyMonth", rows)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["retrieved", "retrieved", "not-found", "retrieved"]
        studies = [archive[accession] for accession in ("CT20A00305", "MR20A00131", "MR20A00112")]
        check_files(extraction, studies)
        assert set(extraction.checkpoint()) == study_entries(studies)


def test_studies_by_their_uid_over_four_associations(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    with pacs.extraction(tmp_path / "work", attributes("StudyInstanceUID"), {"ParallelRetrievals": 4}) as extraction:
        studies = list(archive.values())
        extraction.write_list("UID", [[study.study_instance_uid] for study in studies] + [["1.2.3.4"]])
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == [*["retrieved"] * len(studies), "not-found"]
        # The rows are looked up together; what one of them found is none of the others' concern.
        assert [row["Detail"] for row in extraction.outcomes()][:-1] == [""] * len(studies)
        check_files(extraction, studies)
        assert set(extraction.checkpoint()) == study_entries(studies)


def test_patient_and_modality(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    with pacs.extraction(tmp_path / "work", attributes("PatientID", "Modality")) as extraction:
        extraction.write_list("PatientID,Modality", [["00005678", "CT"], ["A-4711", "CT"], ["00001234", "MR"]])
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["retrieved", "retrieved", "not-found"]
        studies = [archive["CT20A00305"], archive["XX20A00533"]]
        check_files(extraction, studies)
        assert set(extraction.checkpoint()) == study_entries(studies)


def test_whole_studies_by_the_description_of_a_series(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    with pacs.extraction(tmp_path / "work", attributes("SeriesDescription")) as extraction:
        extraction.write_list("Description", [["Coronal"], ["Whole body"], ["Sagittal"]])
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert answers(extraction) == [
            ("retrieved", "1", "7", "7"),
            ("retrieved", "1", "6", "6"),
            ("not-found", "0", "0", "0"),
        ]
        check_files(extraction, [archive["CT20A00017"], archive["XX20A00533"]])


def test_names_in_any_alphabet_and_a_series_of_the_study(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    with pacs.extraction(tmp_path / "work", attributes("PatientName", "BodyPartExamined")) as extraction:
        rows = [
            ["Müller^Jürgen", "PELVIS"],
            ["Παπαδοπούλου^Ελένη", "KNEE"],
            ["Müller^Jürgen", "KNEE"],
            ["Muller^Jurgen", "PELVIS"],
        ]
        extraction.write_list("Name,Part", rows)
        finished = extraction.run()
        assert extraction.words()[:2] == ["retrieved", "retrieved"], finished.output
        assert set(extraction.words()[2:]) <= {"not-found", "refused"}, finished.output
        check_files(extraction, [archive["XX20A00533"], archive["MR20A00418"]])


def test_a_run_that_is_killed_goes_on_and_retrieves_only_the_study_under_way_again(
    pacs: RealPacs, archive: Archive, large: tuple[WrittenStudy, ...], tmp_path: Path
) -> None:
    with pacs.extraction(tmp_path / "work", attributes("AccessionNumber")) as extraction:
        studies = [archive["0000017"], *large]
        extraction.write_list("Accession", [[study.accession_number] for study in studies])
        journal = extraction.state(".pickle.journal")

        def recorded() -> set[str]:
            text = journal.read_text() if journal.exists() else ""
            return {study.study_instance_uid for study in studies if study.study_instance_uid in text}

        def begun() -> set[str]:
            return {path.parents[1].name for path in stored_files(extraction) if path.suffix == ".dcm"}

        def is_in_the_middle() -> bool:
            done = recorded()
            return len(done) >= 2 and len(begun() - done) == 1

        process = extraction.start()
        wait_until(is_in_the_middle)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: tools_running(extraction.port) == [])
        done, before = recorded(), receptions(extraction)
        assert 2 <= len(done) < len(studies)

        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["retrieved"] * len(studies)
        check_files(extraction, studies)
        assert set(extraction.checkpoint()) == study_entries(studies)
        after = receptions(extraction)
        again = {path.parents[1].name for path in before.keys() & after.keys() if before[path] != after[path]}
        assert len(again) <= 1
        assert not again & done


def test_cfind_only_writes_what_the_studies_are_called(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    config = attributes("AccessionNumber") | {"FilePath": "CFIND-ONLY"}
    with pacs.extraction(tmp_path / "work", config) as extraction:
        accessions = ["MR20A00131", "MR20A00418", "UNKNOWN", "0000017"]
        extraction.write_list("Accession", [[accession] for accession in accessions])
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["found", "found", "not-found", "found"]
        descriptions = {"MR20A00131": DESCRIPTION, "MR20A00418": "Γόνατο δεξιά", "0000017": "Chest CT"}
        assert read_csv(extraction.storage / "cfind-output.csv") == [
            {
                "PatientID": archive[accession].patient_id,
                "StudyInstanceUID": archive[accession].study_instance_uid,
                "AccessionNumber": accession,
                "StudyDescription": description,
            }
            for accession, description in descriptions.items()
        ]
        assert not list(extraction.storage.rglob("*.dcm"))


def test_cfind_detailed_writes_the_columns_of_the_stylesheet(pacs: RealPacs, archive: Archive, tmp_path: Path) -> None:
    with pacs.extraction(tmp_path / "work", {"FilePath": "CFIND-DETAILED"}) as extraction:
        extraction.write_list("PatientID", [["B-0815"], ["00005678"], ["A-4711"]])
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["found"] * 3
        rows = {row["AccessionNumber"]: row for row in read_csv(extraction.storage / "cfind-output.csv")}
        assert rows.keys() == {"MR20A00131", "CR19A00231", "CT20A00305", "MR20A00112", "XX20A00533"}
        for accession, row in rows.items():
            study = archive[accession]
            assert row["PatientID"] == study.patient_id
            assert row["StudyInstanceUID"] == study.study_instance_uid
            assert row["StudyDate"] == study.study_date
            assert row["NumberOfStudyRelatedInstances"] == str(len(study.paths))
        assert rows["MR20A00131"]["StudyDescription"] == DESCRIPTION
        assert rows["MR20A00131"]["StudyTime"].partition(".")[0] == "101500"
        assert set(rows["XX20A00533"]["ModalitiesInStudy"].split("\\")) == {"CR", "CT"}
        assert rows["XX20A00533"]["NumberOfStudyRelatedSeries"] == "2"
