"""Shards: each row is in exactly one, by its patient alone; which shard a run is; what it looks into."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from niffler.part import rows_of_shard
from niffler.shards import Shard, of_shard, other_splits, read_shard, shard_of_engine, shards_with
from niffler.worklist import Column, Worklist, read_worklist

PATIENT = Column("PatientID", 1)
ACCESSION = Column("AccessionNumber", 0)
CELL = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), max_size=4)
ROWS = st.lists(st.tuples(CELL, CELL), min_size=1, max_size=30)


def read(path: Path, rows: list[tuple[str, str]], *columns: Column) -> Worklist:
    lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    path.write_text("\n".join(["Accession,EMPI", '"A","P"', *lines]) + "\n", encoding="utf-8")
    return read_worklist(path, columns, date_format="%Y%m%d", long_accession=False, allow_wildcards=False)


def lines_by_shard(worklist: Worklist, count: int, *columns: Column) -> list[list[int]]:
    return [list(rows_of_shard(worklist, columns, Shard(number, count)).lines) for number in range(1, count + 1)]


# The rows


@hypothesis_settings(deadline=None)
@given(rows=ROWS, count=st.integers(1, 9))
def test_every_row_is_in_exactly_one_shard_with_its_request_and_its_fault(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], count: int
) -> None:
    columns = (ACCESSION, PATIENT)
    whole = read(tmp_path_factory.mktemp("list") / "list.csv", rows, *columns)
    asked = {
        line: whole.requests[request] if request >= 0 else whole.faults[row]
        for row, (line, request) in enumerate(zip(whole.lines, whole.request_of_row, strict=True))
    }
    seen: list[int] = []
    for number in range(1, count + 1):
        part = rows_of_shard(whole, columns, Shard(number, count))
        assert list(part.lines) == sorted(part.lines), "in the order of the list"
        for row, (line, request) in enumerate(zip(part.lines, part.request_of_row, strict=True)):
            assert (part.requests[request] if request >= 0 else part.faults[row]) == asked[line]
            assert part.table.iloc[row].tolist() == whole.table.iloc[list(whole.lines).index(line)].tolist()
        assert set(part.request_of_row) - {-1} == set(range(len(part.requests))), "and no request of other rows"
        seen += part.lines
    assert sorted(seen) == list(whole.lines)


@hypothesis_settings(deadline=None)
@given(rows=ROWS, count=st.integers(1, 9))
def test_a_patient_stays_together_whatever_else_is_asked(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], count: int
) -> None:
    columns = (ACCESSION, PATIENT)
    whole = read(tmp_path_factory.mktemp("list") / "list.csv", rows, *columns)
    patient = {line: str(cell).strip() for line, cell in zip(whole.lines, whole.table.iloc[:, 1], strict=True)}
    shards = [{patient[line] for line in lines} for lines in lines_by_shard(whole, count, *columns)]
    assert sum(map(len, shards)) == len(set(patient.values()))


@hypothesis_settings(deadline=None)
@given(rows=ROWS, more=ROWS, count=st.integers(1, 9))
def test_rows_that_are_appended_move_nobody(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], more: list[tuple[str, str]], count: int
) -> None:
    folder = tmp_path_factory.mktemp("list")
    before = lines_by_shard(read(folder / "list.csv", rows, PATIENT), count, PATIENT)
    whole = read(folder / "longer.csv", rows + more, PATIENT)
    after = lines_by_shard(whole, count, PATIENT)
    assert [lines[: len(first)] for lines, first in zip(after, before, strict=True)] == before


def test_without_a_patient_the_first_attribute_decides_and_equal_requests_stay_together(tmp_path: Path) -> None:
    rows = [(f"ACC{number:09}2020", "") for number in range(40)] * 2
    whole = read(tmp_path / "list.csv", [*rows, *((f" {one} ", two) for one, two in rows)], ACCESSION)
    shards = [rows_of_shard(whole, [ACCESSION], Shard(number, 3)).requests for number in (1, 2, 3)]
    assert sum(map(len, shards)) == len(whole.requests)
    assert all(shards)


def test_where_a_patient_belongs_is_the_same_on_every_machine_and_for_ever() -> None:
    where = {key: [number for number in range(1, 9) if Shard(number, 8).takes(key)] for key in ("", "0001", "Mü")}
    assert where == {"": [5], "0001": [4], "Mü": [3]}


# Which shard


@pytest.mark.parametrize("text", ["", "3", "0/8", "9/8", "3/0", "3-8", "3/8/1", "-1/8", "1.5/8", "a/b"])
def test_what_is_no_shard_is_refused_with_what_it_should_look_like(text: str) -> None:
    with pytest.raises(ValueError, match="such as 3/8"):
        read_shard(text)


def slurm(task: int, first: int, last: int, count: int, step: int = 1) -> dict[str, str]:
    told = {"ID": task, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in told.items()}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, None),
        ({"NIFFLER_SHARDS": "8"}, None),
        (slurm(3, 1, 8, 8), Shard(3, 8)),
        (slurm(0, 0, 7, 8), Shard(1, 8)),
        (slurm(15, 1, 15, 8, 2), Shard(8, 8)),
        (slurm(1, 1, 1, 1), Shard(1, 1)),
        ({"JOB_COMPLETION_INDEX": "0", "NIFFLER_SHARDS": "3"}, Shard(1, 3)),
        ({"JOB_COMPLETION_INDEX": "2", "NIFFLER_SHARDS": "3"}, Shard(3, 3)),
    ],
)
def test_the_engine_says_which_shard_a_run_is(environment: dict[str, str], shard: Shard | None) -> None:
    assert shard_of_engine(environment) == shard


@pytest.mark.parametrize(
    "environment",
    [
        slurm(3, 3, 3, 1), slurm(2, 1, 5, 3), {"SLURM_ARRAY_TASK_ID": "3"}, {"JOB_COMPLETION_INDEX": "1"},
        {"JOB_COMPLETION_INDEX": "3", "NIFFLER_SHARDS": "3"}, {"JOB_COMPLETION_INDEX": "3", "NIFFLER_SHARDS": "x"},
    ],
)  # fmt: skip
def test_an_engine_that_does_not_say_how_many_there_are_is_not_guessed_at(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="--Shard 1/1 for the whole list"):
        shard_of_engine(environment)


# Files


def test_the_files_of_a_shard_are_named_after_it_and_found_by_their_name(tmp_path: Path) -> None:
    whole = tmp_path / "my.list_mod.csv"
    assert of_shard(whole, None) == whole
    assert of_shard(whole, Shard(3, 8)) == tmp_path / "my.list_mod.shard-3-of-8.csv"
    for name in ("my.list_mod", "my-list_mod", "other_mod"):
        for shard in (Shard(1, 2), Shard(10, 12)):
            of_shard(tmp_path / f"{name}.csv.outcomes.csv", None).touch()
            (tmp_path / f"{of_shard(tmp_path / f'{name}.csv', shard).name}.pickle").touch()
    assert shards_with(whole, ".pickle") == [Shard(1, 2), Shard(10, 12)]
    assert shards_with(whole, ".outcomes.csv") == []


def test_a_run_looks_into_every_split_but_its_own(tmp_path: Path) -> None:
    whole = tmp_path / "list_mod.csv"
    made = [None, Shard(1, 2), Shard(2, 2), Shard(1, 3)]
    for shard in made:
        base = of_shard(whole, shard)
        base.with_name(f"{base.name}.pickle").write_bytes(pickle.dumps([]))
    assert list(other_splits(whole, Shard(2, 3))) == [of_shard(whole, shard) for shard in made[:3]]
    assert list(other_splits(whole, Shard(1, 2))) == [whole, of_shard(whole, Shard(1, 3))]
    assert list(other_splits(whole, None)) == [
        of_shard(whole, shard) for shard in (Shard(1, 2), Shard(1, 3), Shard(2, 2))
    ]
    whole.with_name("list_mod.csv.pickle").unlink()
    assert list(other_splits(whole, Shard(1, 2))) == [of_shard(whole, Shard(1, 3))]
