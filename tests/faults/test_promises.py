"""The checker of the promises: it finds nothing where all is well, and every doctored state."""

import csv
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydicom import dcmread

from demo.studies import generate_studies
from tests.faults.promises import NOT_VERIFIED, Evidence, broken
from tests.faults.stage import staged
from tests.pacs.journal import Request


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    """A finished extraction: four patients, one of them named twice, one unknown, one row that cannot be asked."""
    folder = tmp_path_factory.mktemp("good")
    with staged(folder) as stage:
        studies = generate_studies(folder / "studies", 4, instances=2, size=16)
        stage.serve(studies)
        rows = [[study.patient_id] for study in studies]
        stage.extraction.write_list("EMPI", [*rows, rows[0], ["NOBODY"], ["X*"]])
        stage.run()
        yield stage.evidence(is_finished=True)


@pytest.fixture
def state(good: Evidence, tmp_path: Path) -> Evidence:
    """A copy of it, to be doctored."""
    work = tmp_path / "work"
    shutil.copytree(good.work, work)
    return replace(good, work=work, storage=work / "storage")


def test_an_extraction_in_good_order_breaks_no_promise(good: Evidence) -> None:
    assert broken(good) == []
    assert [row["Outcome"] for row in good.outcomes] == ["retrieved"] * 5 + ["not-found", "invalid"]
    assert len(good.verified) == 4


Doctor = Callable[[Evidence], Evidence | None]


@dataclass(frozen=True)
class Case:
    """A way to spoil the state, and the promises that are then broken; more may be."""

    name: str
    promise: str
    doctor: Doctor


def _image(state: Evidence) -> Path:
    return sorted(state.storage.rglob("*.dcm"))[0]


def _lose_an_image(state: Evidence) -> None:
    _image(state).unlink()


def _cut_an_image(state: Evidence) -> None:
    path = _image(state)
    path.write_bytes(path.read_bytes()[:-10])


def _spoil_an_image(state: Evidence) -> None:
    _image(state).write_bytes(b"no DICOM")


def _give_an_image_another(attribute: str, value: str) -> Doctor:
    def doctor(state: Evidence) -> None:
        dataset = dcmread(_image(state))
        setattr(dataset, attribute, value)
        dataset.save_as(_image(state), enforce_file_format=True)

    return doctor


def _change_outcomes(number: int, column: str, value: str) -> Doctor:
    def doctor(state: Evidence) -> None:
        path = state.work / "list_mod.csv.outcomes.csv"
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        rows[number][column] = value
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return doctor


def _lose_a_row(state: Evidence) -> None:
    path = state.work / "list_mod.csv.outcomes.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def _tell_a_row_twice(state: Evidence) -> None:
    path = state.work / "list_mod.csv.outcomes.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1]]))


def _lose_the_outcomes(state: Evidence) -> None:
    (state.work / "list_mod.csv.outcomes.csv").unlink()


def _claim_a_study(state: Evidence) -> None:
    path = state.work / "list_mod.csv.pickle"
    path.write_bytes(pickle.dumps([*pickle.loads(path.read_bytes()), "00000001,1.2.826.0.1.3680043.8.498.1"]))


def _leave(name: str) -> Doctor:
    def doctor(state: Evidence) -> None:
        (state.work / name).write_bytes(b"")

    return doctor


def _add_an_image_of_another_study(state: Evidence) -> None:
    dataset = dcmread(_image(state))
    dataset.StudyInstanceUID = "1.2.3"
    dataset.save_as(state.storage / "other.dcm", enforce_file_format=True)


def _request(**values: object) -> Doctor:
    request = Request("move", 1, 1, "A", "B", level="STUDY")
    return lambda state: replace(state, requests=[*state.requests, replace(request, **values)])  # type: ignore[arg-type]


def _run(**values: object) -> Doctor:
    return lambda state: replace(state, runs=[replace(state.runs[0], **values)])  # type: ignore[arg-type]


def _move_again(state: Evidence) -> Evidence:
    return replace(state, runs=[*state.runs, replace(state.runs[0], verified_before=state.verified)])


def _name_a_patient(state: Evidence) -> Evidence:
    [run] = state.runs
    return replace(state, runs=[replace(run, output=f"{run.output}INFO:root:{state.rows[0][0]} is ill\n")])


CASES = (
    Case("an image is missing", "P1", _lose_an_image),
    Case("an image is cut", "P1", _cut_an_image),
    Case("an image cannot be read", "P1", _spoil_an_image),
    Case("an image is of another patient", "P1", _give_an_image_another("PatientID", "OTHER")),
    Case("an image is of another study", "P1", _give_an_image_another("StudyInstanceUID", "1.2.3")),
    Case("more is said to be received than there is", "P1", _change_outcomes(0, "Received", "3")),
    Case("what is not there is called retrieved", "P1", _change_outcomes(5, "Outcome", "retrieved")),
    Case("the checkpoint has a study that was not received", "P1", _claim_a_study),
    Case("a verified study is moved again", "P2", _move_again),
    Case("a row is left behind", "P2", _change_outcomes(0, "Outcome", "pending")),
    Case("a failure stays although the PACS is well", "P2", _change_outcomes(0, "Outcome", "failed")),
    Case("a row has fewer studies than it should", "P2", _change_outcomes(0, "Studies", "0")),
    Case("half a file is left", "P2", _leave("storage/x.part")),
    Case("the journal is left", "P2", _leave("list_mod.csv.pickle.journal")),
    Case("another study is moved", "P3", _request(keys={"StudyInstanceUID": ("1.2.3",)})),
    Case("two studies are moved at once", "P3", _request(keys={"StudyInstanceUID": ("1.2.3", "1.2.4")})),
    Case("series are moved", "P3", _request(level="SERIES", keys={"StudyInstanceUID": ("1.2.3",)})),
    Case("the whole archive is asked for", "P3", _request(kind="find", keys={"PatientID": ()})),
    Case("wildcards are asked for", "P3", _request(kind="find", keys={"PatientID": ("0*",)})),
    Case("something is asked for that is in no row", "P3", _request(kind="find", keys={"PatientID": ("0001",)})),
    Case("a study is on disk that nobody wants", "P3", _add_an_image_of_another_study),
    Case("a file is written elsewhere", "P3", lambda state: replace(state, strangers=frozenset([Path("/x")]))),
    Case("a half-written file is left", "P3", _leave(".list_mod.csv.outcomes.csv.abc.new")),
    Case("a row is missing", "P4", _lose_a_row),
    Case("a row is told twice", "P4", _tell_a_row_twice),
    Case("there are no outcomes", "P4", _lose_the_outcomes),
    Case("a row is changed", "P4", _change_outcomes(1, "EMPI", "2")),
    Case("an outcome is no word of ours", "P4", _change_outcomes(1, "Outcome", "done")),
    Case("an invalid row has no reason", "P4", _change_outcomes(6, "Detail", " ")),
    Case("a row that is not-found has no reason", "P4", _change_outcomes(5, "Detail", "")),
    Case("unfinished.csv lacks a row", "P4", _change_outcomes(1, "Outcome", "failed")),
    Case("a run ends with a traceback", "P5", _run(output="Traceback (most recent call last):\nKeyError: 1")),
    Case("a run ends with a strange exit code", "P5", _run(exit_code=-11)),
    Case("a run is killed by something else than the test", "P5", _run(exit_code=-9)),
    Case("a run takes too long", "P5", _run(seconds=1000.0)),
    Case("a run gives up without a word", "P5", _run(exit_code=4)),
    Case("a patient is named", "P5", _name_a_patient),
    Case("a row is not-found although the PACS has it", "P5", _change_outcomes(0, "Outcome", "not-found")),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_doctored_state_breaks_its_promise(state: Evidence, case: Case) -> None:
    doctored = case.doctor(state) or replace(state)  # a copy has seen nothing yet
    found = broken(doctored)
    assert case.promise in {one.partition(":")[0] for one in found}, found


def test_what_an_earlier_niffler_says_is_taken_as_told(state: Evidence) -> None:
    _change_outcomes(0, "Detail", NOT_VERIFIED)(state)
    _image(state).unlink()
    assert not [one for one in broken(replace(state, is_finished=False)) if one.startswith("P1: row 1 ")]
