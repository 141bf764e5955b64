"""What the last run wrote about each request: the outcomes file, read again."""

import csv
from collections.abc import Callable
from pathlib import Path

from niffler.errors import WrongInputError
from niffler.vocabulary import Outcome, Request, RowResult
from niffler.worklist import OUTCOME_COLUMNS, Worklist


def read_outcomes(path: Path, read: Callable[[Path], Worklist]) -> dict[Request, RowResult]:
    """The result of every request in an outcomes file, none where there is no file; raises WrongInputError.

    The file is a list too, which ``read`` reads.
    """
    if not path.exists():
        return {}
    worklist = read(path)
    with path.open(encoding="utf-8", newline="") as stream:
        told = [cells[-len(OUTCOME_COLUMNS) :] for cells in csv.reader(stream)][1:]
    results: dict[Request, RowResult] = {}
    try:
        for index, (outcome, studies, expected, received, attempts, detail) in zip(
            worklist.request_of_row, told, strict=True
        ):
            if index >= 0:
                results[worklist.requests[index]] = RowResult(
                    Outcome(outcome), int(studies), int(expected), int(received), int(attempts), detail
                )
    except ValueError:
        raise WrongInputError(
            f"{path}: is not an outcomes file as Niffler writes it; move it away, the next run writes it anew"
        ) from None
    return results
