"""A list in shards: what other splits have completed counts, and stays theirs; one view over all shards."""

import csv
import os
import pickle
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from demo.studies import generate_studies, write_study
from niffler.books import Books
from niffler.checkpoint import Checkpoint, Verified, read_verified
from niffler.known import NOT_VERIFIED, Known
from niffler.ledger import Record
from niffler.looks.status import look_at
from niffler.outcomes import outcomes_csv
from niffler.run_state import Activity, ProcessId, RunState, StateFile, state_json, this_process
from niffler.settings import Mode
from niffler.settings_files import Watched, list_to_watch
from niffler.shards import Shard, of_shard
from niffler.split import Standing, newest_split, parts_of
from niffler.vocabulary import Outcome, Request, RowResult, Study, StudyResult
from niffler.worklist import OUTCOME_COLUMNS
from tests.extraction import Extraction, read_csv, wait_until

PATIENT = Request(("PatientID",), ("P1",))
FIRST = Study("1.2.1", "P1", "A1", 4)
SECOND = Study("1.2.2", "P1", "A2", 6)


def opened(base: Path, *others: Path) -> tuple[Checkpoint, Books]:
    checkpoint = Checkpoint(base)
    checkpoint.begin()
    return checkpoint, Books(checkpoint, [read_verified(other) for other in others])


def retrieved(books: Books, *studies: Study, row: bool = True, of: int = 0, request: Request = PATIENT) -> None:
    """Enter studies of a patient as they are entered by a run, and the row, once their counts were asked again."""
    for study in studies:
        images = study.announced_instances or 0
        books.study_complete(StudyResult(study, Outcome.RETRIEVED, images, images, 1), 1.5, 1000)
        books.enter_study(request, of or len(studies), study)
    if row:
        books.enter_row(request, result_of(*studies), studies)
    books.commit()


def result_of(*studies: Study) -> RowResult:
    images = sum(study.announced_instances or 0 for study in studies)
    return RowResult(Outcome.RETRIEVED, len(studies), images, images, 1)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "list_mod.shard-1-of-2.csv"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    return tmp_path / "list_mod.csv"


# What other splits have completed


def test_a_row_that_is_complete_elsewhere_is_carried_over_and_its_studies_are_not_counted_here(
    here: Path, elsewhere: Path
) -> None:
    retrieved(opened(elsewhere)[1], FIRST, SECOND)
    checkpoint, books = opened(here, elsewhere)
    assert books.carried_row(PATIENT) == result_of(FIRST, SECOND)
    assert (books.verified_studies, books.verified_images, books.verified_size) == (0, 0, 0)
    assert (list(books.records), list(books.studies), checkpoint.records) == ([], [], [])


def test_a_study_whose_count_was_not_asked_again_elsewhere_is_verified_but_its_row_is_not_complete(
    here: Path, elsewhere: Path
) -> None:
    retrieved(opened(elsewhere)[1], FIRST, row=False)
    checkpoint, books = opened(here, elsewhere)
    assert books.carried_row(PATIENT) is None
    known = books.verified(FIRST)
    assert known is not None
    assert (known.outcome, known.received, known.detail) == (Outcome.RETRIEVED, 4, "")
    books.enter_row(PATIENT, result_of(FIRST), [FIRST])
    books.commit()
    checkpoint.close()
    assert "P1,1.2.1" not in Checkpoint(here).entries, "it stays theirs"
    again = opened(here, elsewhere)[1]
    assert again.carried_row(PATIENT) == result_of(FIRST)
    assert (again.verified_studies, again.verified_images, again.records) == (0, 0, [])
    assert opened(here)[1].carried_row(PATIENT) is None, "without the other checkpoint nobody knows the study"


def test_a_row_whose_studies_were_retrieved_elsewhere_for_another_row_stays_complete(
    here: Path, elsewhere: Path
) -> None:
    """As a month of a patient that was retrieved for another modality."""
    requests = [Request(("PatientID", "Modality"), ("P1", modality)) for modality in ("CT", "MR", "US")]
    retrieved(opened(elsewhere)[1], FIRST, SECOND, request=requests[0])
    checkpoint, books = opened(here, elsewhere)
    for request, studies in ((requests[1], [FIRST, SECOND]), (requests[2], [SECOND])):
        books.enter_row(request, result_of(*studies), studies)
    books.commit()
    checkpoint.close()
    assert list(Checkpoint(here).entries) == []
    third = here.with_name("list_mod.shard-1-of-3.csv")
    for one in (opened(here, elsewhere)[1], opened(elsewhere, here)[1], opened(third, elsewhere, here)[1]):
        assert one.carried_row(requests[1]) == result_of(FIRST, SECOND)
        assert one.carried_row(requests[2]) == result_of(SECOND)
    assert [opened(here, elsewhere)[1].verified_images, opened(elsewhere, here)[1].verified_images] == [0, 10]
    assert len(opened(elsewhere, here)[1].records) == 2


def test_a_row_half_done_elsewhere_is_completed_with_what_is_missing(here: Path, elsewhere: Path) -> None:
    retrieved(opened(elsewhere)[1], FIRST, row=False, of=2)
    checkpoint, books = opened(here, elsewhere)
    assert books.carried_row(PATIENT) is None
    retrieved(books, SECOND, row=False, of=2)
    books.enter_row(PATIENT, result_of(FIRST, SECOND), [FIRST, SECOND])
    books.commit()
    checkpoint.close()
    again = opened(here, elsewhere)[1]
    assert again.carried_row(PATIENT) == result_of(FIRST, SECOND)
    assert (again.verified_studies, again.verified_images, again.verified_size) == (1, 6, 1000)
    assert list(again.studies) == [("P1", "1.2.2")]


def test_a_study_that_is_retrieved_here_as_well_counts_here(here: Path, elsewhere: Path) -> None:
    retrieved(opened(elsewhere)[1], FIRST)
    checkpoint, books = opened(here, elsewhere)
    grown = replace(FIRST, announced_instances=5)
    retrieved(books, grown)
    checkpoint.close()
    for one in (books, opened(here, elsewhere)[1], opened(here)[1]):
        assert (one.verified_studies, one.verified_images, one.verified_size) == (1, 5, 1000)
        assert one.carried_row(PATIENT) == result_of(grown)


def test_a_study_that_has_grown_since_is_complete_nowhere_before_it_is_retrieved_again(
    here: Path, elsewhere: Path
) -> None:
    retrieved(opened(elsewhere)[1], FIRST)
    _, books = opened(here, elsewhere)
    grown = replace(FIRST, announced_instances=5)
    books.take_back(grown)  # and then the run is killed
    third = here.with_name("list_mod.shard-1-of-3.csv")
    checkpoint, again = opened(here, elsewhere)
    for one in (again, opened(third, elsewhere, here)[1]):
        assert (one.carried_row(PATIENT), one.begun_row(PATIENT), one.verified(FIRST)) == (None, None, None)
        assert (one.verified_studies, one.verified_images, list(one.records)) == (0, 0, [])
    retrieved(again, grown)
    checkpoint.close()
    for one in (again, opened(here, elsewhere)[1], opened(third, elsewhere, here)[1]):
        assert one.carried_row(PATIENT) == result_of(grown)
    assert opened(here, elsewhere)[1].verified_images == 5


def test_a_study_that_has_grown_completes_no_row_that_names_it(here: Path, elsewhere: Path) -> None:
    """It is entered for each of them, and taken back once."""
    tomography, resonance = (Request(("PatientID", "Modality"), ("P1", modality)) for modality in ("CT", "MR"))
    checkpoint, books = opened(elsewhere)
    for request in (tomography, resonance):
        retrieved(books, FIRST, request=request)
    checkpoint.close()
    clock_goes_on()
    _, books = opened(here, elsewhere)
    books.take_back(replace(FIRST, announced_instances=5))  # and then the run is killed
    for one in (books, opened(here, elsewhere)[1], opened(elsewhere, here)[1]):
        assert [one.carried_row(request) for request in (tomography, resonance)] == [None, None]
        assert [one.begun_row(request) for request in (tomography, resonance)] == [None, None]
    retrieved(books, replace(FIRST, announced_instances=5), request=resonance)
    assert None not in [books.carried_row(request) for request in (tomography, resonance)]


def test_of_several_splits_the_later_one_has_the_last_word(here: Path) -> None:
    def told(finished: str, images: int) -> Verified:
        record = Record("PatientID=P1", 1, "P1", "1.2.1", "A1", images, images, 1, 1.0, 1, f"2026-03-01T{finished}")
        return Verified({"P1,1.2.1": None, "P1": None}, [record])

    checkpoint = Checkpoint(here)
    for others in ([told("09:00:00", 4), told("08:00:00", 3)], [told("08:00:00", 3), told("09:00:00", 4)]):
        carried = Books(checkpoint, others).carried_row(PATIENT)
        assert carried is not None
        assert carried.received == 4


def test_a_study_that_another_split_has_seen_grow_is_not_complete_here_either(here: Path, elsewhere: Path) -> None:
    checkpoint, books = opened(here)
    retrieved(books, FIRST)
    checkpoint.close()
    clock_goes_on()
    opened(elsewhere, here)[1].take_back(replace(FIRST, announced_instances=5))
    again = opened(here, elsewhere)[1]
    assert (again.carried_row(PATIENT), again.begun_row(PATIENT), again.verified(FIRST)) == (None, None, None)
    assert (again.verified_images, again.records) == (4, []), "the images that were retrieved are here"


def test_that_a_study_has_grown_is_known_also_when_its_images_were_lost(here: Path, elsewhere: Path) -> None:
    retrieved(opened(elsewhere)[1], FIRST)
    checkpoint, books = opened(here, elsewhere)
    clock_goes_on()
    books.take_back(replace(FIRST, announced_instances=5))
    clock_goes_on()
    retrieved(books, replace(FIRST, announced_instances=5))
    assert books.carried_row(PATIENT) is not None
    checkpoint.close()
    Books(Checkpoint(here)).withdraw({FIRST.study_instance_uid}, ())  # as --Verify does
    assert opened(here, elsewhere)[1].carried_row(PATIENT) is None


def test_a_row_that_was_asked_again_elsewhere_is_not_complete_before_its_record_comes(here: Path) -> None:
    """The study that it had is entered again with the time at which it was verified: the order is that of entering."""

    def told(at: str, uid: str, studies: int) -> Record:
        return Record("PatientID=P1", studies, "P1" if uid else "", uid, "", 4, 4, 1, 1.0, 1, f"2026-03-01T{at}")

    records = [told("08:00:00", "1.2.1", 1), told("08:00:00", "1.2.2", 0), told("09:00:00", "", 1),
               told("08:00:00", "1.2.1", 2)]  # fmt: skip
    entries = {"P1": None, "P1,1.2.1": None, "P1,1.2.2": None}
    assert Known(Verified({}, ()), [Verified(entries, records)]).carried_row(PATIENT) is None
    assert Known(Verified(entries, records)).carried_row(PATIENT) is None
    assert Known(Verified({}, ()), [Verified(entries, records[:3])]).carried_row(PATIENT) is not None


def test_what_an_earlier_niffler_entered_for_the_whole_list_counts_for_its_shards(here: Path, elsewhere: Path) -> None:
    elsewhere.with_name(f"{elsewhere.name}.pickle").write_bytes(pickle.dumps(["P1"]))
    row = opened(here, elsewhere)[1].carried_row(PATIENT)
    assert row == RowResult(Outcome.RETRIEVED, detail=NOT_VERIFIED)


def test_a_checkpoint_whose_pickle_was_deleted_says_nothing(elsewhere: Path) -> None:
    retrieved(opened(elsewhere)[1], FIRST)
    elsewhere.with_name(f"{elsewhere.name}.pickle").unlink()
    assert read_verified(elsewhere) == Verified({}, ())


def clock_goes_on() -> None:
    """Ledgers tell the time in seconds."""
    now = datetime.now().second
    wait_until(lambda: datetime.now().second != now, 2)


def test_reading_the_checkpoint_of_a_run_changes_nothing_of_it_and_takes_what_stands_in_its_journal(
    elsewhere: Path,
) -> None:
    checkpoint, books = opened(elsewhere)
    retrieved(books, FIRST)
    checkpoint.record(["P2", "P3"], [])
    checkpoint.take_back(["P3"], [])
    with (ledger := elsewhere.with_name("list_mod.csv.studies.csv")).open("a") as stream:
        stream.write("PatientID=P9,1,P9,1.2.")  # a run is at its last line
    before = {path: path.read_bytes() for path in elsewhere.parent.iterdir()}
    verified = read_verified(elsewhere)
    assert {"P1", "P2", "P1,1.2.1"} <= verified.entries.keys()
    assert "P3" not in verified.entries
    assert [record.study_instance_uid for record in verified.records] == ["1.2.1"]
    assert {path: path.read_bytes() for path in elsewhere.parent.iterdir()} == before
    assert ledger in before


# One view


def a_state(activity: Activity, done: int, *, age: float = 0.0, **process: object) -> RunState:
    now = datetime.now().astimezone()
    return RunState(
        process=replace(this_process(), **process), mode=Mode.RETRIEVE, started=now - timedelta(days=1),  # type: ignore[arg-type]
        written=now - timedelta(seconds=age), activity=activity, since=now, words=f"words of {activity.value}",
        counts={Outcome.RETRIEVED: done, Outcome.PENDING: 4 - done}, exit_code=4 if activity.is_end else None,
    )  # fmt: skip


def ran(whole: Path, shard: Shard, state: RunState | None) -> None:
    """Leave what a run of the shard leaves when it begins, and its state."""
    modified = of_shard(whole, shard)
    modified.touch()
    if state is not None:
        StateFile(state_json(modified)).write(state)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Of a list in six shards: one of each standing."""
    extraction = Extraction(tmp_path)
    extraction.write_list("EMPI", [[f"P{row}"] for row in range(6)])
    modified = extraction.state("")
    dead = {"pid": 2**22 + 1}
    ran(modified, Shard(1, 6), a_state(Activity.RETRIEVING, 3))
    ran(modified, Shard(2, 6), a_state(Activity.COMPLETE, 4))
    ran(modified, Shard(3, 6), a_state(Activity.STOPPED, 2))
    ran(modified, Shard(4, 6), a_state(Activity.GAVE_UP, 1))
    ran(modified, Shard(5, 6), a_state(Activity.RETRIEVING, 0, **dead))
    return modified


def test_of_each_shard_it_is_told_how_it_stands(whole: Path) -> None:
    standings = [part.standing for part in parts_of(whole, 6)]
    assert standings == [
        Standing.RUNS, Standing.COMPLETE, Standing.STOPPED, Standing.FAILED, Standing.STALE, Standing.MISSING,
    ]  # fmt: skip


def test_a_shard_on_another_machine_runs_as_long_as_it_writes(whole: Path) -> None:
    elsewhere = ProcessId(1, 0.0, "another", 1)
    for age, standing in ((5, Standing.RUNS), (500, Standing.STALE)):
        ran(whole, Shard(6, 6), replace(a_state(Activity.RETRIEVING, 0, age=age), process=elsewhere))
        assert parts_of(whole, 6)[5].standing is standing


def test_a_state_that_cannot_be_read_is_stale(whole: Path) -> None:
    state_json(of_shard(whole, Shard(6, 6))).write_text("{")
    assert parts_of(whole, 6)[5].standing is Standing.STALE
    assert "is not the state of a run" in seen(whole.with_name("list.csv"))


def test_the_newest_split_is_that_of_the_last_run(whole: Path) -> None:
    assert newest_split(whole) == 6
    for number, name in enumerate((of_shard(whole, Shard(1, 2)), whole, of_shard(whole, Shard(2, 3)))):
        name.touch()
        os.utime(name, (later := time.time() + 100 * number + 100, later))
        assert newest_split(whole) == (2, 1, 3)[number]


def seen(csv_file: Path, shard: Shard | None = None) -> str:
    return "".join(f"{label}: {text}\n" for label, text in look_at(csv_file, shard).lines)


def test_status_tells_of_all_shards_together_and_of_each(whole: Path) -> None:
    sight = look_at(whole.with_name("list.csv"))
    said = dict(sight.lines)
    assert said["now"] == "1 running, 1 complete, 1 stopped, 1 failed, 1 stale, 1 missing"
    assert said["rows"] == "10 of 20 done, without those of missing shards"
    assert said["outcomes"] == "retrieved 10, pending 10"
    assert said["shard 1/6"] == "running: words of retrieving"
    assert said["shard 3/6"].startswith("stopped: words of stopped")
    assert said["shard 4/6"].startswith("failed: words of gave up")
    assert said["shard 5/6"].startswith("stale: the process is gone (killed?)")
    assert said["shard 6/6"].startswith("missing: ")
    assert "--Shard 6/6" in said["shard 6/6"]
    assert sight.is_running


def test_status_of_one_shard_looks_at_its_files_alone(whole: Path) -> None:
    said = seen(whole.with_name("list.csv"), Shard(1, 6))
    assert "list.csv, shard 1/6: retrieve" in said
    assert "rows: 3 of 4" in said
    assert "1/6" in said
    assert "2/6" not in said
    assert "no extraction of this shard was started yet" in seen(whole.with_name("list.csv"), Shard(6, 6))


def test_which_shard_is_looked_at_is_said_on_the_command_line_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")  # the rest is not told, which would be a fault for a run
    file = tmp_path / "a.csv"
    words = ["--Status", "true", "--CsvFile", str(file)]
    assert list_to_watch(words, beside=tmp_path) == Watched(file, is_redrawn=False)
    assert list_to_watch([*words, "--Shard", "3/8"], beside=tmp_path) == Watched(file, False, Shard(3, 8))
    assert list_to_watch([*words, "--Shard", "1/1"], beside=tmp_path) == Watched(file, is_redrawn=False)


def complete(whole: Path, shard: Shard, *studies: Study) -> None:
    """Leave a checkpoint with these studies in it, of a patient each, as a run does that was killed."""
    _, books = opened(of_shard(whole, shard))
    for study in studies:
        retrieved(books, study, request=Request(("PatientID",), (study.patient_id,)))


def say(whole: Path, shard: Shard, *rows: tuple[str, str, str]) -> None:
    """Leave an outcomes file with these rows: patient, outcome, detail."""
    with outcomes_csv(of_shard(whole, shard)).open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["EMPI", *OUTCOME_COLUMNS])
        writer.writerows([patient, outcome, 1, 4, 4, 1, detail] for patient, outcome, detail in rows)


def test_the_report_of_all_shards_merges_their_outcomes_in_the_order_of_the_list(whole: Path) -> None:
    extraction = Extraction(whole.parent, config={"StorageFolder": str(whole.parent / "{shard}")})
    extraction.system = {"QueryAet": "NIFFLER{shard}:4243", "DestAet": "NIFFLER{shard}", "NifflerID": "{shard}"}
    complete(whole, Shard(2, 6), Study("1.2.0", "P0", "A0", 4))
    say(whole, Shard(2, 6), ("P0", "retrieved", ""))
    say(whole, Shard(3, 6))
    say(whole, Shard(4, 6), ("P2", "failed", "C-MOVE: A-ABORT[source: 0]"))
    finished = extraction.run("--Report", "true")
    assert finished.exit_code == 0, finished.output
    assert merged(extraction) == {
        "P0": "retrieved", "P1": "pending", "P2": "failed", "P3": "pending", "P4": "pending", "P5": "pending",
    }  # fmt: skip
    assert [row["EMPI"] for row in read_csv(extraction.state(".unfinished.csv"))] == ["P1", "P2", "P3", "P4", "P5"]
    page = extraction.state(".report.html").read_text(encoding="utf-8")
    assert "to be started again: 3/6 (stopped), 4/6 (failed), 5/6 (stale), 6/6 (missing)" in page
    assert "line 4" in page, "the lines are those of the list"
    assert "P2" not in page

    of_one = extraction.run("--Report", "true", "--Shard", "2/6")
    assert of_one.exit_code == 0, of_one.output
    assert of_one.output.strip().endswith("list_mod.shard-2-of-6.csv.report.html")


def test_what_the_checkpoints_say_goes_before_what_the_shards_have_written_of_their_rows_so_far(whole: Path) -> None:
    extraction = Extraction(whole.parent)
    complete(whole, Shard(1, 6), Study("1.2.1", "P1", "A1", 4))
    say(whole, Shard(1, 6), ("P1", "pending", ""), ("P5", "retrieved", ""))
    complete(whole, Shard(1, 2), Study("1.2.3", "P3", "A3", 4))
    assert extraction.run("--Report", "true").exit_code == 0
    assert merged(extraction) == {
        "P0": "pending", "P1": "retrieved", "P2": "pending", "P3": "retrieved", "P4": "pending", "P5": "pending",
    }  # fmt: skip
    [unsure] = [row["Detail"] for row in extraction.outcomes() if row["EMPI"] == "P5"]
    assert unsure.startswith("retrieved before, and not complete in the checkpoint")


def merged(extraction: Extraction) -> dict[str, str]:
    return {row["EMPI"]: row["Outcome"] for row in extraction.outcomes()}


def test_verify_of_a_shard_leaves_what_others_have_in_the_same_folder_to_them(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path)
    studies = generate_studies(extraction.storage, 9, instances=2, size=16)
    extraction.write_list("EMPI", [[study.patient_id] for study in studies])
    whole = extraction.state("")
    write_study(extraction.storage, patient_id="STRANGER")
    ours = [
        Study(study.study_instance_uid, study.patient_id, study.accession_number, 2)
        for study in studies
        if Shard(1, 2).takes(study.patient_id)
    ]
    complete(whole, Shard(1, 2), *ours[:-1])
    complete(whole, Shard(2, 3), ours[-1])
    verified = extraction.run("--Verify", "true", "--Shard", "1/2")
    assert f"complete: {len(ours) - 1} " in verified.output, verified.output
    assert "unknown: 1 " in verified.output
    assert "unfinished" not in verified.output
    assert f"{len(ours)} rows: retrieved {len(ours)}" in verified.output

    all_at_once = extraction.run("--Verify", "true")
    assert all_at_once.exit_code == 2
    assert "list.csv was retrieved in shards; verify one after the other, --Shard 1/2 first" in all_at_once.output
    assert not extraction.state(".pickle").exists()
