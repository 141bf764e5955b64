"""The demo PACS as its clients see it."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom.association import Association

from demo.pacs import DemoPacs
from demo.run import main, run
from demo.studies import WrittenStudy, generate_studies, write_sample_studies
from tests.pacs.client import Receiver, Response, associate, find, move

ROOT = Path(__file__).resolve().parent.parent
needs_dcmtk = pytest.mark.skipif(not shutil.which("movescu"), reason="needs DCMTK: apt install dcmtk")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[WrittenStudy, ...]]:
    folder = tmp_path_factory.mktemp("samples")
    return folder, write_sample_studies(folder)


@pytest.fixture(scope="module")
def pacs(samples: tuple[Path, tuple[WrittenStudy, ...]]) -> Iterator[DemoPacs]:
    with DemoPacs(samples[0]) as running:
        yield running


@pytest.fixture(scope="module")
def receiver(pacs: DemoPacs) -> Iterator[Receiver]:
    with Receiver() as running:
        pacs.add_destination("RECEIVER", "127.0.0.1", running.port)
        yield running


@pytest.fixture
def association(pacs: DemoPacs) -> Iterator[Association]:
    established = associate(pacs)
    yield established
    established.release()


def values(responses: list[Response], keyword: str) -> list[str]:
    return sorted(str(one.identifier.get(keyword)) for one in responses if one.identifier is not None)


def test_echo(association: Association) -> None:
    assert association.send_c_echo().Status == 0


def test_patient_id_with_leading_zeros_finds_three_studies(association: Association) -> None:
    responses = find(association, PatientID="00005678", AccessionNumber=None, NumberOfStudyRelatedInstances=None)
    assert values(responses, "AccessionNumber") == ["CR19A00231", "CT20A00305", "MR20A00112"]
    assert values(responses, "NumberOfStudyRelatedInstances") == ["2", "4", "5"]
    assert responses[-1].status == 0
    assert not values(find(association, PatientID="5678"), "PatientID")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"AccessionNumber": "MR20*"}, ["MR20A00112", "MR20A00418"]),
        ({"AccessionNumber": "CT20A00?17"}, ["CT20A00017"]),
        ({"StudyDate": "20200101-20200131", "AccessionNumber": None}, ["CT20A00017", "CT20A00305"]),
        ({"StudyDate": "-20191231", "AccessionNumber": None}, ["CR19A00231"]),
        ({"StudyDate": "20200518-", "AccessionNumber": None}, ["MR20A00418", "XX20A00533"]),
        ({"PatientName": "müller*", "AccessionNumber": None}, ["XX20A00533"]),
        ({"PatientID": "ΑΘ-00042", "AccessionNumber": None}, ["MR20A00418"]),
        ({"ModalitiesInStudy": "CR", "AccessionNumber": None}, ["CR19A00231", "XX20A00533"]),
        ({"AccessionNumber": "NOSUCH"}, []),
    ],
)
def test_keys_match(association: Association, keys: dict[str, Any], expected: list[str]) -> None:
    assert values(find(association, **keys), "AccessionNumber") == expected


def test_uid_list_finds_all_of_it(association: Association, samples: tuple[Path, tuple[WrittenStudy, ...]]) -> None:
    uids = [study.study_instance_uid for study in samples[1][:3]]
    assert values(find(association, StudyInstanceUID=[*uids, "1.2.3"]), "StudyInstanceUID") == sorted(uids)


def test_series_level_needs_the_study(association: Association, samples: tuple[Path, tuple[WrittenStudy, ...]]) -> None:
    uid = samples[1][0].study_instance_uid
    responses = find(
        association, "SERIES", StudyInstanceUID=uid, SeriesDescription=None, NumberOfSeriesRelatedInstances=None
    )
    assert values(responses, "SeriesDescription") == ["Axial", "Coronal"]
    assert values(responses, "NumberOfSeriesRelatedInstances") == ["3", "4"]
    refused = find(association, "SERIES", BodyPartExamined="KNEE")
    assert [one.status for one in refused] == [0xA900]


def test_relational_series_query(pacs: DemoPacs) -> None:
    association = associate(pacs, is_relational=True)
    responses = find(association, "SERIES", BodyPartExamined="KNEE", AccessionNumber=None)
    association.release()
    assert values(responses, "AccessionNumber") == ["MR20A00418"]


def test_patient_root_needs_the_patient(association: Association) -> None:
    assert len(find(association, patient_root=True, PatientID="00005678", StudyInstanceUID=None)) == 4
    assert find(association, patient_root=True, AccessionNumber="CT20A00017")[-1].status == 0xA900


def test_move_sends_the_stored_instances(
    association: Association, samples: tuple[Path, tuple[WrittenStudy, ...]], receiver: Receiver
) -> None:
    receiver.received.clear()
    study = samples[1][0]
    responses = move(association, "RECEIVER", StudyInstanceUID=study.study_instance_uid)
    assert [one.status for one in responses] == [0xFF00] * 7 + [0]
    assert responses[2].counts == (4, 3, 0, 0)
    assert responses[-1].counts == (None, 7, 0, 0)
    stored = {str(dataset.SOPInstanceUID): dataset for dataset in map(dcmread, study.paths)}
    assert sorted(receiver.sop_instance_uids()) == sorted(stored)
    assert all(dataset == stored[str(dataset.SOPInstanceUID)] for dataset in receiver.received)


def test_unknown_destination_and_unknown_study(
    association: Association, samples: tuple[Path, tuple[WrittenStudy, ...]], receiver: Receiver
) -> None:
    uid = samples[1][0].study_instance_uid
    assert [one.status for one in move(association, "NOBODY", StudyInstanceUID=uid)] == [0xA801]
    nothing = move(association, "RECEIVER", StudyInstanceUID="1.2.3")
    assert (nothing[-1].status, nothing[-1].counts) == (0, (None, 0, 0, 0))


def test_move_in_patient_root_takes_only_the_patients_own(
    association: Association, samples: tuple[Path, tuple[WrittenStudy, ...]], receiver: Receiver
) -> None:
    uid = samples[1][0].study_instance_uid
    own = move(association, "RECEIVER", patient_root=True, PatientID="00001234", StudyInstanceUID=uid)
    other = move(association, "RECEIVER", patient_root=True, PatientID="00005678", StudyInstanceUID=uid)
    assert (own[-1].counts[1], other[-1].counts[1]) == (7, 0)


def test_destination_that_is_not_there_fails_every_instance(
    association: Association, pacs: DemoPacs, samples: tuple[Path, tuple[WrittenStudy, ...]]
) -> None:
    pacs.add_destination("GONE", "127.0.0.1", 1)
    final = move(association, "GONE", StudyInstanceUID=samples[1][1].study_instance_uid)[-1]
    assert (final.status, final.counts) == (0xA702, (None, 0, 2, 0))


def test_generated_studies_are_the_same_each_time(tmp_path: Path) -> None:
    first = generate_studies(tmp_path / "a", 4, instances=2, size=16, studies_per_patient=3)
    second = generate_studies(tmp_path / "b", 4, instances=2, size=16, studies_per_patient=3)
    assert [one.sop_instance_uids for one in first] == [one.sop_instance_uids for one in second]
    assert [one.patient_id for one in first] == ["00000001"] * 3 + ["00000002"]
    assert [path.read_bytes() for path in first[0].paths] == [path.read_bytes() for path in second[0].paths]
    assert dcmread(first[0].paths[0]).pixel_array.shape == (16, 16)
    other = generate_studies(tmp_path / "c", 1, seed="other")
    assert other[0].study_instance_uid != first[0].study_instance_uid


def test_stop_leaves_no_thread(tmp_path: Path) -> None:
    generate_studies(tmp_path, 1, size=8)
    before = set(threading.enumerate())
    with DemoPacs(tmp_path) as pacs:
        association = associate(pacs)
        assert association.is_established
        socket.create_connection((pacs.host, pacs.port)).close()  # as those do who wait for a port
        with socket.create_connection((pacs.host, pacs.port)):
            time.sleep(0.2)
            pacs.stop()
    association.join(5)
    association.dul.join(5)
    assert set(threading.enumerate()) <= before


def test_command_ends_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo.pacs", "--generate", "2", "--port", "0", "--ae-title", "A"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on ")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


@needs_dcmtk
def test_movescu_of_dcmtk_retrieves(tmp_path: Path, samples: tuple[Path, tuple[WrittenStudy, ...]]) -> None:
    with Receiver() as free:
        port = free.port
    with DemoPacs(samples[0], destinations={"MOVESCU": ("127.0.0.1", port)}) as pacs:
        command = ["movescu", "-S", "--port", str(port), "-od", str(tmp_path), "-aec", pacs.ae_title]
        for key in ("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={samples[1][5].study_instance_uid}"):
            command += ["-k", key]
        subprocess.run([*command, pacs.host, str(pacs.port)], check=True, timeout=20)
    received = sorted(str(dcmread(path).SOPInstanceUID) for path in tmp_path.iterdir())
    assert received == sorted(samples[1][5].sop_instance_uids)


FAKE_EXTRACTION = """
import csv, json, pathlib, sys
settings = json.loads(pathlib.Path("system.json").read_text())
assert settings["SrcAet"].startswith("DEMOPACS@127.0.0.1:") and not settings["SrcAet"].endswith(":11112")
pathlib.Path("images/00001234").mkdir()
pathlib.Path("images/00001234/1.dcm").touch()
rows = [["PatientID", "Outcome", "Detail"], ["00001234", "retrieved", ""], ["00009999", "not-found", ""]]
rows += [["1.23E+11", OUTCOME, "damaged"], ["00005678", "retrieved", ""]]
with open("studies_mod.csv.outcomes.csv", "w", newline="") as lines:
    csv.writer(lines).writerows(rows)
sys.exit(1)
"""


@pytest.mark.parametrize(("outcome", "exit_code"), [("invalid", 0), ("failed", 1)])
def test_demo_judges_the_outcomes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], outcome: str, exit_code: int
) -> None:
    script = tmp_path / "extraction.py"
    script.write_text(FAKE_EXTRACTION.replace("OUTCOME", repr(outcome)))
    assert run(tmp_path / "work", script) == exit_code
    shown = capsys.readouterr().out
    assert f"1.23E+11   {outcome}" in shown
    assert "00001234/\n    1.dcm\n" in shown
    assert ("exit code 1, as it should" in shown) is (exit_code == 0)


def test_demo_spares_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.touch()
    with pytest.raises(SystemExit):
        main(["--work", str(tmp_path)])
    assert precious.exists()


def test_docker_settings_differ_only_in_their_places() -> None:
    for name, places in {
        "system.json": {"DCM4CHEBin", "SrcAet", "QueryAet", "MaxNifflerProcesses"},
        "config.json": {"StorageFolder", "CsvFile"},
    }.items():
        here, there = (json.loads((ROOT / "demo" / folder / name).read_text()) for folder in (".", "docker"))
        assert {key for key in here if here[key] != there[key]} == {"$schema", *places}


def test_docker_settings_name_the_services_of_compose() -> None:
    system = json.loads((ROOT / "demo" / "docker" / "system.json").read_text())
    compose = (ROOT / "docker-compose.yml").read_text()
    pacs_host = system["SrcAet"].partition("@")[2].partition(":")[0]
    title, _, port = system["QueryAet"].partition(":")
    assert f"\n  {pacs_host}:\n" in compose
    assert "\n  demo-extraction:\n" in compose
    assert f'"{title}=demo-extraction:{port}"' in compose


def test_image_has_dcm4che_where_the_settings_look_for_it() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    version = dockerfile.partition("ARG DCM4CHE_VERSION=")[2].split()[0]
    folders = {json.loads((ROOT / folder / "system.json").read_text())["DCM4CHEBin"] for folder in (".", "demo/docker")}
    assert folders == {f"/opt/dcm4che-{version}/bin", "/opt/dcm4che/bin"}
    assert 'ln -s "dcm4che-${DCM4CHE_VERSION}" /opt/dcm4che ' in dockerfile
