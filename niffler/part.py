"""The rows of a list that a run takes: all of them, or those of its shard."""

from array import array
from collections.abc import Iterator, Sequence

from niffler.settings import Settings
from niffler.shards import Shard
from niffler.worklist import Column, Worklist, columns_asked, read_list


def read_part(settings: Settings) -> Worklist:
    """Read the list of a run, or the part of it that is its shard."""
    worklist = read_list(settings, settings.csv_file)
    return rows_of_shard(worklist, columns_asked(settings), settings.shard) if settings.shard else worklist


def rows_of_shard(worklist: Worklist, columns: Sequence[Column], shard: Shard) -> Worklist:
    """The rows of a shard: by their PatientID as it is asked, or by the first attribute where that is none of them."""
    rows = [row for row, key in enumerate(_keys(worklist, columns)) if shard.takes(key)]
    requests = dict.fromkeys(worklist.request_of_row[row] for row in rows)
    requests.pop(-1, None)
    new_index = {request: index for index, request in enumerate(requests)} | {-1: -1}
    return Worklist(
        worklist.table.iloc[rows],
        array("q", (worklist.lines[row] for row in rows)),
        [worklist.requests[request] for request in requests],
        array("q", (new_index[worklist.request_of_row[row]] for row in rows)),
        {new: worklist.faults[row] for new, row in enumerate(rows) if row in worklist.faults},
        worklist.warnings,
    )


def _keys(worklist: Worklist, columns: Sequence[Column]) -> Iterator[str]:
    position = next((at for at, column in enumerate(columns) if column.keyword == "PatientID"), 0)
    cells = worklist.table.iloc[:, columns[position].index].tolist()
    for cell, request in zip(cells, worklist.request_of_row, strict=True):
        yield worklist.requests[request].values[position] if request >= 0 else cell.strip()
