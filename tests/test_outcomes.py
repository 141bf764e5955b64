"""What became of each row: the outcome files, the summary, the exit code; and files that are never half written."""

import csv
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from niffler.files import csv_chunks, write_atomically, write_csv
from niffler.outcomes import (
    begun,
    count,
    exit_code,
    in_one_line,
    outcomes_csv,
    round_numbers,
    row_line,
    row_results,
    unfinished_csv,
    write_outcomes,
)
from niffler.vocabulary import ANSWERED, Outcome, RowResult, Study, StudyResult
from niffler.worklist import Column, Worklist, read_worklist

LIST = 'EMPI,Note,\n 0012 ,"a, ""b""",\nP*,"two\nlines",\n0013,,\n0012,c,\n0014,d,\n'
"""Three requests: rows 0 and 3, row 2, row 4; row 1 is invalid."""

RETRIEVED = RowResult(Outcome.RETRIEVED, studies=2, expected=10, received=10, attempts=1)
PARTIAL = RowResult(Outcome.PARTIAL, studies=1, expected=4, received=3, attempts=3, detail="3 of 4, status B000H")
NOT_FOUND = RowResult(Outcome.NOT_FOUND, attempts=1)


@pytest.fixture
def worklist(tmp_path: Path) -> Worklist:
    path = tmp_path / "list.csv"
    path.write_text(LIST)
    return read_worklist(
        path, [Column("PatientID", 0)], date_format="%Y%m%d", long_accession=False, allow_wildcards=False
    )


@pytest.fixture
def modified(tmp_path: Path) -> Path:
    return tmp_path / "list_mod.csv"


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


# The outcome files


def test_the_outcome_files_stand_beside_the_modified_csv() -> None:
    assert outcomes_csv(Path("/data/list_mod.csv")) == Path("/data/list_mod.csv.outcomes.csv")
    assert unfinished_csv(Path("/data/list_mod.csv")) == Path("/data/list_mod.csv.unfinished.csv")


def test_every_row_stands_in_the_outcomes_with_its_own_columns_first_and_unchanged(
    worklist: Worklist, modified: Path
) -> None:
    write_outcomes(modified, worklist, [RETRIEVED, PARTIAL, NOT_FOUND])
    header, *rows = rows_of(outcomes_csv(modified))
    assert header == ["EMPI", "Note", "Outcome", "Studies", "Expected", "Received", "Attempts", "Detail"]
    assert [row[:2] for row in rows] == [
        [" 0012 ", 'a, "b"'], ["P*", "two\nlines"], ["0013", ""], ["0012", "c"], ["0014", "d"],
    ]  # fmt: skip
    assert [row[2:7] for row in rows] == [
        ["retrieved", "2", "10", "10", "1"],
        ["invalid", "0", "0", "0", "0"],
        ["partial", "1", "4", "3", "3"],
        ["retrieved", "2", "10", "10", "1"],
        ["not-found", "0", "0", "0", "1"],
    ]
    assert rows[1][7] == worklist.faults[1]
    assert rows[1][7].startswith("line 3: PatientID 'P*' ")
    assert rows[2][7] == "3 of 4, status B000H"


@pytest.mark.parametrize("outcome", [*Outcome])
def test_the_unfinished_rows_are_those_neither_retrieved_nor_found(
    worklist: Worklist, modified: Path, outcome: Outcome
) -> None:
    write_outcomes(modified, worklist, [RowResult(outcome), RETRIEVED, RETRIEVED])
    rows = [row[0] for row in rows_of(unfinished_csv(modified))[1:]]
    assert rows == (["P*"] if outcome in (Outcome.RETRIEVED, Outcome.FOUND) else [" 0012 ", "P*", "0012"])


def test_unfinished_rows_are_written_as_in_the_outcomes(worklist: Worklist, modified: Path) -> None:
    write_outcomes(modified, worklist, [RETRIEVED, PARTIAL, NOT_FOUND])
    outcomes = rows_of(outcomes_csv(modified))
    assert rows_of(unfinished_csv(modified)) == [outcomes[number] for number in (0, 2, 3, 5)]


def test_where_everything_is_done_the_unfinished_rows_are_a_header(modified: Path, tmp_path: Path) -> None:
    path = tmp_path / "good.csv"
    path.write_text("EMPI\n1\n")
    good = read_worklist(
        path, [Column("PatientID", 0)], date_format="%Y%m%d", long_accession=False, allow_wildcards=False
    )
    write_outcomes(modified, good, [RETRIEVED])
    assert len(rows_of(unfinished_csv(modified))) == 1


def test_outcomes_of_an_earlier_run_are_replaced(worklist: Worklist, modified: Path) -> None:
    write_outcomes(modified, worklist, [PARTIAL, PARTIAL, PARTIAL])
    write_outcomes(modified, worklist, [RETRIEVED, RETRIEVED, RETRIEVED])
    assert [row[2] for row in rows_of(outcomes_csv(modified))[1:]].count("retrieved") == 4
    assert len(rows_of(unfinished_csv(modified))) == 2


def test_the_words_of_the_outcomes_are_these() -> None:
    assert [outcome.value for outcome in Outcome] == [
        "retrieved", "found", "not-found", "partial", "failed", "refused", "invalid", "pending",
    ]  # fmt: skip


# Counting


def test_rows_are_counted_and_not_requests(worklist: Worklist) -> None:
    counts = count(worklist, [RETRIEVED, PARTIAL, NOT_FOUND])
    assert counts == {Outcome.RETRIEVED: 2, Outcome.NOT_FOUND: 1, Outcome.PARTIAL: 1, Outcome.INVALID: 1}
    assert in_one_line(counts) == "5 rows: retrieved 2, not-found 1, partial 1, invalid 1"


def test_every_row_has_a_result_in_the_order_of_the_list(worklist: Worklist) -> None:
    results = list(row_results(worklist, [RETRIEVED, PARTIAL, NOT_FOUND]))
    assert [results[row] for row in (0, 2, 3, 4)] == [RETRIEVED, PARTIAL, RETRIEVED, NOT_FOUND]
    assert results[1] == RowResult(Outcome.INVALID, detail=worklist.faults[1])


@pytest.mark.parametrize("outcome", [Outcome.RETRIEVED, Outcome.FOUND, Outcome.NOT_FOUND])
def test_the_exit_code_is_0_where_every_row_has_its_answer(outcome: Outcome) -> None:
    assert exit_code({Outcome.RETRIEVED: 3, outcome: 1}) == 0
    assert exit_code({outcome: 1}) == 0


@pytest.mark.parametrize("outcome", [Outcome.PARTIAL, Outcome.FAILED, Outcome.REFUSED, Outcome.INVALID])
def test_the_exit_code_is_1_where_some_row_has_none(outcome: Outcome) -> None:
    assert exit_code({Outcome.RETRIEVED: 1000, outcome: 1}) == 1


@given(st.dictionaries(st.sampled_from(Outcome), st.integers(1, 10**6)))
def test_the_exit_code_depends_on_which_outcomes_there_are_alone(counts: dict[Outcome, int]) -> None:
    assert exit_code(counts) == int(any(outcome not in ANSWERED for outcome in counts))


def test_a_round_number_of_studies_is_told_from_the_third_request_on_that_has_it() -> None:
    results = [RowResult(Outcome.RETRIEVED, studies=studies) for studies in (0, 0, 0, 100, 100, 50, 50, 50, 7, 7, 7)]
    assert round_numbers(results) == {50: 3}
    assert round_numbers([*results, RowResult(Outcome.FOUND, studies=100)]) == {50: 3, 100: 3}


# The lines of the log


def test_a_finished_row_is_one_line_with_its_line_number_and_counts() -> None:
    assert row_line(7, RETRIEVED) == "line 7: retrieved, 2 studies, 10 of 10 images"
    assert row_line(8, RowResult(Outcome.FOUND, studies=1)) == "line 8: found, 1 study"
    assert row_line(9, NOT_FOUND) == "line 9: not-found"
    assert row_line(9, PARTIAL) == "line 9: partial, 1 study, 3 of 4 images, 3 of 4, status B000H"


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.INVALID, Outcome.NOT_FOUND])
def test_values_of_patients_stay_out_of_the_log(outcome: Outcome) -> None:
    result = RowResult(outcome, detail="PatientID was asked as '0012' and answered as '0013'")
    assert "001" not in row_line(4, result)


def test_a_row_that_was_begun_is_pending_and_says_how_far_it_came() -> None:
    studies = [
        StudyResult(Study("1.2.1", "P1"), Outcome.RETRIEVED, expected=4, received=4),
        StudyResult(Study("1.2.2", "P1"), Outcome.PARTIAL, expected=4, received=3),
    ]
    assert begun(studies) == RowResult(Outcome.PENDING, received=7, detail="begun: 1 studies are retrieved so far")


# Files that are never half written


def test_a_file_is_replaced_and_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with path.open() as reader:
        write_atomically(path, "after")
        assert reader.read() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_meets_the_whole_of_one_version(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = {bytes([number]) * 100_000 for number in range(20)}
    path.write_bytes(min(versions))
    met: set[bytes] = set()
    is_written = threading.Event()

    def read() -> None:
        met.add(path.read_bytes())
        while not is_written.is_set():
            met.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions:
        write_atomically(path, version)
    is_written.set()
    reader.join()
    assert met <= versions


def test_what_fails_midway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("before")

    def rows() -> Iterator[list[str]]:
        for _ in range(200_000):
            yield ["a row"]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_csv(path, rows())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_flushed_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    flushed: list[tuple[bool, bool]] = []
    flush = os.fsync

    def watch(descriptor: int) -> None:
        flushed.append((Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path, path.exists()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    writers: list[Callable[[], None]] = [
        lambda: write_atomically(path, "text"), lambda: write_csv(path, [["a", "b"]]),
    ]  # fmt: skip
    for write in writers:
        path.unlink(missing_ok=True)
        flushed.clear()
        write()
        assert flushed[0] == (False, False), "the temporary file first, while the name is not there"
        assert flushed[-1] == (True, True), "the folder last, when it is"


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_as_readable_as_the_umask_says(tmp_path: Path, mask: int, mode: int) -> None:
    with umask(mask):
        write_atomically(tmp_path / "file", "text")
        write_csv(tmp_path / "file.csv", [["text"]])
        assert umask_of_now() == mask
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def umask_of_now() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


# Valid CSV


_CELL = st.text(st.one_of(st.sampled_from(',"\n\r;\t '), st.characters(codec="utf-8")), max_size=12)


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(_CELL, min_size=width, max_size=width), max_size=5)))
@example([["a\rb", "c"]])
@example([["\r"]])
@example([[""], ["x"]])
def test_rows_of_any_values_come_back_as_they_were(rows: list[list[str]]) -> None:
    text = "".join(csv_chunks(rows))
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == rows


def test_many_rows_come_in_pieces_and_none_is_lost(tmp_path: Path) -> None:
    rows = [[f"{number:09d}", "x" * 50] for number in range(60_000)]
    assert len(list(csv_chunks(rows))) > 2
    write_csv(tmp_path / "many.csv", rows)
    assert rows_of(tmp_path / "many.csv") == rows


def test_lines_end_in_a_line_feed_and_numbers_are_plain(tmp_path: Path) -> None:
    write_csv(tmp_path / "file.csv", [["a", 1], ["b\rc", 2.5], ["Müller", 0]])
    assert (tmp_path / "file.csv").read_bytes() == 'a,1\n"b\rc","2.5"\nMüller,0\n'.encode()
