"""--Verify: what is on disk beside what was retrieved; the next run fetches exactly what is not complete."""

import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from demo.studies import WrittenStudy, generate_studies, write_study
from niffler.stored_file import read_stored_files
from tests.extraction import Extraction, Finished, from_pacs, patient_data, read_csv
from tests.pacs import faults
from tests.pacs.scripted import ScriptedPacs


def verify(extraction: Extraction, *arguments: str) -> Finished:
    return extraction.run("--Verify", "true", *arguments)


def report(extraction: Extraction) -> list[dict[str, str]]:
    return read_csv(extraction.state(".verified.csv"))


def states(extraction: Extraction) -> dict[str, str]:
    return {row["StudyInstanceUID"]: row["State"] for row in report(extraction)}


def files_of(extraction: Extraction, study: WrittenStudy) -> list[Path]:
    return [path for uid, path in extraction.instances().items() if uid in study.sop_instance_uids]


def give_to(patient_id: str, path: Path) -> None:
    dataset = dcmread(path)
    dataset.PatientID = patient_id
    dataset.save_as(path)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 20)


@dataclass(frozen=True)
class Damaged:
    """A list of eight rows that was retrieved, damaged in every way, verified, retrieved again, and verified again."""

    extraction: Extraction
    studies: tuple[WrittenStudy, ...]
    """One image lost, one cut off, all given to another patient, the folder gone, one in two files, untouched."""
    two: tuple[WrittenStudy, ...]
    """Both of one patient; the second has lost an image."""
    foreign: WrittenStudy
    verified: Finished
    report: list[dict[str, str]]
    entries: list[str]
    words: list[str]
    again: Finished
    moved_again: list[str]
    verified_again: Finished
    cleaned: Finished


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Damaged]:
    folder = tmp_path_factory.mktemp("damaged")
    studies = generate_studies(folder / "studies", 6, instances=3, size=16)
    two = tuple(
        write_study(folder / "studies", patient_id="00A7", accession_number=f"T000{number}") for number in range(2)
    )
    foreign = write_study(folder / "foreign", patient_id="FOREIGN1", accession_number="F1")
    with from_pacs(folder) as (extraction, pacs):
        extraction.write_list("EMPI", [[study.patient_id] for study in studies] + [["00A7"], ["NOBODY"]])
        assert extraction.run().exit_code == 0, extraction.output
        complete = verify(extraction)
        assert complete.exit_code == 0, complete.output
        moved_before = pacs.moved()

        files_of(extraction, studies[0])[1].unlink()
        cut(files_of(extraction, studies[1])[0])
        for path in files_of(extraction, studies[2]):
            give_to("SOMEBODY", path)
        shutil.rmtree(extraction.storage / studies[3].patient_id / studies[3].study_instance_uid)
        one = files_of(extraction, studies[4])[0]
        shutil.copy(one, one.with_name("copy.dcm"))
        files_of(extraction, two[1])[0].unlink()
        foreign_files = shutil.copytree(folder / "foreign", extraction.storage / "foreign")
        (extraction.storage / "1.2.3.part").write_bytes(b"half")
        (extraction.storage / "notes.txt").write_text("whose are these?")
        (extraction.storage / "link").symlink_to(one)
        verified = verify(extraction)
        yield Damaged(
            extraction, studies, two, foreign, verified, report(extraction), extraction.checkpoint(),
            extraction.words(), again := extraction.run(), pacs.moved()[len(moved_before) :],
            verify(extraction), clean(extraction, foreign_files),
        )  # fmt: skip
        assert again.exit_code == 0


def clean(extraction: Extraction, foreign: Path) -> Finished:
    shutil.rmtree(foreign)
    (extraction.storage / "notes.txt").unlink()
    return verify(extraction)


def test_each_study_is_reported_as_it_lies_on_disk(damaged: Damaged) -> None:
    found = {(row["StudyInstanceUID"], row["PatientID"]): row for row in damaged.report}
    told = [
        (row["State"], row["OnDisk"], row["Expected"], row["Withdrawn"])
        for study in (*damaged.studies, *damaged.two)
        for row in [found.pop((study.study_instance_uid, study.patient_id))]
    ]
    assert told == [
        ("missing", "2", "3", "yes"),
        ("unreadable", "2", "3", "yes"),
        ("other-patient", "0", "3", "yes"),
        ("missing", "0", "3", "yes"),
        ("complete", "3", "3", "no"),
        ("complete", "3", "3", "no"),
        ("complete", "3", "3", "no"),
        ("missing", "2", "3", "yes"),
    ]
    others = {key: (row["State"], row["OnDisk"], row["Withdrawn"]) for key, row in found.items()}
    assert others == {
        (damaged.foreign.study_instance_uid, "FOREIGN1"): ("unknown", "3", "no"),
        (damaged.studies[2].study_instance_uid, "SOMEBODY"): ("other-patient", "3", "no"),
        ("", ""): ("unreadable", "0", "no"),
    }


def test_the_report_says_which_file_cannot_be_read(damaged: Damaged) -> None:
    details = {row["StudyInstanceUID"]: row["Detail"] for row in damaged.report}
    cut_off = details[damaged.studies[1].study_instance_uid]
    assert cut_off.startswith("1 of 3 images are missing; cannot be read: ")
    assert cut_off.endswith(".dcm (it is cut off)")
    assert details[""].startswith("notes.txt (")


def test_what_is_not_complete_leaves_the_checkpoint_with_its_rows_and_nothing_else_does(damaged: Damaged) -> None:
    kept = [*damaged.studies[4:], damaged.two[0]]
    entries = {f"{study.patient_id},{study.study_instance_uid}" for study in kept}
    assert set(damaged.entries) == entries | {study.patient_id for study in damaged.studies[4:]}
    assert damaged.words == ["pending"] * 4 + ["retrieved"] * 2 + ["pending", "not-found"]


def test_the_terminal_has_counts_and_remedies_and_no_patient(damaged: Damaged) -> None:
    output = damaged.verified.output
    assert damaged.verified.exit_code == 1
    for line in ("complete: 3 (", "missing: 3 (", "unreadable: 2 (", "other-patient: 2 (", "unknown: 1 ("):
        assert f"\n{line}" in output
    assert "withdrawn from the checkpoint: 5; start the same extraction again" in output
    values = patient_data([*damaged.studies, *damaged.two, damaged.foreign]) | {"SOMEBODY"}
    assert [value for value in values if value in output] == []


def test_the_next_run_moves_exactly_what_was_withdrawn(damaged: Damaged) -> None:
    assert damaged.again.exit_code == 0, damaged.again.output
    wanted = [*damaged.studies[:4], damaged.two[1]]
    assert sorted(damaged.moved_again) == sorted(study.study_instance_uid for study in wanted)
    assert damaged.extraction.words() == ["retrieved"] * 7 + ["not-found"]


def test_it_is_content_once_all_is_there_and_nothing_else(damaged: Damaged) -> None:
    assert damaged.verified_again.exit_code == 1, "a foreign study and a file that is no image are still there"
    assert damaged.cleaned.exit_code == 0, damaged.cleaned.output
    assert set(states(damaged.extraction).values()) == {"complete"}


@pytest.fixture
def pairs(tmp_path: Path) -> Iterator[tuple[Extraction, ScriptedPacs, tuple[WrittenStudy, ...]]]:
    """Four rows of PatientID and AccessionNumber, retrieved."""
    studies = generate_studies(tmp_path / "studies", 4, instances=2, size=16)
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.config = {"NumberOfQueryAttributes": 2}
        extraction.write_list("EMPI,Accession", [[study.patient_id, study.accession_number] for study in studies])
        assert extraction.run().exit_code == 0, extraction.output
        yield extraction, pacs, studies


@pytest.mark.parametrize("lost", [[".pickle"], [".pickle", ".studies.csv"]], ids=["pickle", "pickle and ledger"])
def test_a_lost_checkpoint_is_built_anew_from_what_can_be_verified(
    pairs: tuple[Extraction, ScriptedPacs, tuple[WrittenStudy, ...]], lost: list[str]
) -> None:
    extraction, pacs, studies = pairs
    entries = set(extraction.checkpoint())
    for ending in lost:
        extraction.state(ending).unlink()
    files_of(extraction, studies[0])[0].unlink()
    give_to("SOMEBODY", files_of(extraction, studies[1])[0])
    finished = verify(extraction)
    assert finished.exit_code == 1
    withdrawn = {study.patient_id for study in studies[:2]}
    assert set(extraction.checkpoint()) == {entry for entry in entries if entry.split(",")[0] not in withdrawn}
    assert [states(extraction)[study.study_instance_uid] for study in studies[2:]] == ["complete"] * 2
    moved_before = len(pacs.moved())
    finished = extraction.run()
    assert finished.exit_code == 0, finished.output
    assert sorted(pacs.moved()[moved_before:]) == sorted(study.study_instance_uid for study in studies[:2])
    assert extraction.words() == ["retrieved"] * 4
    assert [row["Detail"] for row in extraction.outcomes()] == [""] * 4


def test_a_power_cut_between_pickle_and_ledger_loses_nothing(
    pairs: tuple[Extraction, ScriptedPacs, tuple[WrittenStudy, ...]],
) -> None:
    extraction, pacs, studies = pairs
    ledger = extraction.state(".studies.csv").read_bytes()
    files_of(extraction, studies[0])[0].unlink()
    assert verify(extraction).exit_code == 1
    assert studies[0].study_instance_uid not in extraction.state(".studies.csv").read_text()
    extraction.state(".studies.csv").write_bytes(ledger)
    moved_before = len(pacs.moved())
    assert extraction.run().exit_code == 0, extraction.output
    assert pacs.moved()[moved_before:] == [studies[0].study_instance_uid]


def test_what_the_journal_of_a_killed_run_holds_is_verified_too_and_does_not_come_back(
    pairs: tuple[Extraction, ScriptedPacs, tuple[WrittenStudy, ...]],
) -> None:
    extraction, _, studies = pairs
    entry = f"{studies[0].patient_id},{studies[0].study_instance_uid}"
    row = f"{studies[0].patient_id},{studies[0].accession_number}"
    extraction.state(".pickle").write_bytes(pickle.dumps([one for one in extraction.checkpoint() if one != entry]))
    extraction.state(".pickle.journal").write_text(f'{{"entries": ["{entry}"], "records": []}}\n')
    files_of(extraction, studies[0])[0].unlink()
    assert verify(extraction).exit_code == 1
    assert states(extraction)[studies[0].study_instance_uid] == "missing"
    assert not {entry, row} & set(extraction.checkpoint())
    assert not extraction.state(".pickle.journal").exists()


def test_the_checkpoint_is_left_alone_where_the_disk_cannot_be_trusted(
    pairs: tuple[Extraction, ScriptedPacs, tuple[WrittenStudy, ...]], tmp_path: Path
) -> None:
    extraction, _, studies = pairs
    before = {path: path.read_bytes() for path in extraction.folder.glob("list_mod.csv.[ps]*")}

    other = write_study(tmp_path / "other", patient_id="OTHER1")
    finished = verify(extraction, "--StorageFolder", str(tmp_path / "other"))
    assert finished.exit_code == 1
    assert "is that the right StorageFolder, and is its disk mounted?" in finished.output
    assert other.patient_id not in finished.output

    elsewhere = tmp_path / "second-disk"
    shutil.move(extraction.storage / studies[0].patient_id, elsewhere)
    (extraction.storage / studies[0].patient_id).symlink_to(elsewhere)
    finished = verify(extraction)
    assert finished.exit_code == 1
    assert "a link leads out of StorageFolder" in finished.output
    assert [row["Withdrawn"] for row in report(extraction)] == ["no"] * 4

    finished = verify(extraction, "--StorageFolder", str(tmp_path / "nowhere"))
    assert finished.exit_code == 2
    assert "is no folder" in finished.output
    assert not (tmp_path / "nowhere").exists()
    assert {path: path.read_bytes() for path in before} == before


def test_nothing_is_withdrawn_while_an_extraction_of_the_list_runs(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 2, instances=2, size=16)
    with from_pacs(tmp_path) as (extraction, pacs):
        looking = Extraction(extraction.folder / "look", config={"CsvFile": str(extraction.list_file)})
        told: list[Finished] = []
        pacs.script(faults.call(lambda: told.append(verify(looking)), "move").first())
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        looking.storage.mkdir()
        assert extraction.run().exit_code == 0, extraction.output
        [finished] = told
        assert finished.exit_code == 3, finished.output
        assert "list_mod.csv: another extraction works on it; wait until that has ended" in finished.output


def test_entries_of_an_earlier_niffler_are_kept_unless_the_disk_shows_that_they_are_not_complete(
    tmp_path: Path,
) -> None:
    extraction = Extraction(tmp_path / "work")
    studies = generate_studies(extraction.storage, 5, instances=2, size=16)
    cut(studies[1].paths[0])
    extraction.write_list("EMPI", [[study.patient_id] for study in studies[:2]])
    kept = [studies[0].patient_id, f"{studies[2].patient_id}, {studies[2].accession_number}",
            f"{studies[3].patient_id},{studies[3].study_instance_uid}", "a,b,c"]  # fmt: skip
    gone = [studies[1].patient_id, "GONE1", "GONE2,ACC", "GONE3,1.2.3.4"]
    extraction.state(".pickle").write_bytes(pickle.dumps([*gone, *kept]))
    finished = verify(extraction)
    assert finished.exit_code == 1
    assert extraction.checkpoint() == kept
    assert {row["State"] for row in report(extraction) if row["Withdrawn"] == "no"} == {"unverified", "unknown"}
    assert states(extraction)[studies[4].study_instance_uid] == "unknown"


def test_images_of_a_row_that_is_not_complete_are_no_strangers(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 2, instances=3, size=16)
    with from_pacs(tmp_path, faults.drop("move", after=2).study(studies[0].study_instance_uid)) as (extraction, _):
        extraction.system = {"MaxAttempts": 1}
        extraction.write_list("Accession", [[study.accession_number] for study in studies])
        extraction.config = {"FirstAttr": "AccessionNumber"}
        assert extraction.run().exit_code == 1
        assert extraction.words() == ["partial", "retrieved"]
        finished = verify(extraction)
        assert finished.exit_code == 1, "the row is still partial"
        assert [states(extraction)[study.study_instance_uid] for study in studies] == ["unfinished", "complete"]
        assert extraction.words() == ["partial", "retrieved"]


@pytest.mark.parametrize(
    ("config", "system", "told"),
    [
        ({"FilePath": "CFIND-ONLY"}, {}, "retrieves no images"),
        ({}, {"DestAet": "ELSEWHERE"}, "the images go to another machine (DestAet ELSEWHERE"),
        ({}, {}, "no extraction of this list left anything to compare with"),
    ],
)
def test_what_cannot_be_verified_is_said(
    tmp_path: Path, config: dict[str, object], system: dict[str, object], told: str
) -> None:
    extraction = Extraction(tmp_path / "work", config=config, system=system)
    extraction.write_list("EMPI", [["1"]])
    extraction.storage.mkdir()
    finished = verify(extraction)
    assert finished.exit_code == 2
    assert told in finished.output
    assert sorted(path.name for path in extraction.folder.iterdir() if path.name.startswith("list")) == ["list.csv"]
    assert not (extraction.folder / "niffler1.log").exists()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
def test_a_file_that_is_cut_off_anywhere_is_seen_without_its_pixel_data_being_read(tmp_path: Path, syntax: UID) -> None:
    [path] = write_study(tmp_path, instances_per_series=1, size=16).paths
    image = dcmread(path)
    image.ReferencedStudySequence = [Dataset()]
    image.ReferencedStudySequence[0].ReferencedSOPInstanceUID = "1.2.3"
    image["ReferencedStudySequence"].is_undefined_length = True
    if syntax == RLELossless:
        image.compress(RLELossless)
    image.file_meta.TransferSyntaxUID = syntax
    dcmwrite(path, image, enforce_file_format=True)
    [whole] = read_stored_files([str(path)], ["StudyDate"])
    assert (whole.problem, whole.patient_id, whole.values) == ("", "00001234", (("20200115",),))
    content = path.read_bytes()
    lengths = [0, 1, 140, *range(200, len(content), 37), len(content) - 8, len(content) - 1]
    for length in lengths:
        path.write_bytes(content[:length])
        [file] = read_stored_files([str(path)], [])
        assert file.problem and not file.is_refused, f"cut to {length} of {len(content)} bytes"
