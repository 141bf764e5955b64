"""What the last run wrote about each request, the outcomes file, and what still holds of it."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

from niffler.errors import WrongInputError
from niffler.known import Known, carried_rows
from niffler.vocabulary import PENDING, Outcome, Request, RowResult
from niffler.worklist import OUTCOME_COLUMNS, Worklist

_NOT_COMPLETE = RowResult(
    Outcome.PENDING, detail="retrieved before, and not complete in the checkpoint; start the same extraction again"
)


def read_outcomes(path: Path, read: Callable[[Path], Worklist]) -> dict[Request, RowResult]:
    """The result of every request in an outcomes file, none where there is no file; raises WrongInputError.

    The file is a list too, which ``read`` reads.
    """
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        told = [cells[-len(OUTCOME_COLUMNS) :] for cells in csv.reader(stream)][1:]
    if not told:
        return {}  # a shard may have no rows, and a list without any would be a fault
    worklist = read(path)
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


def results_now(known: Known, worklist: Worklist, former: Mapping[Request, RowResult]) -> list[RowResult]:
    """What is true of each request of a retrieval: as the checkpoint has it, else as it was, where that holds."""
    carried = carried_rows(known, worklist.requests, retrieves=True)
    results = []
    for index, request in enumerate(worklist.requests):
        verified = carried.get(index) or known.begun_row(request)
        result = verified or former.get(request, PENDING)
        if verified is None and result.outcome in (Outcome.RETRIEVED, Outcome.FOUND):
            result = _NOT_COMPLETE
        results.append(result)
    return results
