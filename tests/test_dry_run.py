"""--DryRun true: it checks what could fail, asks by C-FIND alone, says what a run would do, and hinders nobody."""

import itertools
import signal
import socket
from pathlib import Path

import pytest

from demo.ports import free_port
from demo.studies import Series, generate_studies, write_study
from niffler import forecast, slots
from niffler.errors import WrongInputError
from niffler.findings import Finding, Found, sample, with_suspiciously_many
from niffler.forecast import Measured, Planned
from niffler.ledger import Record
from niffler.night import Window
from niffler.settings_files import read_settings
from niffler.vocabulary import Request
from niffler.worklist import without_value
from tests.clock import MovedClock
from tests.extraction import ROOT, Extraction, Finished, from_pacs, patient_data, read_csv, tools_running, wait_until
from tests.pacs import faults

PLAN = ("Plan", "Studies", "Images", "Modalities")


def dry_run(extraction: Extraction, *arguments: str, environment: dict[str, str] | None = None) -> Finished:
    return extraction.run("--DryRun", "true", *arguments, environment=environment)


def plan(extraction: Extraction) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in PLAN) for row in read_csv(extraction.state(".plan.csv"))]


def words(extraction: Extraction) -> list[str]:
    return [row["Plan"] for row in read_csv(extraction.state(".plan.csv"))]


def files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file but what the tests themselves write, with all that a change of it would change."""
    written_by_tests = ("output.txt", "system.json", "config.json")
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in written_by_tests]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def test_the_plan_says_of_every_row_what_a_run_would_do_and_the_terminal_says_it_without_patients(
    tmp_path: Path,
) -> None:
    studies = list(generate_studies(tmp_path / "studies", 4, instances=2, size=16, studies_per_patient=1))
    mixed = (Series("CT", instances=2), Series("MR", instances=1))
    studies += [
        write_study(tmp_path / "studies", patient_id="MANY", accession_number=f"M{number}", series=mixed, size=16)
        for number in range(3)
    ]
    lies = faults.answer_with("PatientID", "SOMEBODY").study(studies[2].study_instance_uid)
    uncounted = faults.omit("NumberOfStudyRelatedInstances").study(studies[3].study_instance_uid)
    with from_pacs(tmp_path, lies, uncounted) as (extraction, pacs):
        extraction.config |= {"SendEmail": True, "YourEmail": "somebody@example.org"}
        extraction.system["SmtpPort"] = free_port()
        ids = ["00000001", "MANY", "NOBODY", "00000003", "00000004", "0000*", "NOTHING?", "00000001"]
        extraction.write_list("EMPI,Remark", [[one, f"remark {row}"] for row, one in enumerate(ids)])
        finished = dry_run(extraction)
        assert finished.exit_code == 1, finished.output
        assert plan(extraction) == [
            ("one match", "1", "2", "CT"),
            ("several matches", "3", "9", "CT MR"),
            ("no match", "0", "", ""),
            ("refused", "0", "", ""),
            ("one match", "1", "", "CT"),
            ("invalid", "0", "", ""),
            ("invalid", "0", "", ""),
            ("one match", "1", "2", "CT"),
        ]
        rows = read_csv(extraction.state(".plan.csv"))
        assert list(rows[0]) == ["EMPI", "Remark", *PLAN, "Detail"]
        assert [row["Remark"] for row in rows] == [f"remark {row}" for row in range(8)]
        assert "PatientID was asked as '00000003' and answered as 'SOMEBODY'" in rows[3]["Detail"]

        said = finished.output
        assert "  2  invalid\n" in said
        assert "  2  PatientID holds a DICOM wildcard or list separator (* ? \\); set AllowWildcards" in said
        assert "(lines 7, 8)" in said
        assert "  1  no match (line 4)\n" in said
        assert "To retrieve: 5 studies, 14 images (1 studies without a count have as many as the others)" in said
        assert "modalities: CT in 5 studies, MR in 3 studies" in said
        assert "Time: not known before" in said
        assert "a rough estimate, by what is usual" in said
        assert "note  the mail server" in said
        assert "WRONG" not in said
        private = {*patient_data(studies), "NOBODY", "NOTHING", "0000*", "SOMEBODY", "remark"}
        assert not [value for value in private if value in said]

        assert {request.kind for request in pacs.requests()} == {"association", "echo", "find"}
        assert {path.name for path in files(extraction.folder)} == {"list.csv", "list_mod.csv.plan.csv"}
        assert not extraction.storage.exists()


def test_a_sample_is_spread_over_the_list_and_by_day_it_is_asked_all_the_same(
    tmp_path: Path,
) -> None:
    studies = generate_studies(tmp_path / "studies", 30, instances=1, size=16)
    clock = MovedClock(tmp_path / "clock")
    clock.set("2026-03-01 12:00:00")
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.system |= {"NightlyOnly": True, "QueriesPerAssociation": 2}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        finished = dry_run(extraction, "--DryRunRows", "5", environment=clock.environment)
        assert finished.exit_code == 0, finished.output
        assert "note  the nightly window is shut until 2026-03-01 19:00" in finished.output
        assert "5 different rows of 30, spread over the list" in finished.output
        assert "for all 30 rows about 30 studies, 30 images, as 5 were asked" in finished.output
        asked = [row for row, word in enumerate(words(extraction)) if word == "one match"]
        assert [row // 6 for row in asked] == [0, 1, 2, 3, 4], "one of each part of the list"
        assert words(extraction).count("not asked") == 25
        assert len(pacs.requests("find")) == 5


def test_after_a_run_what_is_complete_is_not_asked_and_time_and_room_are_told_by_what_was_measured(
    tmp_path: Path,
) -> None:
    studies = generate_studies(tmp_path / "studies", 4, instances=2, size=16)
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.write_list("EMPI", [[study.patient_id] for study in studies[:2]])
        assert extraction.run().exit_code == 0
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        before, asked_before = files(extraction.folder), len(pacs.requests("find"))
        finished = dry_run(extraction)
        assert finished.exit_code == 0, finished.output
        assert words(extraction) == ["complete already"] * 2 + ["one match"] * 2
        asked = [request.keys["PatientID"] for request in pacs.requests("find")[asked_before:]]
        assert asked == [(study.patient_id,) for study in studies[2:]]
        assert "To retrieve: 2 studies, 4 images" in finished.output
        assert "at the rate last measured here (4 images in " in finished.output
        assert "by the mean size of 4 images here" in finished.output
        after = files(extraction.folder)
        del after[extraction.state(".plan.csv")]
        assert after == before, "nothing but the plan is written"


def test_an_extraction_that_runs_is_left_alone(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 3, instances=1, size=16)
    other = Extraction(tmp_path / "other")
    looked: list[Finished] = []
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        other.source, other.port = pacs.address, extraction.port
        other.config = {"CsvFile": str(extraction.list_file), "StorageFolder": str(extraction.storage)}
        state: list[object] = []

        def look() -> None:
            extraction.wait_until_it_says("line 2: retrieved")
            before = pacs.requests()
            looked.append(dry_run(other))
            state.append(pacs.requests() == before)

        pacs.script(faults.call(look, "move").nth(2))
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["retrieved"] * 3
        assert looked[0].exit_code == 3
        assert f"WRONG an extraction uses {pacs.address} now, and is left alone" in looked[0].output
        assert state == [True], "the PACS heard nothing of the dry run"
        assert words(extraction) == ["not asked"] * 3


def test_an_extraction_that_begins_finds_its_place_free_and_the_dry_run_leaves_the_pacs_to_it(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 6, instances=1, size=16)
    other = Extraction(tmp_path / "other")
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.system |= {"QueriesPerAssociation": 2, "ResponseTimeoutSeconds": 120}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        other.source, other.port = pacs.address, extraction.port
        other.write_list("EMPI", [[studies[0].patient_id]])

        def begin() -> None:
            other.start()
            other.wait_until_it_says("storescp listens")

        hold = faults.call(lambda: wait_until(lambda: "C-FIND" in extraction.output), "move")
        wait_for_look = faults.call(lambda: wait_until(lambda: "has begun" in extraction.output), "move")
        pacs.script(faults.call(begin, "find").nth(1), hold, wait_for_look)
        finished = dry_run(extraction)
        assert finished.exit_code == 3, finished.output
        assert "an extraction from the same PACS has begun" in finished.output
        assert "2 of 6 were asked" in finished.output
        assert words(extraction) == ["one match"] * 2 + ["not asked"] * 4
        [process] = other.started
        assert other.finish(process).exit_code == 0, other.output
        assert "left over" not in other.output, "the findscu of a dry run is no leftover"


def test_everything_that_would_fail_is_told_at_once(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path / "work", source=f"NOBODY@127.0.0.1:{free_port()}")
    extraction.system = {"DCM4CHEBin": str(tmp_path), "MinFreeDiskGB": 1_000_000}
    extraction.write_list("EMPI", [["1"], ["2"]])
    with socket.create_server(("127.0.0.1", extraction.port)):
        finished = dry_run(extraction)
    assert finished.exit_code == 3, finished.output
    wrong = [line for line in finished.output.splitlines() if line.startswith("WRONG")]
    assert len(wrong) == 4, finished.output
    assert "MinFreeDiskGB is 1e+06: make room" in wrong[0]
    assert f"{tmp_path}/storescp does not exist; set DCM4CHEBin" in wrong[1]
    assert f"port {extraction.port} is held by" in wrong[2]
    assert "C-ECHO: Association rejected, aborted or never connected; compare SrcAet" in wrong[3]
    assert "An extraction could not start now" in finished.output
    assert words(extraction) == ["not asked"] * 2


def test_a_list_that_cannot_be_read_ends_like_a_run_and_the_rest_is_checked_all_the_same(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path / "work")
    extraction.list_file.write_text("EMPI;Date\n1;20200101\n")
    finished = dry_run(extraction)
    assert finished.exit_code == 2, finished.output
    assert f"WRONG {extraction.list_file}: the columns are separated by semicolons" in finished.output
    assert "WRONG NOBODY" in finished.output
    assert not extraction.state(".plan.csv").exists()


def test_ctrl_c_ends_it_with_the_plan_of_what_was_asked(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 4, instances=1, size=16)
    with from_pacs(tmp_path, faults.hang("find").nth(3)) as (extraction, pacs):
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        process = extraction.start("--DryRun", "true")
        pacs.wait_until(lambda pacs: len(pacs.requests("find")) == 3, seconds=30)
        process.send_signal(signal.SIGINT)
        finished = extraction.finish(process)
        assert finished.exit_code == 130, finished.output
        assert "stopped: 2 of 4 were asked" in finished.output
        assert words(extraction) == ["one match"] * 2 + ["not asked"] * 2
        assert tools_running(extraction.port) == []


def test_what_fails_is_asked_again_and_what_fails_for_good_is_told_with_its_reason(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 4, instances=1, size=16)
    breaks = faults.abort("find").nth(2)
    fails = faults.answer_find(0xC001, "no record of Doe").key("PatientID", studies[3].patient_id)
    with from_pacs(tmp_path, breaks, fails) as (extraction, pacs):
        extraction.system["MaxAttempts"] = 2
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        finished = dry_run(extraction)
        assert finished.exit_code == 1, finished.output
        assert words(extraction) == ["one match"] * 3 + ["failed"]
        assert "1  C-FIND: status C001H, unable to process (line 5)" in finished.output
        assert "Doe" not in finished.output
        asked = [request.keys["PatientID"] for request in pacs.requests("find")]
        assert asked.count((studies[1].patient_id,)) == 2
        assert asked.count((studies[3].patient_id,)) == 2


def test_a_dry_run_for_metadata_needs_no_port_and_no_room_for_images(tmp_path: Path) -> None:
    generate_studies(tmp_path / "studies", 1, instances=1, size=16)
    with from_pacs(tmp_path) as (extraction, _):
        extraction.write_list("AccessionNumber", [["G0000001"]])
        with socket.create_server(("127.0.0.1", extraction.port)):
            finished = dry_run(extraction, "--FilePath", "CFIND-DETAILED", "--FirstAttr", "AccessionNumber")
        assert finished.exit_code == 0, finished.output
        assert "cfind-output.csv will hold PatientID, " in finished.output
        assert "To retrieve" not in finished.output
        assert not extraction.storage.exists()


def test_rows_for_a_sample_without_a_dry_run_are_a_fault_as_they_would_begin_a_run() -> None:
    with pytest.raises(WrongInputError, match="--DryRunRows is for a dry run; give --DryRun true too"):
        read_settings(["--DryRunRows", "5"], beside=ROOT)


# What it reckons with


def record(uid: str, finished: str, seconds: float, received: int = 10, size: int = 1000, request: str = "a") -> Record:
    return Record(request, 1, "p", uid, "", received, received, 1, seconds, size, finished)


def test_time_counts_once_while_several_studies_are_under_way_and_not_while_none_is() -> None:
    records = [
        record("1", "2026-03-01T20:00:10", 10.0),
        record("2", "2026-03-01T20:00:10", 5.0),
        record("3", "2026-03-01T20:00:15", 12.0),
        record("3", "2026-03-01T20:00:15", 12.0, request="b"),
        record("4", "2026-03-02T20:00:00", 20.0),
        record("", "2026-03-02T20:00:00", 0.0),
    ]
    rate = forecast.measured(records)
    assert rate == Measured(4, 40, 4000, 35.0, "2026-03-02T20:00:00")
    assert rate.seconds_for(80) == pytest.approx(70.0)
    assert forecast.measured([]) is None
    assert forecast.measured([record("1", "no time", 10.0)]) is None


def test_room_is_told_by_the_images_so_far_or_by_the_largest_modality() -> None:
    studies = [Planned(10, ("CT", "SR")), Planned(None), Planned(20, ())]
    assert forecast.images_of(studies) == 45
    assert forecast.bytes_of(studies, Measured(1, 10, 1000, 1.0, "")) == pytest.approx(4500)
    assert forecast.bytes_of(studies, None) == pytest.approx((10 * 0.53e6 + 20 * 0.5e6) * 1.5)
    assert forecast.bytes_of([], None) == 0
    assert forecast.nights(36_000 * 2.4, Window(20, 6)) == pytest.approx(2.4)
    assert forecast.nights(86_400, Window(5, 5)) == 1


def test_a_row_stands_out_by_far_more_studies_than_the_others_or_by_several_for_one_accession() -> None:
    patients = [Request(("PatientID",), (str(number),)) for number in range(4)]
    matches = [Finding(Found.ONE, 1), Finding(Found.SEVERAL, 2), Finding(Found.SEVERAL, 2), Finding(Found.SEVERAL, 21)]
    assert with_suspiciously_many(patients, matches) == [3]
    often = [Finding(Found.SEVERAL, 30)] * 3 + [Finding(Found.SEVERAL, 299)]
    assert with_suspiciously_many(patients, often) == []
    accessions = [Request(("AccessionNumber",), (str(number),)) for number in range(4)]
    assert with_suspiciously_many(accessions, matches) == [1, 2, 3]


def test_a_sample_has_one_row_of_each_part() -> None:
    requests = list(range(100, 200))
    assert sample(requests, 0) == sample(requests, 100) == sample(requests, 101) == requests
    chosen = sample(requests, 7)
    assert chosen == sample(requests, 7)
    parts = [requests[begin:end] for begin, end in itertools.pairwise((0, 14, 28, 42, 57, 71, 85, 100))]
    assert all(one in part for one, part in zip(chosen, parts, strict=True))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("line 5: PatientID '0000*' holds a DICOM wildcard", "PatientID holds a DICOM wildcard"),
        ("line 5: PatientID 'O'Hara' is no' is damaged", "PatientID is damaged"),
        ("line 12: column 0 (PatientID) is empty", "column 0 (PatientID) is empty"),
        (
            "line 2: StudyDate '2020011' is not written as %Y%m%d writes it (20200101); see DateFormat",
            "StudyDate is not written as %Y%m%d writes it; see DateFormat",
        ),
    ],
)
def test_the_reason_of_an_invalid_row_is_told_without_its_value(fault: str, reason: str) -> None:
    assert without_value(fault) == reason


def test_a_port_is_tried_without_being_taken() -> None:
    port = free_port()
    assert slots.fault_of_port(port) == ""
    with socket.create_server(("", port)):
        assert f"port {port} is held by python" in slots.fault_of_port(port)
