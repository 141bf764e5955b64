"""What goes wrong, as a table: each scenario is played here, or shown by a test elsewhere."""

import itertools
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.studies import generate_studies
from tests.clock import MovedClock
from tests.extraction import ROOT, TOOLS, Extraction, Finished, wait_until
from tests.faults.stage import Stage
from tests.pacs import faults
from tests.pacs.hostile import write_hostile_studies

SEED = 20260301
_EMBEDDED = ROOT / "niffler" / "embedded" / "bin"
_FIND_STATUSES = (0xA700, 0xA900, 0xC000, 0xC512, 0x0110, 0x0122, 0x0124, 0xFE00, 0xB000)


@dataclass(frozen=True)
class Scenario:
    """Something that goes wrong. It is played, or ``shown_by`` names the tests that show it."""

    name: str
    promises: str
    play: Callable[[Stage], None] | None = None
    shown_by: tuple[str, ...] = ()
    lacks: Callable[[Path], str] = lambda folder: ""
    """Why it cannot be played on this machine; empty where it can."""


# The script and its tools die


def kill_at_random(stage: Stage) -> None:
    chance = random.Random(SEED)
    stage.serve(generate_studies(stage.folder / "studies", 10, instances=2, size=16))
    for moves in (0, 3, 5):
        stage.script(faults.slow("move", seconds=0.05))

        def kill(process: "subprocess.Popen[str]", moves: int = moves) -> None:
            before = len(stage.pacs.requests("move"))
            with_luck = time.monotonic() + (20.0 if moves else 0.0)
            wait_until(lambda: len(stage.pacs.requests("move")) >= before + moves or time.monotonic() > with_luck)
            time.sleep(chance.uniform(0.0, 0.3 if moves else 1.5))
            process.kill()

        finished = stage.run(meanwhile=kill)
        assert finished.exit_code == -signal.SIGKILL, finished.output
    stage.script()
    assert stage.run().exit_code == 0
    stage.check(is_finished=True)


def kill_tools(stage: Stage) -> None:
    killed: list[str] = []
    stage.serve(generate_studies(stage.folder / "studies", 6, instances=3, size=16))

    def kill(name: str) -> Callable[[], None]:
        return lambda: killed.append(name) if stage.kill_tool(name) else None

    stage.script(
        faults.call(kill("findscu"), "find").nth(2),
        faults.call(kill("movescu"), "move", after=1).nth(2),
        faults.call(kill("storescp"), "move", after=2).nth(4),
    )
    assert stage.run().exit_code == 0
    assert sorted(killed) == ["findscu", "movescu", "storescp"]
    stage.check(is_finished=True)


# The PACS


def break_lookups(stage: Stage) -> None:
    studies = generate_studies(stage.folder / "studies", 5, instances=2, size=16)
    stage.serve(studies)
    stage.extraction.system |= {"ResponseTimeoutSeconds": 1, "GiveUpMinutes": 1}
    uids = [study.study_instance_uid for study in studies]
    stage.script(
        faults.hang("find").study(uids[1]).first(),
        faults.drop("find", after=1).study(uids[2]).first(),
        faults.go_away("find", seconds=0.5).study(uids[3]).first(),
        faults.reject("too many associations").nth(3),
    )
    assert stage.run().exit_code == 0
    stage.check(is_finished=True)


def fail_lookups(stage: Stage) -> None:
    studies = generate_studies(stage.folder / "studies", len(_FIND_STATUSES) + 1, instances=2, size=16)
    stage.serve(studies)
    stage.extraction.system |= {"MaxAttempts": 1, "GiveUpMinutes": 5}
    stage.script(
        *(
            faults.answer_find(status).study(study.study_instance_uid)
            for status, study in zip(_FIND_STATUSES, studies, strict=False)
        )
    )
    finished = stage.run()
    assert finished.exit_code == 1, finished.output
    rows = stage.extraction.outcomes()
    assert [row["Outcome"] for row in rows] == ["failed"] * len(_FIND_STATUSES) + ["retrieved"]
    assert [f"{status:04X}H" in row["Detail"] for status, row in zip(_FIND_STATUSES, rows, strict=False)] == [
        True
    ] * len(_FIND_STATUSES)
    stage.check()
    stage.script()
    assert stage.run().exit_code == 0
    stage.check(is_finished=True)


def refuse_our_ae(stage: Stage) -> None:
    stage.serve(generate_studies(stage.folder / "studies", 2, instances=1, size=16))
    stage.extraction.system |= {"GiveUpMinutes": 0.02}
    stage.script(faults.reject_callers_except("SOMEBODY"))
    _gives_up(stage.run(), "may query and retrieve")
    assert stage.extraction.words() == ["pending", "pending"]
    stage.check()


def fail_every_move(stage: Stage) -> None:
    stage.serve(generate_studies(stage.folder / "studies", 12, instances=1, size=16))
    stage.extraction.system |= {"MaxAttempts": 1}
    stage.script(faults.answer_move(0xC000, "nothing for 00000001"))
    _gives_up(stage.run(), "(C-MOVE: status C000H, unable to process); the rest is pending")
    assert "check DestAet and the port of QueryAet in system.json" in stage.runs[-1].output
    assert stage.extraction.words() == ["failed"] * 10 + ["pending"] * 2
    stage.check()


def send_what_nobody_asked_for(stage: Stage) -> None:
    studies = generate_studies(stage.folder / "studies", 5, instances=2, size=16)
    stage.serve(studies)
    stage.extraction.write_list("EMPI", [[study.patient_id] for study in studies[:4]])
    stage.script(faults.send_other(studies[4].study_instance_uid).study(studies[0].study_instance_uid))

    def kill(process: "subprocess.Popen[str]") -> None:
        stage.extraction.wait_until_it_says("unrequested: ")
        stage.extraction.wait_until_it_says(": retrieved, ", times=2)
        process.kill()

    assert stage.run(meanwhile=kill).exit_code == -signal.SIGKILL
    stage.script()
    finished = stage.run()
    assert finished.exit_code == 0, finished.output
    assert "unrequested: 1 instances that were not asked for" in finished.output
    stage.check(is_finished=True)


# Disk and folders


def fill_the_disk(stage: Stage) -> None:
    stage.extraction.storage.mkdir()
    with _mounted(stage.extraction.storage, "size=200k"):
        stage.serve(generate_studies(stage.folder / "studies", 6, instances=2, size=128))
        _gives_up(stage.run(), "the disk is full")
        assert set(stage.extraction.words()) <= {"retrieved", "pending"}
        assert "retrieved" in stage.extraction.words()
        stage.check()
        subprocess.run(["mount", "-o", "remount,size=4m", stage.extraction.storage], check=True)
        assert stage.run().exit_code == 0
        stage.check(is_finished=True)


def take_the_storage_away(stage: Stage) -> None:
    storage, elsewhere = stage.extraction.storage, stage.folder / "other"
    stage.serve(generate_studies(stage.folder / "studies", 6, instances=2, size=16))
    stage.script(faults.call(lambda: storage.rename(elsewhere), "move", after=1).nth(3))
    _gives_up(stage.run(), "cannot be used any more", "is not the folder that it was at the start")
    assert stage.extraction.words().count("retrieved") >= 2
    assert stage.extraction.words()[-1] == "pending"
    shutil.rmtree(storage, ignore_errors=True)  # a receiver may have made it again before it was ended
    elsewhere.rename(storage)
    stage.check()
    stage.script()
    assert stage.run().exit_code == 0
    stage.check(is_finished=True)


def make_the_list_read_only(stage: Stage) -> None:
    work = stage.extraction.folder
    stage.serve(generate_studies(stage.folder / "studies", 6, instances=2, size=16))
    stage.script(faults.call(lambda: _change(work, "+i"), "move").nth(3))
    try:
        finished = stage.run()
    finally:
        _change(work, "-i")
    _gives_up(finished, "cannot be written")
    verified = stage.evidence().verified
    assert verified, "the journal has what the pickle could not take"
    stage.script()
    assert stage.run().exit_code == 0
    assert stage.runs[-1].verified_before == verified
    stage.check(is_finished=True)
    _change(work, "+i")
    try:
        finished = stage.run()
    finally:
        _change(work, "-i")
    assert finished.exit_code in (2, 4), finished.output
    stage.check(is_finished=True)


def have_no_log(stage: Stage) -> None:
    stage.serve(generate_studies(stage.folder / "studies", 1, instances=1, size=16))
    for name in ("niffler1.log", "storescp.out"):
        (stage.extraction.folder / name).mkdir()
        finished = stage.extraction.run()
        (stage.extraction.folder / name).rmdir()
        assert finished.exit_code == 2, finished.output
        assert name in finished.output.splitlines()[-1]
        assert "Traceback" not in finished.output
    assert stage.pacs.requests() == []
    (stage.extraction.folder / "niffler1.log").unlink()
    (stage.extraction.folder / "niffler1.log").symlink_to("/dev/full")
    assert stage.run().exit_code == 0
    stage.check(is_finished=True)


def cut_the_checkpoint(stage: Stage) -> None:
    stage.serve(generate_studies(stage.folder / "studies", 2, instances=1, size=16))
    assert stage.run().exit_code == 0
    checkpoint = stage.extraction.state(".pickle")
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-5])
    finished = stage.extraction.run()
    assert finished.exit_code == 2, finished.output
    assert "the checkpoint cannot be read" in finished.output.splitlines()[-1]
    assert checkpoint.read_bytes() == whole[:-5]
    checkpoint.write_bytes(whole)
    assert stage.run().exit_code == 0
    assert len(stage.pacs.moved()) == 2
    stage.check(is_finished=True)


# Time


def change_to_summer_time(stage: Stage) -> None:
    stage.serve(generate_studies(stage.folder / "studies", 5, instances=1, size=16))
    stage.extraction.system |= {"NightlyOnly": True, "StartHour": 1, "EndHour": 2}
    clock = MovedClock(stage.folder / "clock")
    clock.set("2026-03-29 00:59:59")
    shut = "the nightly window is shut"

    def jump() -> None:  # there is no 02:00 in this night
        clock.set("2026-03-29 03:00:00")
        stage.extraction.wait_until_it_says(shut, times=2)

    def pass_the_night(process: "subprocess.Popen[str]") -> None:
        stage.extraction.wait_until_it_says(f"{shut}; no other study is begun before 2026-03-29 01:00")
        clock.set("2026-03-29 01:59:59")
        stage.extraction.wait_until_it_says(f"{shut}; no other study is begun before 2026-03-30 01:00")
        clock.wait_until_read(4)
        assert len(set(stage.pacs.moved())) < 5
        clock.set("2026-03-30 01:00:00")

    stage.script(faults.call(jump, "move").nth(2))
    finished = stage.run(environment={**clock.environment, "TZ": "Europe/Berlin"}, meanwhile=pass_the_night)
    assert finished.exit_code == 0, finished.output
    stage.check(is_finished=True)


# The tools


def have_bad_tools(stage: Stage) -> None:
    stage.serve(generate_studies(stage.folder / "studies", 4, instances=2, size=16))
    tools = stage.folder / "tools"
    (tools / "jre" / "bin").mkdir(parents=True)
    _write_tool(tools / "jre" / "bin" / "java", "exit 0")
    good = {name: f'exec "{_EMBEDDED / name}" "$@"' for name in ("storescp", "findscu", "movescu")}
    version = 'for word; do if [ "$word" = -V ]; then ' + "{}; fi; done"
    noise = r"printf '\377\376\000 \303( not UTF-8\n\n\n'"
    turn = f'echo >> "{tools}/turns"; turn=$(wc -l < "{tools}/turns")'
    ends = 'case $turn in 1) kill -9 $$;; 2) exit 0;; 3) printf "\\377\\376"; exit 1;; esac'
    _write_tool(tools / "storescp", f"{noise}\n{good['storescp']}")
    _write_tool(tools / "findscu", f"{version.format(good['findscu'])}\n{noise}; {noise} >&2\n{good['findscu']}")
    _write_tool(tools / "movescu", f"{version.format(good['movescu'])}\n{turn}\n{ends}\n{noise}\n{good['movescu']}")
    stage.extraction.system |= {"DCM4CHEBin": str(tools)}
    finished = stage.run(environment={"JAVA_HOME": str(tools / "jre"), "NIFFLER_PYTHON": sys.executable})
    assert finished.exit_code == 0, finished.output
    assert "movescu ended with exit code -9: it printed nothing" in finished.output
    assert "movescu ended with exit code 0: it printed nothing" in finished.output
    stage.check(is_finished=True)


# Others


def start_twice(stage: Stage) -> None:
    one = stage.extraction
    stage.serve(generate_studies(stage.folder / "studies", 4, instances=2, size=16))
    # The same PACS under another name, so that it is the list that one of them finds taken.
    other = Extraction(
        stage.folder / "other", one.source.replace("127.0.0.1", "localhost"), port=one.port,
        config={"CsvFile": str(one.list_file), "StorageFolder": str(one.storage)},
    )  # fmt: skip
    ended: list[Finished] = []
    running = other.start()

    def finish_other(process: "subprocess.Popen[str]") -> None:
        ended.append(other.finish(running))

    hold = itertools.count()

    def wait_for_the_other() -> None:
        if next(hold) == 0:
            wait_until(lambda: running.poll() is not None or bool(one.started[-1].poll() is not None), 30)

    stage.script(faults.call(wait_for_the_other, "find").first())
    ended.append(stage.run(meanwhile=finish_other))
    assert sorted(run.exit_code for run in ended) == [0, 3], ended
    [refused] = [run for run in ended if run.exit_code == 3]
    assert "another extraction works on it" in refused.output
    assert sorted(stage.pacs.moved()) == sorted(study.study_instance_uid for study in stage.studies)
    stage.check(is_finished=True)


def receive_hostile_patients(stage: Stage) -> None:
    studies = write_hostile_studies(stage.folder / "studies")
    stage.serve(tuple(studies.values()))
    stage.attributes = ("AccessionNumber",)
    stage.extraction.config |= {"FirstAttr": "AccessionNumber"}
    stage.extraction.system |= {"MaxAttempts": 1}
    if TOOLS != "embedded":  # DCM4CHE writes where an ID leads it; this is what the README recommends
        stage.extraction.config |= {"FilePath": "{00100020,md5}/{0020000D}/{0020000E}/{00080018}.dcm"}
    stage.extraction.write_list("Accession", [[study.accession_number] for study in studies.values()])
    finished = stage.run()
    words = dict(zip(studies, stage.extraction.words(), strict=True))
    assert finished.exit_code == 1
    assert words["two values"] == "refused"
    unusual = ("300 characters", "control characters", "null character", "two values")
    assert {outcome for name, outcome in words.items() if name not in unusual} == {"retrieved"}
    if TOOLS == "embedded":  # no path can have 300 characters, and no query answer a control character
        assert {words[name] for name in unusual[:3]} == {"failed"}
    stage.check()


def _gives_up(finished: Finished, *one_of: str) -> None:
    """It ended with exit code 4 and, as its last line, one of these reasons."""
    assert finished.exit_code == 4, finished.output
    last = finished.output.splitlines()[-1]
    assert last.startswith("ERROR:root:[EXTRACTION STOPPED]"), finished.output
    assert any(reason in last for reason in one_of), last


def _write_tool(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _change(folder: Path, attribute: str) -> None:
    subprocess.run(["chattr", attribute, folder], check=True, capture_output=True)


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def cannot_mount(folder: Path) -> str:
    """Why no small file system can be mounted here; empty where one can."""

    def mount(probe: Path) -> None:
        with _mounted(probe, "size=64k"):
            pass

    return _refused(folder, mount)


def cannot_make_immutable(folder: Path) -> str:
    """Why a folder cannot be made read-only even for root; empty where it can."""

    def change(probe: Path) -> None:
        _change(probe, "+i")
        _change(probe, "-i")

    return _refused(folder, change)


def _refused(folder: Path, attempt: Callable[[Path], None]) -> str:
    probe = folder / "probe"
    probe.mkdir()
    try:
        attempt(probe)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"needs root: {error}"
    finally:
        probe.rmdir()
    return ""


_MOVES = "tests/test_move_answers.py::test_what_the_pacs_does_not_complete_is_not_retrieved_until_the_unfinished_rows_"
_ANSWERS = _MOVES + "are_given_again"
_TROUBLE = (
    "tests/test_retrieval.py::test_trouble_with_associations_costs_the_study_under_way_an_attempt_and_nothing_else"
)
_MATCHES = "tests/test_retrieval.py::test_only_matches_that_are_as_asked_are_moved_whatever_the_pacs_answers"

SCENARIOS = (
    # The script and its tools die
    Scenario("kill -9 of the script at random moments", "P1 P2 P4 P5", kill_at_random,
             ("tests/test_resuming.py::test_a_run_that_is_killed_leaves_no_tool_running_and_goes_on_where_it_was",
              "tests/test_find_modes.py::test_a_killed_run_keeps_what_it_had_and_asks_only_for_the_rest")),
    Scenario("kill -9 of findscu, movescu and storescp while they work", "P1 P2 P4 P5", kill_tools,
             ("tests/test_side_by_side.py::"
              "test_a_receiver_that_is_killed_midway_is_started_again_and_everything_is_retrieved",
              "tests/test_side_by_side.py::test_a_receiver_that_dies_four_times_ends_the_run")),
    Scenario("SIGTERM, SIGINT, SIGHUP; SIGHUP under nohup", "P2 P4 P5", None,
             ("tests/test_resuming.py::"
              "test_a_signal_ends_it_in_good_order_and_under_nohup_a_hangup_is_ignored",)),
    Scenario("a dead run left its receiver behind", "P2 P5", None,
             ("tests/test_side_by_side.py::test_the_receiver_that_a_killed_run_left_is_ended_and_the_log_says_so",)),
    # The PACS
    Scenario("PACS not there", "P4 P5", None,
             ("tests/test_ColdDataRetriever.py::test_a_pacs_that_never_answers_is_given_up_and_its_rows_are_pending",)),
    Scenario("PACS dies midway, returns or not", "P1 P2 P4 P5", None,
             (_TROUBLE, "tests/test_ColdDataRetriever.py::"
              "test_a_pacs_that_goes_away_is_given_up_with_what_it_gave_and_the_rest_comes_later")),
    Scenario("PACS rejects our AE title", "P4 P5", refuse_our_ae),
    Scenario("PACS aborts associations midway or after a number of requests", "P1 P2 P5", None,
             (_TROUBLE, "tests/test_move_answers.py::"
              "test_a_pacs_that_aborts_every_association_after_two_requests_is_worn_down_by_two_at_once")),
    Scenario("C-FIND: no answer, cut connection, PACS gone, association rejected", "P1 P4 P5",
             break_lookups),
    Scenario("C-FIND ends with each failure status", "P2 P4 P5", fail_lookups),
    Scenario("C-MOVE: no answer without closing", "P1 P5", None, (_TROUBLE,)),
    Scenario("C-MOVE ends with each failure status", "P1 P4 P5", None, (_ANSWERS,)),
    Scenario("one instance fewer, everything twice, one twice for another", "P1", None, (_ANSWERS,)),
    Scenario("success with 0 images", "P1", None, (_ANSWERS,)),
    Scenario("an instance of another study or patient", "P1 P2 P3", send_what_nobody_asked_for,
             ("tests/test_retrieval.py::test_images_of_another_study_count_for_no_row",)),
    Scenario("the whole archive for a key that the PACS does not know", "P3", None, (_MATCHES,)),
    Scenario("C-FIND cut off with A700H", "P1 P4", None, (_MATCHES,)),
    Scenario("C-FIND cut off with success at the same round number", "P4", None,
             ("tests/test_find_modes.py::"
              "test_rows_that_stop_at_the_same_round_number_are_warned_of_in_log_and_summary",)),
    Scenario("ten rows end alike: every C-MOVE fails, or every row is refused", "P4 P5", fail_every_move,
             ("tests/test_retrieval.py::test_ten_rows_that_end_alike_stop_the_run",)),
    Scenario("the PACS does not know the move destination", "P5", None,
             ("tests/test_retrieval.py::"
              "test_a_move_destination_that_the_pacs_does_not_know_ends_the_run_with_what_to_do",)),
    # Disk and folders
    Scenario("disk full while receiving", "P1 P2 P4 P5", fill_the_disk, lacks=cannot_mount),
    Scenario("StorageFolder gone midway", "P1 P2 P4 P5", take_the_storage_away),
    Scenario("folder of the list read-only, midway and at the start", "P2 P5", make_the_list_read_only,
             lacks=cannot_make_immutable),
    Scenario("log not writable, or on a full disk", "P5", have_no_log),
    Scenario("checkpoint cut, empty or of another kind", "P2 P5", cut_the_checkpoint,
             ("tests/test_checkpoint.py::test_any_bytes_are_a_list_of_strings_or_an_error_that_names_the_file",)),
    Scenario("checkpoint that would run code", "P3 P5", None,
             ("tests/test_resuming.py::test_a_checkpoint_that_would_run_code_is_refused",
              "tests/test_checkpoint.py::test_a_pickle_that_calls_something_is_refused_and_nothing_is_called")),
    Scenario("outcomes of an older run", "P4", None,
             ("tests/test_outcomes.py::test_outcomes_of_an_earlier_run_are_replaced",
              "tests/test_worklist.py::test_outcome_columns_are_replaced_and_not_doubled")),
    # Time
    Scenario("the clock jumps over the end of the window", "P2 P5", None,
             ("tests/test_night_end_to_end.py::test_studies_are_begun_in_the_nightly_window_only",)),
    Scenario("summer time begins where the window ends", "P2 P5", change_to_summer_time),
    # The tools
    Scenario("tools missing or not executable, Java missing", "P5", None,
             ("tests/test_ColdDataRetriever.py::test_what_stands_in_the_way_is_said_in_one_line",
              "tests/test_dcm4che.py::test_a_missing_tool_is_named_with_the_setting",
              "tests/test_dcm4che.py::test_a_tool_that_is_not_executable_is_named_with_what_to_do",
              "tests/test_dcm4che.py::test_a_machine_without_java_is_told")),
    Scenario("tools that print nothing or no UTF-8, or are killed by the system", "P1 P2 P5", have_bad_tools,
             ("tests/test_dcm4che.py::test_whatever_a_tool_prints_what_is_not_answered_is_trouble",)),
    # Others
    Scenario("two extractions in the same instant, same SrcAet", "P2 P5", None,
             ("tests/test_side_by_side.py::test_of_two_that_start_in_the_same_instant_exactly_one_runs",)),
    Scenario("two extractions in the same instant, same list", "P2 P5", start_twice),
    Scenario("hostile PatientIDs received: ../.., absolute, empty, 300 characters, control characters", "P3",
             receive_hostile_patients,
             ("tests/test_scripted_pacs.py::test_hostile_patient_ids_arrive_as_they_are",)),
    Scenario("any bytes as list, settings or output of a tool", "P3 P4 P5", None,
             ("tests/test_worklist.py::test_every_row_of_any_file_is_a_request_or_a_fault",
              "tests/test_settings.py::test_any_value_in_system_json_is_a_setting_or_a_fault_with_its_key",
              "tests/faults/test_any_input.py::test_any_bytes_are_settings_or_an_error_in_one_line_each",
              "tests/faults/test_any_input.py::test_whatever_storescp_prints_no_line_is_an_exception",
              "tests/test_printed.py::test_no_line_raises_an_exception")),
)  # fmt: skip
