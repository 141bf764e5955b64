"""--Status: what it says before, during and after a run, however that ended; and that it hinders nobody."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from demo.studies import WrittenStudy, generate_studies
from niffler.errors import WrongInputError
from niffler.headway import Headway, Rate
from niffler.looks.status import look_at
from niffler.progress import activity_in_words, bar_line, progress_line
from niffler.run_state import (
    Activity,
    Amount,
    Life,
    RunState,
    StateFile,
    life_of,
    read_state,
    this_process,
)
from niffler.settings import Mode
from niffler.settings_files import Watched, list_to_watch
from niffler.vocabulary import Outcome
from tests.clock import MovedClock
from tests.extraction import SCRIPT, Extraction, from_pacs, patient_data, wait_until
from tests.pacs import faults

NOW = datetime(2026, 3, 1, 23, 0).astimezone()


def called(folder: Path, *options: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The script as a process, in the folder where a run writes its log."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options], cwd=folder, capture_output=True, text=True,
        env={**os.environ, **(environment or {})}, check=False,
    )  # fmt: skip


def status(extraction: Extraction, *options: str, environment: dict[str, str] | None = None) -> str:
    """What a process with --Status says."""
    finished = called(extraction.folder, "--Status", "true", *options, environment=environment)
    assert (finished.returncode, finished.stderr) == (0, ""), finished
    return finished.stdout


def seen(extraction: Extraction) -> str:
    """The same without another process."""
    return "".join(f"{label} {text}\n" for label, text in look_at(extraction.list_file).lines)


def line_of(said: str, label: str) -> str:
    """What stands beside a label; nothing where there is no such line."""
    return next((line.partition(" ")[2].strip() for line in said.splitlines() if line.startswith(f"{label} ")), "")


def state_of(extraction: Extraction) -> RunState:
    state = read_state(extraction.state(".state.json"))
    assert state is not None
    return state


def wait_for(extraction: Extraction, activity: Activity) -> None:
    wait_until(lambda: extraction.state(".state.json").exists() and state_of(extraction).activity is activity)


def counted(extraction: Extraction) -> str:
    """What the outcomes file says, in the words and the order of the summary."""
    counts = Counter(extraction.words())
    return ", ".join(f"{outcome.value} {counts[outcome.value]}" for outcome in Outcome if counts[outcome.value])


def patients(extraction: Extraction, studies: tuple[WrittenStudy, ...], *others: str) -> None:
    extraction.write_list("EMPI", [*([study.patient_id] for study in studies), *([other] for other in others)])


def test_before_any_run_it_says_so_and_without_a_list_that_there_is_none(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path)
    extraction.write_list("EMPI", [["1"]])
    extraction.write_settings()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert line_of(status(extraction), "now") == "no extraction of this list was started yet"
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "it writes nothing, not even a log"

    missing = called(tmp_path, "--Status", "true", "--CsvFile", "other.csv")
    assert missing.returncode == 2
    assert missing.stderr == f"{tmp_path / 'other.csv'}: there is no such file; see CsvFile\n"


def test_nothing_has_to_be_right_but_the_name_of_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extraction = Extraction(tmp_path)
    extraction.write_list("EMPI", [["1"]])
    (tmp_path / "config.json").write_text(
        json.dumps({"CsvFile": "list.csv", "StorageFolder": "list.csv/x", "FirstIndex": "first", "Frist": 1})
    )
    (tmp_path / "system.json").write_text("{")
    assert "was started yet" in status(extraction)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text("{")
    watched = list_to_watch(["--CsvFile", "list.csv", "--Status", "WATCH"], beside=tmp_path)
    assert watched == Watched(extraction.list_file, is_redrawn=True)
    assert list_to_watch(["--Status", "False"], beside=tmp_path) is None
    for options, said in [
        ([], "config.json: line 1, column 2: not valid JSON"),
        (["--CsvFil", "list.csv"], "--CsvFil: no such option; is CsvFile meant?"),
        (["--Report", "true"], "--Status and --Report are different tasks"),
    ]:
        with pytest.raises(WrongInputError, match=re.escape(said)):
            list_to_watch(["--Status", "True", *options], beside=tmp_path)


def test_while_it_runs_and_when_it_is_complete_the_figures_are_those_of_the_outcomes(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 5, instances=2, size=16)
    while_running: list[str] = []
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.system = {"MaxAttempts": 1, "ConnectTimeoutSeconds": 60, "RetrieveTimeoutSeconds": 100}
        patients(extraction, studies, "NOBODY", "*")

        def look() -> None:
            wait_until(lambda: state_of(extraction).counts.get(Outcome.RETRIEVED) == 2)
            while_running.append(status(extraction))

        pacs.script(
            faults.answer_move(0xC000, "of Müller").study(studies[1].study_instance_uid),
            faults.call(look, "move").nth(4),
        )
        finished = extraction.run()
        assert finished.exit_code == 1, finished.output
        [said] = while_running
        assert line_of(said, "list") == f"{extraction.list_file}: retrieve images"
        assert line_of(said, "now") == "retrieving, line 5"
        assert line_of(said, "rows") == "5 of 7 rows (71 %)"
        assert line_of(said, "outcomes") == "retrieved 2, not-found 1, failed 1, invalid 1, pending 2"
        assert line_of(said, "received").startswith("4 images, ")
        assert line_of(said, "verified").startswith("2 studies, 4 images, ")
        assert re.fullmatch(r"\d+ rows an hour \(.* [MG]B\)", line_of(said, "rate"))
        assert re.fullmatch(r"about .* of work left, estimated end 20..-..-.. ..:.. \S+", line_of(said, "left"))
        failed = "line 3: failed, 1 study, 0 of 2 images, C-MOVE: status C000H, unable to process"
        assert line_of(said, "problems").endswith(f": {failed}")
        assert f"INFO:root:{failed}\n" in extraction.log

        said = seen(extraction)
        assert re.fullmatch(r"complete at .*; some rows need somebody to look at them", line_of(said, "now"))
        assert line_of(said, "outcomes") == counted(extraction)
        assert line_of(said, "rows") == "7 of 7 rows (100 %)"
        assert line_of(said, "received").startswith("8 images, ")
        assert "ended after" in line_of(said, "run")
        assert line_of(said, "left") == ""
        assert str(extraction.state(".unfinished.csv")) in said
        told = said + while_running[0] + extraction.state(".state.json").read_text()
        assert not [value for value in patient_data(studies) if value in told]

        extraction.write_list("EMPI", [[studies[0].patient_id], [studies[2].patient_id]])
        assert extraction.run().exit_code == 0
        said = seen(extraction)
        assert line_of(said, "outcomes") == counted(extraction) == "retrieved 2"
        assert line_of(said, "received") == "", "nothing was received in this run"
        assert line_of(said, "verified").startswith("4 studies, 8 images, ")


def test_while_the_window_is_shut_it_says_until_when_and_a_watch_goes_on_until_the_end(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 2, instances=1, size=16)
    clock = MovedClock(tmp_path / "clock")
    clock.set("2026-03-01 12:00:00")
    with from_pacs(tmp_path) as (extraction, _):
        extraction.system["NightlyOnly"] = True
        extraction.config["FilePath"] = "CFIND-ONLY"
        patients(extraction, studies)
        process = extraction.start(environment=clock.environment)
        wait_for(extraction, Activity.WAITING_FOR_WINDOW)
        said = status(extraction, environment=clock.environment)
        assert line_of(said, "list").endswith(": CFIND-ONLY")
        assert line_of(said, "now") == "waiting for the window until 2026-03-01 19:00 EET"
        assert line_of(said, "outcomes") == "pending 2"

        with subprocess.Popen(
            [sys.executable, str(SCRIPT), "--Status", "Watch"], cwd=extraction.folder, stdout=subprocess.PIPE,
            text=True, env={**os.environ, **clock.environment},
        ) as watch:  # fmt: skip
            assert watch.stdout is not None
            assert watch.stdout.readline().startswith("list ")
            clock.set("2026-03-01 19:00:00")
            assert extraction.finish(process).exit_code == 0
            rest = watch.stdout.read()
            assert watch.wait(20) == 0
        assert re.search(r"^now +complete \(2026-03-01 19:00 EET\)$", rest, re.MULTILINE), rest
        assert re.search(r"^outcomes +found 2$", rest, re.MULTILINE), rest
        assert extraction.words() == ["found", "found"]


def test_while_the_pacs_is_away_it_says_since_when_and_after_a_signal_why_it_ended(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path, system={"GiveUpMinutes": 5})
    extraction.write_list("EMPI", [["1"]])
    process = extraction.start()
    try:
        wait_for(extraction, Activity.WAITING_FOR_PACS)
        said = seen(extraction)
        since = f"{state_of(extraction).since.astimezone():%Y-%m-%d %H:%M %Z}"
        assert line_of(said, "now") == f"waiting for the PACS since {since}"
        process.send_signal(signal.SIGTERM)
        assert extraction.finish(process).exit_code == 143
    finally:
        process.kill()
        process.wait()
    said = seen(extraction)
    assert line_of(said, "now").startswith("stopped by SIGTERM; start the same command again to go on (")
    assert line_of(said, "run").endswith("with exit code 143")
    assert re.search(r"trying again in \d+ s", line_of(said, "problems")), said


def test_a_pacs_that_is_short_of_resources_and_a_process_that_was_killed_are_told(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 2, instances=1, size=16)
    with from_pacs(tmp_path, faults.answer_move(0xA702)) as (extraction, _):
        extraction.system = {"MaxAttempts": 9, "GiveUpMinutes": 5}
        patients(extraction, studies)
        process = extraction.start()
        wait_for(extraction, Activity.PAUSING)
        assert line_of(seen(extraction), "now") == "pausing because the PACS is short of resources"
        process.kill()
        process.wait()
        said = seen(extraction)
        assert line_of(said, "now").startswith(
            "the process is gone (killed?), start the same command again; the last that it said: "
        )
        assert line_of(said, "left") == ""
        state = state_of(extraction)
        assert life_of(state) is Life.GONE
        number_taken_again = replace(state.process, pid=os.getpid())
        assert life_of(replace(state, process=number_taken_again)) is Life.GONE


def test_a_run_that_cannot_start_says_why_beside_the_outcomes_so_far(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path)
    extraction.write_list("EMPI", [["1"], ["2"]])
    extraction.state(".outcomes.csv").write_text(
        "EMPI,Outcome,Studies,Expected,Received,Attempts,Detail\n1,retrieved,1,1,1,1,\n2,pending,0,0,0,0,\n"
    )
    extraction.write_settings()
    said = seen(extraction)
    assert "earlier version" in line_of(said, "now")
    assert line_of(said, "outcomes").startswith("retrieved 1, pending 1, according to ")
    extraction.system["DCM4CHEBin"] = "/nowhere"
    assert extraction.run().exit_code == 3
    said = seen(extraction)
    assert re.match(r"could not start: /nowhere.*set DCM4CHEBin", line_of(said, "now"))
    assert line_of(said, "outcomes") == "retrieved 1, pending 1"


def test_a_state_that_cannot_be_written_hinders_no_run_and_one_that_is_none_is_said_to_be(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 1, instances=1, size=16)
    with from_pacs(tmp_path) as (extraction, _):
        patients(extraction, studies)
        extraction.state(".state.json").mkdir()
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        problem = f"WARNING:root:{extraction.state('.state.json')}: cannot be written, so --Status shows nothing new; "
        assert finished.output.count(problem) == 1
        assert not list(extraction.folder.glob(".*.new"))
        extraction.state(".state.json").rmdir()
        extraction.state(".state.json").write_text('{"process": ')
        said = seen(extraction)
        assert "is not the state of a run; the next run writes it anew" in line_of(said, "now")
        assert line_of(said, "outcomes").startswith("retrieved 1, according to ")


def test_on_a_terminal_a_watch_is_redrawn_until_ctrl_c_and_leaves_the_cursor(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path)
    extraction.write_list("EMPI", [["1"]])
    extraction.write_settings()
    terminal, end = pty.openpty()
    state = a_state()
    StateFile(extraction.state(".state.json")).write(state)
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), "--Status", "watch"], cwd=tmp_path, stdin=end, stdout=end, stderr=end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"}, start_new_session=True,
    ) as watch:  # fmt: skip
        os.close(end)
        shown = ""
        while "line 7" not in shown:
            shown += os.read(terminal, 4096).decode()
        StateFile(extraction.state(".state.json")).write(replace(state, words="retrieving, line 8"))
        while "line 8" not in shown:
            shown += os.read(terminal, 4096).decode()
        watch.send_signal(signal.SIGINT)
        while "\x1b[?25h" not in shown:
            shown += os.read(terminal, 4096).decode()
        assert watch.wait(20) == 0
    os.close(terminal)
    assert "Traceback" not in shown


def a_state(**changes: object) -> RunState:
    """That of a run in its second night, by this process."""
    state = RunState(
        process=this_process(), mode=Mode.RETRIEVE, started=NOW - timedelta(days=1), written=NOW,
        activity=Activity.RETRIEVING, since=NOW, words=activity_in_words(Activity.RETRIEVING, lines=[7]),
        counts={Outcome.RETRIEVED: 40, Outcome.FAILED: 5, Outcome.PENDING: 55}, done_before=10,
        received=Amount(30, 900, 3_000_000_000), verified=Amount(40, 1200, 4_000_000_000),
        average=Rate(12.4, 1.5e9), recent=Rate(3.2, 0.4e9), seconds_left=16_000, estimated_end=NOW + timedelta(hours=5),
    )  # fmt: skip
    return replace(state, **changes)  # type: ignore[arg-type]


def test_the_log_and_the_progress_bar_say_the_same_in_the_same_words() -> None:
    said = progress_line(a_state())
    assert said == (
        "45 of 100 rows (45 %), 900 images, 3.00 GB, 12 rows an hour (1.50 GB), in the last 10 min 3.2 (400.0 MB), "
        f"about 4 h 27 min of work left, estimated end {NOW + timedelta(hours=5):%Y-%m-%d %H:%M %Z}; retrieving, line 7"
    )
    parts = re.split(r", (?=\d+ images|\d+ rows|in the last|about|estimated|retrieving)|; ", said)
    assert [part for part in parts if part not in bar_line(a_state())] == []


def test_the_rate_of_the_last_ten_minutes_is_known_after_ten_minutes_and_forgets_what_was_before() -> None:
    pace = Headway(1000, {Outcome.RETRIEVED: 100})
    assert (pace.average(0, 0), pace.seconds_left(0)) == (None, None)
    for seconds in range(1, 1201):
        pace.rows_done(1 if seconds <= 600 and seconds % 6 == 0 else 0, Outcome.RETRIEVED)
        pace.sample(seconds, min(seconds, 600) * 1000)
        if seconds == 599:
            assert pace.recent(seconds, 599_000) is None
        if seconds == 600:
            assert pace.recent(seconds, 600_000) == Rate(600, 3_600_000)
    assert pace.average(1200, 600_000) == Rate(300, 1_800_000)
    assert pace.recent(1200, 600_000) == Rate(0, 0)
    assert pace.seconds_left(1200) == 1200 / 100 * 800
    assert pace.counts == {Outcome.RETRIEVED: 200, Outcome.PENDING: 800}


def test_a_state_is_written_at_once_when_what_is_done_changes_and_else_every_few_seconds(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json")
    assert file.is_due(Activity.RETRIEVING)
    file.write(a_state())
    assert not file.is_due(Activity.RETRIEVING)
    assert not file.is_due(Activity.PAUSING), "not more than twice a second"
    wait_until(lambda: file.is_due(Activity.PAUSING), seconds=2)
    assert not file.is_due(Activity.RETRIEVING)
    assert read_state(tmp_path / "state.json") == a_state()


def test_a_state_of_another_machine_or_container_is_told_with_its_age(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path)
    extraction.write_list("EMPI", [["1"]])
    extraction.write_settings()
    elsewhere = replace(this_process(), host="ward7")
    written = datetime.now().astimezone() - timedelta(minutes=10)
    StateFile(extraction.state(".state.json")).write(a_state(process=elsewhere, written=written))
    assert line_of(seen(extraction), "now") == (
        "retrieving, line 7, as it said 10 min ago on ward7, another machine or container; if it does not write any "
        "more, it is gone: start the same command again there"
    )


def test_a_state_without_its_file_is_none_and_one_of_another_form_is_refused(tmp_path: Path) -> None:
    assert read_state(tmp_path / "state.json") is None
    (tmp_path / "state.json").write_text('{"version": 7}')
    with pytest.raises(WrongInputError, match="is not the state of a run"):
        read_state(tmp_path / "state.json")
