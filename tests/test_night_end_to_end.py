"""The nightly window and what is done by the clock, with a clock that the test moves."""

import re
import signal
from pathlib import Path

import pytest

from demo.studies import generate_studies
from tests.clock import MovedClock
from tests.extraction import all_instances, from_pacs, patient_data, tools_running, wait_until
from tests.mail_server import MailServer
from tests.pacs import faults

SHUT = "the nightly window is shut"
OPEN = "the nightly window is open"


@pytest.mark.parametrize(
    ("start_hour", "end_hour", "evening", "opening", "while_open", "shutting", "next_opening"),
    [
        pytest.param(
            19, 7, "2026-03-01 18:59:59", "2026-03-01 19:00:00", ("2026-03-01 23:59:59", "2026-03-02 00:00:01"),
            "2026-03-02 07:00:00", "2026-03-02 19:00:00", id="across midnight",
        ),
        pytest.param(
            1, 5, "2026-03-01 05:00:00", "2026-03-02 01:00:00", ("2026-03-02 03:00:00", "2026-03-02 04:59:59"),
            "2026-03-02 05:00:00", "2026-03-03 01:00:00", id="within a day",
        ),
    ],
)  # fmt: skip
def test_studies_are_begun_in_the_nightly_window_only(
    tmp_path: Path, start_hour: int, end_hour: int, evening: str, opening: str, while_open: tuple[str, str],
    shutting: str, next_opening: str,
) -> None:  # fmt: skip
    studies = generate_studies(tmp_path / "studies", 7, instances=2, size=16)
    clock = MovedClock(tmp_path / "clock")
    clock.set(evening)
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.system = {"NightlyOnly": True, "StartHour": start_hour, "EndHour": end_hour}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])

        def pass_the_time() -> None:
            for moment in while_open:
                clock.set(moment)
                clock.wait_until_read(8)

        def shut() -> None:
            clock.set(shutting)
            extraction.wait_until_it_says(SHUT, times=2)

        pacs.script(faults.call(pass_the_time, "move").nth(2), faults.call(shut, "move").nth(4))
        process = extraction.start(environment=clock.environment)

        extraction.wait_until_it_says(f"{SHUT}; no other study is begun before {opening[:-3]}")
        clock.wait_until_read(8)
        assert pacs.requests() == []

        clock.set(opening)
        extraction.wait_until_it_says(f"{OPEN} until {shutting[:-3]}")
        extraction.wait_until_it_says(f"{SHUT}; no other study is begun before {next_opening[:-3]}")
        wait_until(lambda: tools_running(extraction.port, "movescu") == [])
        clock.wait_until_read(8)
        moved = pacs.moved()
        assert len(moved) in (4, 5), "the study under way is finished, and one more at most is begun"
        assert set(moved) == {study.study_instance_uid for study in studies[: len(moved)]}
        wait_until(lambda: extraction.output.count(": retrieved, ") == len(moved))

        clock.set(next_opening)
        finished = extraction.finish(process)
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["retrieved"] * 7
        assert set(extraction.instances()) == all_instances(studies)
        assert len(pacs.moved()) == 7, "nothing is moved twice"
        assert (finished.output.count(SHUT), finished.output.count(OPEN)) == (2, 2), "it is said once"


def test_the_end_of_the_wait_is_said_with_its_time_zone_and_the_wait_can_be_interrupted(tmp_path: Path) -> None:
    generate_studies(tmp_path / "studies", 1, instances=1, size=16)
    clock = MovedClock(tmp_path / "clock")
    clock.set("2026-03-01 12:00:00")
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.system = {"NightlyOnly": True}
        extraction.write_list("EMPI", [["1"]])
        process = extraction.start(environment=clock.environment)
        extraction.wait_until_it_says(SHUT)
        process.send_signal(signal.SIGTERM)
        finished = extraction.finish(process)
        assert finished.exit_code == 143
        assert re.search(rf"{SHUT}.* 2026-03-01 19:00.*(EET|\+02)", finished.output), finished.output
        assert pacs.requests() == []


def test_equal_hours_are_always_open_and_progress_is_told_saved_and_shown_by_the_clock(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 4, instances=2, size=16)
    clock = MovedClock(tmp_path / "clock")
    clock.set("2026-03-01 12:00:00")
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.system = {"NightlyOnly": True, "StartHour": 5, "EndHour": 5}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        while_working: list[tuple[list[str], list[str], str]] = []

        def eleven_minutes_later() -> None:
            extraction.wait_until_it_says("line 3: retrieved")
            clock.set("2026-03-01 12:11:00")
            extraction.wait_until_it_says("2 of 4 rows")
            page = extraction.state(".report.html")
            wait_until(page.exists)
            while_working.append((extraction.checkpoint(), extraction.words(), page.read_text()))

        pacs.script(faults.call(eleven_minutes_later, "move").nth(3))
        finished = extraction.run(environment=clock.environment)
        assert finished.exit_code == 0, finished.output
        assert SHUT not in finished.output
        progress = r"^INFO:root:2 of 4 rows \(50 %\), 4 images, .* rows an hour \(.*\), .*(left|end)"
        assert re.search(progress, finished.output, re.MULTILINE), finished.output
        [(entries, words, page)] = while_working
        assert {f"{study.patient_id},{study.study_instance_uid}" for study in studies[:2]} <= set(entries)
        assert words == ["retrieved", "retrieved", "pending", "pending"]
        assert re.search(r"<b>Running</b>.*as of 2026-03-01 12:11.*Estimated end", page, re.DOTALL)
        assert 'data-outcome="pending" data-rows="2"' in page
        assert "<b>Complete</b>" in extraction.state(".report.html").read_text()


def test_each_morning_an_email_says_how_far_it_is_if_that_is_asked_for(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 3, instances=1, size=16)
    clock = MovedClock(tmp_path / "clock")
    clock.set("2026-03-01 12:00:00")
    with MailServer() as mail_server, from_pacs(tmp_path) as (extraction, pacs):
        extraction.system = {"NightlyOnly": True, "RetrievalsPerAssociation": 1, **mail_server.settings}
        extraction.config = {"SendEmail": True, "MorningEmail": True, "YourEmail": "somebody@example.org"}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies] + [["1*"]])

        def morning() -> None:
            extraction.wait_until_it_says("line 2: retrieved")
            clock.set("2026-03-02 07:00:00")
            extraction.wait_until_it_says(SHUT, times=2)
            wait_until(lambda: bool(mail_server.mails))

        pacs.script(faults.call(morning, "move").nth(2))
        process = extraction.start(environment=clock.environment)
        extraction.wait_until_it_says(SHUT)
        clock.wait_until_read(8)
        assert mail_server.mails == [], "there was no night yet"
        clock.set("2026-03-01 19:00:00")
        wait_until(lambda: len(mail_server.mails) == 1)
        clock.set("2026-03-02 19:00:00")
        finished = extraction.finish(process)
        assert finished.exit_code == 1, finished.output
        goes_on, complete = mail_server.mails
        assert goes_on.message["Subject"] == "Niffler [EXTRACTION GOES ON] list.csv"
        for body in (goes_on.text, goes_on.html):
            assert "4 rows: retrieved 1, invalid 1, pending 2" in body
            assert "it goes on at 2026-03-02 19:00" in body
            assert re.search(r"estimated end 2026-03-\d\d", body)
            assert "PatientID holds a wildcard" in body
            assert [value for value in patient_data(studies) if value in body] == []
        assert "[EXTRACTION COMPLETE]" in complete.message["Subject"]


def test_a_run_that_is_not_to_wait_for_the_next_night_ends_with_exit_code_75_and_goes_on_when_started_again(
    tmp_path: Path,
) -> None:
    studies = generate_studies(tmp_path / "studies", 6, instances=2, size=16)
    clock = MovedClock(tmp_path / "clock")
    clock.set("2026-03-01 23:00:00")
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.system = {"NightlyOnly": True}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])

        def morning() -> None:
            clock.set("2026-03-02 07:00:00")
            extraction.wait_until_it_says(SHUT)

        pacs.script(faults.call(morning, "move").nth(2))
        finished = extraction.run("--ExitOutsideWindow", "true", environment=clock.environment)
        assert finished.exit_code == 75, finished.output
        assert "start the same command again at 2026-03-02 19:00" in finished.output.splitlines()[-1]
        moved = pacs.moved()
        assert len(moved) in (2, 3), "the study under way is finished, and one more at most is begun"
        assert extraction.words() == ["retrieved"] * len(moved) + ["pending"] * (6 - len(moved))

        finished = extraction.run("--ExitOutsideWindow", "true", environment=clock.environment)
        assert (finished.exit_code, pacs.moved()) == (75, moved), "by day nothing is begun"

        clock.set("2026-03-02 19:00:00")
        finished = extraction.run("--ExitOutsideWindow", "true", environment=clock.environment)
        assert finished.exit_code == 0, finished.output
        assert sorted(pacs.moved()) == sorted(study.study_instance_uid for study in studies)
        assert set(extraction.instances()) == all_instances(studies)

        clock.set("2026-03-03 12:00:00")
        finished = extraction.run("--ExitOutsideWindow", "true", environment=clock.environment)
        assert finished.exit_code == 0, "where nothing is left no night is waited for"
