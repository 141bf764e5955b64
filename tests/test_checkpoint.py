"""What is complete stays known: the pickle, its journal, the ledger, and what a run makes of them."""

import copyreg
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from niffler.books import Books
from niffler.checkpoint import Checkpoint
from niffler.errors import GaveUpError, WrongInputError
from niffler.known import NOT_VERIFIED, carried_rows
from niffler.ledger import Record, header_line, read_ledger, record_lines, request_text
from niffler.vocabulary import Outcome, Request, RowResult, Study, StudyResult

ROOT = Path(__file__).resolve().parent.parent
PATIENT = Request(("PatientID",), ("P1",))
PAIR = Request(("PatientID", "AccessionNumber"), ("P1", "A1"))
ACCESSION = Request(("AccessionNumber",), ("A1",))
FIRST = Study("1.2.1", "P1", "A1", 4)
SECOND = Study("1.2.2", "P1", "A2", 6)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The modified CSV that the state is named after."""
    return tmp_path / "list_mod.csv"


def pickle_of(base: Path) -> Path:
    return base.with_name(f"{base.name}.pickle")


def journal_of(base: Path) -> Path:
    return base.with_name(f"{base.name}.pickle.journal")


def ledger_of(base: Path) -> Path:
    return base.with_name(f"{base.name}.studies.csv")


def pickled(base: Path) -> list[str]:
    """The pickle as anybody reads it, today's Niffler among them."""
    entries: list[str] = pickle.loads(pickle_of(base).read_bytes())
    return entries


def begun(base: Path, *, output: Path | None = None) -> Checkpoint:
    checkpoint = Checkpoint(base, output=output)
    checkpoint.begin()
    return checkpoint


def record(number: int = 1, *, request: str = "PatientID=P1", finished: str = "2020-09-21T17:42:38") -> Record:
    return Record(request, 2, "P1", f"1.2.{number}", f"A{number}", 4, 4, 1, 1.5, 2048, finished)


# The pickle


def test_the_files_of_the_state_are_named_after_the_modified_csv(base: Path) -> None:
    begun(base)
    assert {path.name for path in base.parent.iterdir()} == {
        "list_mod.csv.pickle", "list_mod.csv.pickle.journal", "list_mod.csv.studies.csv",
    }  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_todays_niffler_continues(base: Path, protocol: int) -> None:
    entries = ["X1234, 000056789", "00001234", "P1,1.2.840.10008.1", "Müller"]
    pickle_of(base).write_bytes(pickle.dumps(entries, protocol))
    checkpoint = begun(base)
    assert checkpoint.continues
    assert list(checkpoint.entries) == entries
    checkpoint.record(["P2"], [])
    checkpoint.close()
    assert pickled(base) == [*entries, "P2"]


def test_todays_niffler_can_continue_and_hand_back(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1"], [record()])
    checkpoint.close()
    pickle_of(base).write_bytes(pickle.dumps([*pickled(base), "P2"]))
    again = begun(base)
    assert list(again.entries) == ["P1", "P2"]
    assert again.records == [record()]


def test_a_list_without_a_pickle_starts_from_scratch(base: Path) -> None:
    checkpoint = Checkpoint(base)
    assert not checkpoint.continues
    assert (list(checkpoint.entries), checkpoint.records) == ([], [])


def test_an_empty_pickle_is_a_beginning_that_continues(base: Path) -> None:
    begun(base).close()
    assert pickled(base) == []
    assert Checkpoint(base).continues


def test_entries_keep_their_order_and_stand_there_once(base: Path) -> None:
    pickle_of(base).write_bytes(pickle.dumps(["P2", "P1", "P2"]))
    checkpoint = begun(base)
    checkpoint.record(["P3", "P1"], [])
    checkpoint.record(["P0", "P3"], [])
    checkpoint.close()
    assert pickled(base) == ["P2", "P1", "P3", "P0"]


def test_opening_a_checkpoint_alone_changes_nothing(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1"], [record()])
    before = {path: path.read_bytes() for path in base.parent.iterdir()}
    assert list(Checkpoint(base).entries) == ["P1"]
    assert {path: path.read_bytes() for path in base.parent.iterdir()} == before


class _Calls:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function = function
        self.arguments = arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, subprocess.Popen, Path, str, list, set])
def test_a_pickle_that_calls_something_is_refused_and_nothing_is_called(
    base: Path, function: Callable[..., object], protocol: int
) -> None:
    marker = base.parent / "called"
    commands: dict[Any, tuple[object, ...]] = {
        os.system: (f"touch {marker}",),
        eval: (f"open({str(marker)!r}, 'w')",),
        exec: (f"open({str(marker)!r}, 'w')",),
        subprocess.Popen: (["touch", str(marker)],),
        getattr: ("text", "upper"),
    }
    content = pickle.dumps(["P1", _Calls(function, *commands.get(function, ("ab",)))], protocol)
    pickle_of(base).write_bytes(content)
    with pytest.raises(WrongInputError, match=r"list_mod\.csv\.pickle: the checkpoint cannot be read"):
        Checkpoint(base)
    assert not marker.exists()
    assert pickle_of(base).read_bytes() == content


def test_a_pickle_that_refers_to_something_outside_is_refused(base: Path) -> None:
    for content in (b"\x80\x04]\x8c\x01aQa.", b"]Pelsewhere\na.", b"cbuiltins\nlist\n.", b"\x80\x04\x82\x01."):
        pickle_of(base).write_bytes(content)
        with pytest.raises(WrongInputError, match="the checkpoint cannot be read"):
            Checkpoint(base)


def test_a_registered_extension_is_refused_as_well(base: Path) -> None:
    copyreg.add_extension("posix", "system", 0x7E)
    try:
        pickle_of(base).write_bytes(b"\x80\x02\x82\x7e\x8c\x04true\x85R.")
        with pytest.raises(WrongInputError, match="the checkpoint cannot be read"):
            Checkpoint(base)
    finally:
        copyreg.remove_extension("posix", "system", 0x7E)


@pytest.mark.parametrize(
    "value", [None, 1, "P1", b"P1", ("P1",), {"P1": "A1"}, {"P1"}, ["P1", 2], ["P1", None], [["P1"]], ["P1", b"P2"]]
)
def test_a_pickle_of_anything_but_a_list_of_strings_is_refused(base: Path, value: object) -> None:
    pickle_of(base).write_bytes(pickle.dumps(value))
    with pytest.raises(WrongInputError, match=r"list_mod\.csv\.pickle: the checkpoint .* starts? from scratch"):
        Checkpoint(base)


@pytest.mark.parametrize("content", [b"", b"\x00" * 512, b"not a pickle", pickle.dumps(["P1", "P2"])[:-3]])
def test_a_pickle_that_cannot_be_read_is_an_error_that_names_it_and_no_fresh_start(base: Path, content: bytes) -> None:
    begun(base).record(["P1"], [record()])
    pickle_of(base).write_bytes(content)
    before = {path: path.read_bytes() for path in base.parent.iterdir()}
    with pytest.raises(WrongInputError) as caught:
        Checkpoint(base)
    assert str(caught.value).startswith(f"{pickle_of(base)}: the checkpoint cannot be read")
    assert "move it away and the extraction starts from scratch" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in base.parent.iterdir()} == before


def test_a_folder_in_the_place_of_the_pickle_is_an_error_that_names_it(base: Path) -> None:
    pickle_of(base).mkdir()
    with pytest.raises(WrongInputError, match=r"list_mod\.csv\.pickle: the checkpoint cannot be read: Is a directory"):
        Checkpoint(base)


@st.composite
def _damaged_pickles(draw: st.DrawFn) -> bytes:
    content = bytearray(pickle.dumps(draw(st.lists(st.text("0123456789,.", max_size=8), max_size=4)),
                                     draw(st.integers(0, pickle.HIGHEST_PROTOCOL))))  # fmt: skip
    for _ in range(draw(st.integers(0, 3))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


# These two operations (p in text, r in binary) can name an index so large that unpickling takes all memory first.
_BYTES = st.one_of(st.binary(max_size=60), _damaged_pickles()).filter(lambda content: not {0x70, 0x72} & {*content})


@hypothesis_settings(deadline=None)
@given(_BYTES)
@example(pickle.dumps(["P1"], 4))
@example(b"]\x8c\x01a.")
def test_any_bytes_are_a_list_of_strings_or_an_error_that_names_the_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "list_mod.csv"
        pickle_of(base).write_bytes(content)
        try:
            entries = Checkpoint(base).entries
        except WrongInputError as error:
            assert str(error).startswith(f"{pickle_of(base)}: ")
            return
        assert all(type(entry) is str for entry in entries)
        assert list(entries) == list(dict.fromkeys(pickle.loads(content)))


# The journal


def test_what_is_recorded_is_there_after_a_run_that_never_ended(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1,1.2.1", "P1"], [record()])
    checkpoint.record(["P2"], [])
    again = Checkpoint(base)
    assert list(again.entries) == ["P1,1.2.1", "P1", "P2"]
    assert again.records == [record()]


def test_what_was_recorded_before_a_kill_is_known_after_it(base: Path) -> None:
    recording = (
        "import itertools, pathlib, sys\n"
        "from niffler.checkpoint import Checkpoint\n"
        "checkpoint = Checkpoint(pathlib.Path(sys.argv[1]))\n"
        "checkpoint.begin()\n"
        "for number in itertools.count():\n"
        "    checkpoint.record([f'P{number}'], [])\n"
        "    print(number, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", recording, str(base)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    told += map(int, process.stdout.read().split())
    process.stdout.close()
    process.wait()
    known = list(Checkpoint(base).entries)
    assert known[: len(told)] == [f"P{number}" for number in told]
    assert len(known) <= len(told) + 1


def test_a_completion_is_flushed_to_the_disk_at_once_and_alone(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = begun(base)
    before = pickle_of(base).stat()
    flushed: list[str] = []
    flush = os.fsync

    def watch(descriptor: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    checkpoint.record(["P1"], [record()])
    assert flushed == [str(journal_of(base))]
    after = pickle_of(base).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_completion_costs_the_same_however_long_the_list_is(base: Path) -> None:
    pickle_of(base).write_bytes(pickle.dumps([f"Q{number}" for number in range(10_000)]))
    checkpoint = begun(base)
    for number in range(1, 10):
        checkpoint.record([f"P{number}"], [record(number)])
    assert len({len(line) for line in journal_of(base).read_bytes().splitlines()}) == 1
    assert journal_of(base).stat().st_size < 2000


def test_a_torn_last_line_is_ignored_wherever_it_is_torn(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1"], [record(1)])
    whole = journal_of(base).stat().st_size
    checkpoint.record(["P2"], [record(2)])
    content = journal_of(base).read_bytes()
    for size in range(whole, len(content)):
        journal_of(base).write_bytes(content[:size])
        torn = Checkpoint(base)
        assert list(torn.entries) == ["P1"]
        assert torn.records == [record(1)]
    journal_of(base).write_bytes(content)
    assert list(Checkpoint(base).entries) == ["P1", "P2"]


@pytest.mark.parametrize("rest", [b"\x00" * 4096, b"\x00" * 100 + b"\n", b'{"entries": 5}\n', b"[]\n", b"\xff\xfe\n"])
def test_what_a_power_cut_leaves_behind_the_last_line_is_ignored(base: Path, rest: bytes) -> None:
    begun(base).record(["P1"], [])
    with journal_of(base).open("ab") as journal:
        journal.write(rest)
    assert list(Checkpoint(base).entries) == ["P1"]


def test_the_journal_is_merged_at_the_next_start(base: Path) -> None:
    begun(base).record(["P1"], [record(1)])
    assert pickled(base) == []
    begun(base)
    assert pickled(base) == ["P1"]
    assert journal_of(base).read_bytes() == b""
    assert read_ledger(ledger_of(base)) == [record(1)]


def test_the_journal_is_removed_at_an_orderly_end(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1"], [record(1)])
    checkpoint.close()
    assert not journal_of(base).exists()
    assert pickled(base) == ["P1"]
    assert read_ledger(ledger_of(base)) == [record(1)]


def test_saving_writes_the_pickle_and_begins_the_journal_anew(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1"], [record(1)])
    checkpoint.save()
    assert pickled(base) == ["P1"]
    assert journal_of(base).read_bytes() == b""
    checkpoint.record(["P2"], [record(2)])
    again = Checkpoint(base)
    assert list(again.entries) == ["P1", "P2"]
    assert again.records == [record(1), record(2)]


def test_a_journal_without_its_pickle_is_discarded_and_the_ledger_too(base: Path) -> None:
    begun(base).record(["P1"], [record(1)])
    pickle_of(base).unlink()
    checkpoint = Checkpoint(base)
    assert not checkpoint.continues
    assert (list(checkpoint.entries), checkpoint.records) == ([], [])
    assert not journal_of(base).exists()
    assert not ledger_of(base).exists()


def test_a_start_that_breaks_off_at_any_step_of_saving_loses_nothing(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1"], [record(1)])
    ledger, journal, pickle_before = (path(base).read_bytes() for path in (ledger_of, journal_of, pickle_of))
    checkpoint.save()
    ledger_after = ledger_of(base).read_bytes()
    for written in ((ledger, pickle_before), (ledger_after, pickle_before), (ledger_after, pickle.dumps(["P1"]))):
        ledger_of(base).write_bytes(written[0])
        pickle_of(base).write_bytes(written[1])
        journal_of(base).write_bytes(journal)
        again = begun(base)
        assert list(again.entries) == ["P1"]
        assert again.records == [record(1)], "neither lost nor doubled"
        assert read_ledger(ledger_of(base)) == [record(1)]


def test_the_length_of_an_output_is_recorded_with_each_completion(base: Path, tmp_path: Path) -> None:
    output = tmp_path / "cfind-output.csv"
    output.write_text("PatientID\n")
    checkpoint = begun(base, output=output)
    assert Checkpoint(base, output=output).recorded_output_size == 10
    output.write_text("PatientID\nP1\n")
    checkpoint.record(["PatientID=P1"], [])
    output.write_text("PatientID\nP1\nP2, not recorded")
    assert Checkpoint(base, output=output).recorded_output_size == 13


# A disk that refuses


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """The kernel refuses to write on beyond this size, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def refused(base: Path) -> Checkpoint:
    """A checkpoint whose disk took P1 and only half of P2."""
    checkpoint = begun(base)
    checkpoint.record(["P1"], [record(1)])
    with (
        files_no_longer_than(journal_of(base).stat().st_size + 20),
        pytest.raises(GaveUpError, match=r"list_mod\.csv\.pickle\.journal: cannot be written: .*make room"),
    ):
        checkpoint.record(["P2"], [record(2)])
    return checkpoint


def test_what_the_disk_refuses_is_not_complete(base: Path, refused: Checkpoint) -> None:
    assert list(refused.entries) == ["P1"]
    assert list(Checkpoint(base).entries) == ["P1"]
    refused.close()
    assert pickled(base) == ["P1"]
    assert read_ledger(ledger_of(base)) == [record(1)]


def test_with_room_again_recording_goes_on(base: Path, refused: Checkpoint) -> None:
    refused.record(["P2"], [record(2)])
    assert list(Checkpoint(base).entries) == ["P1", "P2"]


def test_a_pickle_that_cannot_be_replaced_stays_whole(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1"], [])
    checkpoint.save()
    checkpoint.record(["P" * 5000], [])
    with files_no_longer_than(4096), pytest.raises(GaveUpError, match=r"list_mod\.csv\.pickle: cannot be written"):
        checkpoint.save()
    assert pickled(base) == ["P1"]
    assert list(Checkpoint(base).entries) == ["P1", "P" * 5000]
    assert [path for path in base.parent.iterdir() if path.name.endswith(".new")] == []


# The ledger


def test_a_ledger_is_a_csv_with_a_header(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1"], [record(1)])
    checkpoint.close()
    assert ledger_of(base).read_text().splitlines() == [
        "Request,Studies,PatientID,StudyInstanceUID,AccessionNumber,Expected,Received,Attempts,Seconds,Bytes,Finished,"
        "Detail",
        "PatientID=P1,2,P1,1.2.1,A1,4,4,1,1.5,2048,2020-09-21T17:42:38,",
    ]


def test_a_study_and_the_row_that_it_completes_are_one_line_of_the_ledger(base: Path) -> None:
    checkpoint = begun(base)
    begun_row = record(1)._replace(studies=0)
    checkpoint.record(["P1"], [begun_row])
    checkpoint.record([], [record(1)._replace(studies=1)])
    assert Checkpoint(base).records == [record(1)._replace(studies=1)]
    checkpoint.close()
    assert read_ledger(ledger_of(base)) == [record(1)._replace(studies=1)]


def test_what_was_withdrawn_is_not_complete_whether_the_run_ended_in_good_order_or_not(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1", "P2"], [])
    checkpoint.take_back(["P1", "P3"], [])
    assert list(Checkpoint(base).entries) == ["P2"]
    checkpoint.close()
    assert list(Checkpoint(base).entries) == ["P2"]


_PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))
_COUNTS = st.integers(0, 10**9)


@hypothesis_settings(deadline=None)
@given(st.lists(st.builds(Record, _PLAIN, st.integers(1, 10**9), _PLAIN, _PLAIN, _PLAIN, _COUNTS, _COUNTS, _COUNTS,
                          st.floats(0, 1e9), _COUNTS, _PLAIN), max_size=3))  # fmt: skip
def test_records_come_back_from_ledger_and_journal_as_they_were(records: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "list_mod.csv"
        ledger_of(base).write_text(header_line() + record_lines(records), newline="")
        assert read_ledger(ledger_of(base)) == records
        ledger_of(base).unlink()
        checkpoint = begun(base)
        checkpoint.record([], records)
        assert Checkpoint(base).records == records


def test_there_are_no_records_without_a_ledger(base: Path) -> None:
    assert read_ledger(ledger_of(base)) == []


@pytest.mark.parametrize("line", ["one,two", "PatientID=P1,many,P1,1.2,A1,4,4,1,1.5,2048,2020", "\udcff"])
def test_a_ledger_that_cannot_be_read_is_an_error_that_names_it(base: Path, line: str) -> None:
    begun(base).close()
    with ledger_of(base).open("a", errors="surrogateescape") as ledger:
        ledger.write(f"{line}\n")
    with pytest.raises(WrongInputError, match=r"list_mod\.csv\.studies\.csv: .*together with the pickle beside it"):
        Checkpoint(base)


def test_a_torn_last_line_of_the_ledger_comes_back_from_the_journal(base: Path) -> None:
    checkpoint = begun(base)
    checkpoint.record(["P1"], [record(1)])
    journal = journal_of(base).read_bytes()
    checkpoint.save()
    journal_of(base).write_bytes(journal)
    content = ledger_of(base).read_bytes()
    for size in range(len(header_line()), len(content)):
        ledger_of(base).write_bytes(content[:size])
        assert Checkpoint(base).records == [record(1)]


def test_a_pickle_of_todays_niffler_gets_a_ledger_that_can_be_read(base: Path) -> None:
    pickle_of(base).write_bytes(pickle.dumps(["P0"]))
    checkpoint = begun(base)
    checkpoint.record(["P1"], [record(1)])
    checkpoint.close()
    assert Checkpoint(base).records == [record(1)]


_REQUESTS = st.integers(1, 3).flatmap(
    lambda number: st.builds(
        Request,
        st.permutations(["PatientID", "AccessionNumber", "StudyDate"]).map(lambda words: tuple(words[:number])),
        st.tuples(*[st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)] * number),
    )
)


@given(_REQUESTS, _REQUESTS)
@example(Request(("PatientID",), ("a&AccessionNumber=b",)), Request(("PatientID", "AccessionNumber"), ("a", "b")))
@example(Request(("PatientID",), ("a,b",)), Request(("PatientID",), ("a%2Cb",)))
def test_different_requests_have_different_texts_in_one_line(one: Request, other: Request) -> None:
    assert (request_text(one) == request_text(other)) == (one == other)
    assert request_text(one).isprintable()


# What a run makes of it

ONE_STUDY = RowResult(Outcome.RETRIEVED, studies=1, expected=4, received=4, attempts=1, detail="as asked")


class Run:
    """A run with a checkpoint; ``again`` is the next one, after a kill."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.checkpoint = begun(base)
        self.books = Books(self.checkpoint)

    def again(self) -> "Run":
        return Run(self.base)

    def complete(self, request: Request, *studies: Study, of: int | None = None, attempts: int = 1) -> None:
        """Enter these verified studies of a request, and the row where they are all."""
        for study in studies:
            instances = study.announced_instances or 0
            result = StudyResult(study, Outcome.RETRIEVED, instances, instances, attempts)
            self.books.study_complete(result, seconds=1.0, size=1000)
            self.books.enter_study(request, of or len(studies), study)
        if of is None or of == len(studies):
            images = sum(study.announced_instances or 0 for study in studies)
            row = RowResult(Outcome.RETRIEVED, len(studies), images, images, attempts, "as asked")
            self.books.enter_row(request, row, studies)
        self.books.commit()


@pytest.fixture
def run(base: Path) -> Run:
    return Run(base)


@pytest.mark.parametrize(
    ("request_", "entries"),
    [
        (PATIENT, {"P1", "P1,1.2.1"}),
        (PAIR, {"P1,A1", "P1,1.2.1"}),
        (Request(("AccessionNumber", "PatientID"), ("A1", "P1")), {"P1,A1", "P1,1.2.1"}),
        (ACCESSION, {"P1,1.2.1"}),
        (Request(("PatientID", "AccessionNumber", "StudyDate"), ("P1", "A1", "20200115")), {"P1,1.2.1"}),
        (Request(("StudyInstanceUID",), ("1.2.1",)), {"P1,1.2.1"}),
    ],
)
def test_each_kind_of_list_has_the_entries_that_niffler_knows(run: Run, request_: Request, entries: set[str]) -> None:
    run.complete(request_, FIRST)
    run.checkpoint.close()
    assert set(pickled(run.base)) == entries


def test_a_row_that_is_complete_is_carried_over_with_its_counts(run: Run) -> None:
    run.complete(PATIENT, FIRST, SECOND, attempts=2)
    carried = RowResult(Outcome.RETRIEVED, studies=2, expected=10, received=10, attempts=2, detail="as asked")
    assert run.again().books.carried_row(PATIENT) == carried
    run.checkpoint.close()
    assert run.again().books.carried_row(PATIENT) == carried


def test_a_row_of_one_study_is_one_line_of_the_ledger(run: Run) -> None:
    alone = RowResult(Outcome.RETRIEVED, studies=1, expected=4, received=4, attempts=1)
    run.books.study_complete(StudyResult(FIRST, Outcome.RETRIEVED, 4, 4, 1), seconds=1.0, size=1000)
    run.books.enter_study(PATIENT, 1, FIRST)
    run.books.enter_row(PATIENT, alone, [FIRST])
    run.books.commit()
    run.checkpoint.close()
    assert len(read_ledger(ledger_of(run.base))) == 1
    assert run.again().books.carried_row(PATIENT) == alone


def test_a_row_of_one_study_has_a_line_of_its_own_where_there_is_more_to_say(run: Run) -> None:
    run.complete(PATIENT, FIRST)  # the detail of the row is another than that of the study
    run.checkpoint.close()
    assert [record.study_instance_uid for record in read_ledger(ledger_of(run.base))] == ["1.2.1", ""]
    carried = run.again().books.carried_row(PATIENT)
    assert carried is not None
    assert carried.detail == "as asked"


def test_a_row_that_was_asked_again_is_complete_only_with_its_new_studies(run: Run) -> None:
    """A first study was all; asked again, the row had two, and the run ended before the second."""
    run.complete(PATIENT, FIRST)
    run.complete(PATIENT, FIRST, of=2)
    assert run.again().books.carried_row(PATIENT) is None


def test_a_row_half_done_goes_on_at_its_next_study(run: Run) -> None:
    run.complete(PATIENT, FIRST, of=2)
    books = run.again().books
    assert books.carried_row(PATIENT) is None
    assert books.verified(FIRST) == StudyResult(FIRST, Outcome.RETRIEVED, expected=4, received=4, attempts=1)
    assert books.verified(SECOND) is None


def test_nothing_counts_before_it_is_committed(run: Run) -> None:
    run.books.study_complete(StudyResult(FIRST, Outcome.RETRIEVED, 4, 4, 1), seconds=1.0, size=1000)
    run.books.enter_study(PATIENT, 1, FIRST)
    run.books.enter_row(PATIENT, ONE_STUDY, [FIRST])
    assert list(run.checkpoint.entries) == []
    assert run.again().books.carried_row(PATIENT) is None


def test_a_study_of_two_rows_completes_both(run: Run) -> None:
    run.complete(ACCESSION, FIRST)
    run.books.enter_row(PATIENT, ONE_STUDY, [FIRST])
    run.books.commit()
    books = run.again().books
    assert books.carried_row(ACCESSION) == books.carried_row(PATIENT) == ONE_STUDY


def test_a_row_is_complete_with_exactly_its_own_studies(run: Run) -> None:
    """First and second were verified, the first was then replaced in the archive by a third, which failed."""
    run.complete(PATIENT, FIRST, SECOND, of=3)
    third = Study("1.2.3", "P1", "A3", 2)
    run.complete(PATIENT, third, of=3)
    assert run.again().books.carried_row(PATIENT) is None
    again = run.again()
    again.books.enter_row(PATIENT, RowResult(Outcome.RETRIEVED, 2, 8, 8, 1), [third, SECOND])
    again.books.commit()
    again.checkpoint.close()
    pickle_of(run.base).write_bytes(pickle.dumps([entry for entry in pickled(run.base) if entry != "P1,1.2.1"]))
    assert run.again().books.carried_row(PATIENT) == RowResult(Outcome.RETRIEVED, 2, 8, 8, 1)


@pytest.mark.parametrize("values", [("a", "b,c"), ("a,b", "c")])
def test_an_entry_that_can_be_read_in_two_ways_is_not_honoured(base: Path, values: tuple[str, str]) -> None:
    pickle_of(base).write_bytes(pickle.dumps(["a,b,c"]))
    assert Run(base).books.carried_row(Request(("PatientID", "AccessionNumber"), values)) is None
    assert Run(base).books.carried_row(Request(("PatientID",), ("a,b,c",))) is None


def test_similar_ids_are_not_confused(run: Run) -> None:
    run.complete(PATIENT, FIRST)
    books = run.again().books
    for patient in ("P", "P11", "p1", "0P1", "P1 "):
        assert books.carried_row(Request(("PatientID",), (patient,))) is None
    assert books.carried_row(Request(("AccessionNumber",), ("P1",))) is None
    assert books.verified(Study("1.2.1", "P2")) is None
    assert books.verified(Study("1.2.10", "P1")) is None


@pytest.mark.parametrize(
    ("entry", "request_"), [("P1", PATIENT), ("P1,A1", PAIR), ("P1, A1", PAIR)]
)  # fmt: skip
def test_rows_of_an_earlier_niffler_are_honoured_and_said_not_to_be_verified(
    base: Path, entry: str, request_: Request
) -> None:
    pickle_of(base).write_bytes(pickle.dumps([entry]))
    carried = Run(base).books.carried_row(request_)
    assert carried == RowResult(Outcome.RETRIEVED, detail="from an earlier checkpoint, not verified")


@pytest.mark.parametrize("entry", ["P1,1.2.1", "P1, 1.2.1"])
def test_studies_of_an_earlier_niffler_are_honoured_and_said_not_to_be_verified(base: Path, entry: str) -> None:
    pickle_of(base).write_bytes(pickle.dumps([entry]))
    books = Run(base).books
    assert books.carried_row(ACCESSION) is None, "which studies are its own has to be asked"
    assert books.verified(FIRST) == StudyResult(FIRST, Outcome.RETRIEVED, detail=NOT_VERIFIED)
    assert books.verified(SECOND) is None


def test_an_earlier_study_does_not_become_verified_by_being_met(base: Path) -> None:
    pickle_of(base).write_bytes(pickle.dumps(["P1,1.2.1"]))
    run = Run(base)
    run.books.enter_study(ACCESSION, 1, FIRST)
    run.books.commit()
    books = run.again().books
    assert books.verified(FIRST) == StudyResult(FIRST, Outcome.RETRIEVED, detail=NOT_VERIFIED)
    assert books.carried_row(ACCESSION) is None


def test_where_our_ledger_knows_a_row_an_entry_alone_is_not_enough(run: Run) -> None:
    run.complete(PATIENT, FIRST, of=2)
    run.checkpoint.close()
    pickle_of(run.base).write_bytes(pickle.dumps([*pickled(run.base), "P1"]))
    assert run.again().books.carried_row(PATIENT) is None


def test_a_study_taken_out_of_the_pickle_is_retrieved_again(run: Run) -> None:
    run.complete(PATIENT, FIRST, SECOND)
    run.checkpoint.close()
    pickle_of(run.base).write_bytes(pickle.dumps(["P1", "P1,1.2.1"]))
    books = run.again().books
    assert books.carried_row(PATIENT) is None
    assert books.verified(SECOND) is None
    assert books.verified(FIRST) is not None


def test_a_row_whose_metadata_is_listed_is_found_and_not_asked_again(run: Run) -> None:
    run.books.enter_find(PATIENT, RowResult(Outcome.FOUND, studies=3, attempts=1, detail="1 other match"))
    run.books.commit()
    books = run.again().books
    assert books.carried_find(PATIENT) == RowResult(Outcome.FOUND, studies=3, attempts=1, detail="1 other match")
    assert books.carried_find(PAIR) is None


def test_having_asked_about_a_row_is_not_having_retrieved_it_nor_the_reverse(run: Run) -> None:
    run.books.enter_find(PATIENT, RowResult(Outcome.FOUND, studies=1))
    run.complete(PAIR, FIRST)
    books = run.again().books
    assert books.carried_find(PAIR) is None
    assert "P1" not in run.checkpoint.entries


def test_the_rows_that_need_not_be_asked_again_are_told_by_their_request(run: Run) -> None:
    other = Request(("PatientID",), ("P2",))
    run.complete(PATIENT, FIRST)
    run.books.enter_find(other, RowResult(Outcome.FOUND, studies=2, attempts=1))
    run.books.commit()
    books = run.again().books
    assert set(carried_rows(books, [other, PATIENT, ACCESSION], retrieves=True)) == {1}
    assert carried_rows(books, [ACCESSION, other], retrieves=False) == {
        1: RowResult(Outcome.FOUND, studies=2, attempts=1)
    }


def test_a_row_is_verified_but_for_its_count_when_exactly_the_studies_of_one_lookup_are_there(run: Run) -> None:
    for study, verified in ((FIRST, False), (SECOND, True), (Study("1.2.3", "P1", "A3", 1), False)):
        run.books.study_complete(StudyResult(study, Outcome.RETRIEVED, 4, 4, 1), seconds=1.0, size=1000)
        run.books.enter_study(PATIENT, 2, study)
        run.books.commit()
        run = run.again()
        row = run.books.begun_row(PATIENT)
        assert row == (RowResult(Outcome.RETRIEVED, 2, 8, 8, 1) if verified else None)


def test_a_study_that_has_grown_is_verified_no_more_whatever_happens_then(run: Run) -> None:
    run.books.study_complete(StudyResult(FIRST, Outcome.RETRIEVED, 4, 4, 1), seconds=1.0, size=1000)
    run.books.enter_study(PATIENT, 1, FIRST)
    run.books.take_back(replace(FIRST, announced_instances=6))
    killed = Checkpoint(run.base)
    assert (list(killed.entries), Books(killed).begun_row(PATIENT)) == ([], None)
    run.books.commit()
    after = run.again()
    after.checkpoint.record(["P1,1.2.1"], [])
    assert after.books.verified(FIRST) is None, "its record says that the PACS has more"


def test_where_the_pickle_is_lost_a_study_that_has_grown_gets_no_entry_again(run: Run) -> None:
    run.complete(PATIENT, FIRST, SECOND)
    run.books.take_back(replace(FIRST, announced_instances=6))
    run.checkpoint.close()
    pickle_of(run.base).unlink()
    checkpoint = Checkpoint(run.base, rebuilds=True)
    Books(checkpoint).restore()
    assert list(checkpoint.entries) == ["P1,1.2.2"], "anybody who reads the pickle takes an entry for complete"


def test_each_line_of_the_journal_is_json_that_a_person_can_read(run: Run) -> None:
    run.complete(PATIENT, FIRST)
    [line] = journal_of(run.base).read_text().splitlines()
    assert json.loads(line)["entries"] == ["P1,1.2.1", "P1"]


def test_a_carriage_return_in_an_answer_leaves_the_ledger_readable(tmp_path: Path) -> None:
    record = Record("r", 1, "A\rB", "1.2", "", 1, 1, 1, 0.1, 1, "2020")
    path = tmp_path / "ledger.csv"
    path.write_text(header_line() + record_lines([record]), newline="")
    assert read_ledger(path) == [record]


def test_among_many_records_those_with_a_carriage_return_alone_are_quoted(tmp_path: Path) -> None:
    records = [record(number, request=f"A{number % 3}B\r" if number == 7 else "r") for number in range(20)]
    path = tmp_path / "ledger.csv"
    path.write_text(header_line() + record_lines(records), newline="")
    assert read_ledger(path) == records
    assert path.read_bytes().count(b'"') == 2 * len(records[0])


def test_the_length_of_an_output_survives_an_orderly_end(tmp_path: Path) -> None:
    base = output = tmp_path / "cfind-output.csv"
    checkpoint = Checkpoint(base, output=output)
    output.write_text("PatientID\nP1\n")
    checkpoint.begin()
    checkpoint.record(["PatientID=P1"], [])
    checkpoint.close()
    assert Checkpoint(base, output=output).recorded_output_size == 13
