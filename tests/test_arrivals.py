"""What storescp stored: read from the files themselves, counted for the studies that were asked for."""

from pathlib import Path
from queue import SimpleQueue

import pytest
from pydicom import dcmread

from demo.studies import WrittenStudy, write_study
from niffler.arrivals import Arrival, ArrivalReader, Arrived, OnDisk, Received, read_arrival


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    return write_study(tmp_path / "storage", patient_id="00001234", instances_per_series=3)


def image(number: int, study: str = "1.2", patient: str = "P1", path: str = "", size: int = 10) -> Arrival:
    return Arrival(path or f"/data/{study}/{number}.dcm", study, patient, f"{study}.{number}", size)


def instances(on_disk: OnDisk, study: str = "1.2") -> int:
    return on_disk.of(study).instances


# What a file says it is


@pytest.mark.parametrize("flush", [False, True])
def test_a_stored_file_tells_study_patient_instance_and_size(study: WrittenStudy, flush: bool) -> None:
    for path, uid in zip(study.paths, study.sop_instance_uids, strict=True):
        assert read_arrival(str(path), flush=flush) == Arrival(
            str(path), study.study_instance_uid, "00001234", uid, path.stat().st_size
        )


@pytest.mark.parametrize("patient_id", ["P1 ", "P1\0", " P1", "P1"])
def test_padding_is_no_part_of_a_value(study: WrittenStudy, patient_id: str) -> None:
    header = dcmread(study.paths[0])
    header.PatientID = patient_id
    header.save_as(study.paths[0])
    assert read_arrival(str(study.paths[0])).patient_id == "P1"


@pytest.mark.parametrize("patient_id", ["Müller", "山田", ""])
def test_a_patient_id_is_read_in_the_character_set_of_the_file(study: WrittenStudy, patient_id: str) -> None:
    header = dcmread(study.paths[0])
    header.PatientID = patient_id
    header.save_as(study.paths[0])
    assert read_arrival(str(study.paths[0])).patient_id == patient_id


def test_a_file_without_patient_or_study_is_read_and_has_none(study: WrittenStudy) -> None:
    header = dcmread(study.paths[0])
    del header.PatientID, header.StudyInstanceUID
    header.save_as(study.paths[0])
    arrival = read_arrival(str(study.paths[0]))
    assert (arrival.patient_id, arrival.study_instance_uid, arrival.problem) == ("", "", "")
    assert arrival.sop_instance_uid == study.sop_instance_uids[0]


def test_a_file_that_is_gone_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    assert read_arrival(str(tmp_path / "gone.dcm")).problem == "No such file or directory"
    assert read_arrival(str(tmp_path)).problem == "Is a directory"
    assert read_arrival("\0").problem


@pytest.mark.parametrize("content", [b"", b"\xff" * 500, b"not DICOM" * 50, b"\0" * 128 + b"DICM" + b"\xff" * 50])
def test_a_damaged_file_is_never_an_exception_and_belongs_to_no_study(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.dcm"
    path.write_bytes(content)
    arrival = read_arrival(str(path))
    assert arrival.path == str(path)
    assert arrival.study_instance_uid == ""


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_file_cut_short_in_its_header_has_a_problem_or_no_study(study: WrittenStudy) -> None:
    whole = study.paths[0].read_bytes()
    end_of_header = whole.index(study.study_instance_uid.encode())
    for length in range(100, end_of_header, 40):
        study.paths[0].write_bytes(whole[:length])
        assert read_arrival(str(study.paths[0])).study_instance_uid == ""


# The thread that reads them


def take_all(events: "SimpleQueue[object]") -> list[Arrival]:
    arrivals: list[Arrival] = []
    while not events.empty():
        event = events.get()
        assert isinstance(event, Arrived)
        arrivals += event.arrivals
    return arrivals


def test_files_are_told_in_the_order_in_which_they_were_stored(study: WrittenStudy, tmp_path: Path) -> None:
    events: SimpleQueue[object] = SimpleQueue()
    reader = ArrivalReader(events)
    paths = [*map(str, study.paths), str(tmp_path / "gone.dcm")] * 200
    for path in paths:
        reader.stored(path)
    reader.close()
    arrivals = take_all(events)
    assert [arrival.path for arrival in arrivals] == paths
    assert [arrival.problem for arrival in arrivals[:4]] == ["", "", "", "No such file or directory"]


def test_a_file_is_told_without_waiting_for_others(study: WrittenStudy) -> None:
    events: SimpleQueue[object] = SimpleQueue()
    reader = ArrivalReader(events)
    for path in study.paths:
        reader.stored(str(path))
        event = events.get(timeout=30)
        assert isinstance(event, Arrived)
        assert [arrival.path for arrival in event.arrivals] == [str(path)]
    reader.close()


def test_a_reader_that_was_told_of_nothing_ends() -> None:
    events: SimpleQueue[object] = SimpleQueue()
    ArrivalReader(events).close()
    assert events.empty()


# What is there of a study


def test_instances_of_an_expected_study_count() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    assert on_disk.take(image(1))
    assert on_disk.take(image(2, size=5))
    assert on_disk.of("1.2") == Received(instances=2, size=15, deliveries=2, other_patient=0)
    assert (on_disk.instances, on_disk.size) == (2, 15)


def test_what_nobody_asked_for_does_not_count() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    assert not on_disk.take(image(1, study="1.9"))
    assert not on_disk.take(Arrival("/data/x", problem="not a readable DICOM file"))
    assert on_disk.of("1.2") == Received()
    assert on_disk.of("1.9") == Received()
    assert on_disk.instances == 0


def test_images_of_another_patient_do_not_count_for_the_study() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    assert not on_disk.take(image(1, patient="P2"))
    assert not on_disk.take(image(2, patient=""))
    assert on_disk.of("1.2") == Received(other_patient=2)


def test_without_a_known_patient_any_patient_is_right() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "")
    assert on_disk.take(image(1, patient="P2"))
    assert instances(on_disk) == 1


def test_an_instance_that_is_sent_twice_is_one_instance_and_two_deliveries() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    on_disk.take(image(1))
    on_disk.take(image(1))
    on_disk.take(image(1, path="/data/elsewhere.dcm"))
    assert on_disk.of("1.2") == Received(instances=1, size=10, deliveries=3)


def test_an_instance_whose_file_another_one_replaced_is_gone() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    on_disk.take(image(1, path="/data/same.dcm"))
    on_disk.take(image(2, path="/data/same.dcm"))
    assert on_disk.of("1.2") == Received(instances=1, size=10, deliveries=2)


def test_a_file_of_another_study_under_the_same_name_takes_the_place_too() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    on_disk.expect("1.3", "P1")
    on_disk.take(image(1, path="/data/same.dcm"))
    on_disk.take(image(1, study="1.3", path="/data/same.dcm"))
    assert (instances(on_disk), instances(on_disk, "1.3")) == (0, 1)


@pytest.mark.parametrize(
    "other",
    [
        image(1, study="1.9", path="/data/same.dcm"),
        image(1, patient="P2", path="/data/same.dcm"),
        Arrival("/data/same.dcm", problem="not a readable DICOM file"),
    ],
)
def test_whatever_takes_the_place_of_a_file_the_file_is_gone(other: Arrival) -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    on_disk.take(image(1, path="/data/same.dcm"))
    on_disk.take(other)
    assert instances(on_disk) == 0


def test_an_instance_that_stands_at_two_places_is_there_while_the_later_one_is() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    on_disk.take(image(1, path="/data/first.dcm"))
    on_disk.take(image(1, path="/data/second.dcm"))
    on_disk.take(image(2, path="/data/first.dcm"))
    assert instances(on_disk) == 2


def test_another_attempt_keeps_the_instances_and_counts_deliveries_anew() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    on_disk.take(image(1))
    on_disk.take(image(2, patient="P2"))
    on_disk.expect("1.2", "P1")
    assert on_disk.of("1.2") == Received(instances=1, size=10)
    on_disk.take(image(2))
    assert on_disk.of("1.2") == Received(instances=2, size=20, deliveries=1)


def test_studies_do_not_mix() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    on_disk.expect("1.3", "P2")
    on_disk.take(image(1))
    on_disk.take(image(1, study="1.3", patient="P2"))
    assert (instances(on_disk), instances(on_disk, "1.3")) == (1, 1)


def test_an_image_that_comes_after_the_verdict_is_asked_for_and_counts_for_the_run_alone() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    on_disk.take(image(1))
    on_disk.forget("1.2")
    assert on_disk.take(image(2))
    assert on_disk.of("1.2") == Received()
    assert on_disk.instances == 2


def test_a_forgotten_study_can_be_expected_again() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    on_disk.take(image(1))
    on_disk.forget("1.2")
    on_disk.expect("1.2", "P1")
    on_disk.take(image(2))
    assert on_disk.of("1.2") == Received(instances=1, size=10, deliveries=1)


def test_forgetting_one_study_leaves_the_others() -> None:
    on_disk = OnDisk()
    on_disk.expect("1.2", "P1")
    on_disk.expect("1.3", "P1")
    on_disk.take(image(1, study="1.3"))
    on_disk.forget("1.2")
    on_disk.forget("1.9")
    assert instances(on_disk, "1.3") == 1
    on_disk.take(image(2, study="1.3", path="/data/1.3/1.dcm"))
    assert instances(on_disk, "1.3") == 1, "the file that was replaced is still known"
