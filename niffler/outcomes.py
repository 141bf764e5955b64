"""Row → outcome: the outcomes file, the rows that need somebody to look, the summary, the exit code."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from niffler.files import write_csv
from niffler.status import without_comments
from niffler.vocabulary import ANSWERED, Outcome, RowResult, StudyResult
from niffler.worklist import OUTCOME_COLUMNS, Worklist

_ROUND = 50
_ALIKE = 3


def outcomes_csv(modified_csv: Path) -> Path:
    """The file with every row and what became of it."""
    return modified_csv.with_name(f"{modified_csv.name}.outcomes.csv")


def unfinished_csv(modified_csv: Path) -> Path:
    """The file with the rows that have no good answer; it can be given as CsvFile."""
    return modified_csv.with_name(f"{modified_csv.name}.unfinished.csv")


def row_results(worklist: Worklist, results: Sequence[RowResult]) -> Iterator[RowResult]:
    """The result of each row of the input, from those of the requests."""
    for row, request in enumerate(worklist.request_of_row):
        yield results[request] if request >= 0 else RowResult(Outcome.INVALID, detail=worklist.faults[row])


def write_outcomes(modified_csv: Path, worklist: Worklist, results: Sequence[RowResult]) -> None:
    """Write both files: the columns of the input as they were, then what became of the row."""
    header = [*map(str, worklist.table.columns), *OUTCOME_COLUMNS]

    def rows(only_unfinished: bool) -> Iterator[Sequence[object]]:
        yield header
        columns = [worklist.table.iloc[:, index].tolist() for index in range(worklist.table.shape[1])]
        for cells, result in zip(zip(*columns, strict=True), row_results(worklist, results), strict=True):
            if only_unfinished and result.outcome in (Outcome.RETRIEVED, Outcome.FOUND):
                continue
            yield (*cells, result.outcome.value, result.studies, result.expected, result.received, result.attempts,
                   result.detail)  # fmt: skip

    write_csv(outcomes_csv(modified_csv), rows(only_unfinished=False))
    write_csv(unfinished_csv(modified_csv), rows(only_unfinished=True))


def count(worklist: Worklist, results: Sequence[RowResult]) -> dict[Outcome, int]:
    """How many rows have which outcome, in the order of the vocabulary; outcomes without rows are left out."""
    counted = Counter(result.outcome for result in row_results(worklist, results))
    return {outcome: counted[outcome] for outcome in Outcome if counted[outcome]}


def round_numbers(results: Sequence[RowResult]) -> dict[int, int]:
    """Numbers of studies that may be where a PACS cuts its answers off → how many requests have exactly so many.

    Such limits are round, and one request may have so many studies by chance, but hardly three.
    """
    counted = Counter(result.studies for result in results if result.studies and result.studies % _ROUND == 0)
    return {studies: requests for studies, requests in sorted(counted.items()) if requests >= _ALIKE}


def exit_code(counts: dict[Outcome, int]) -> int:
    """0 where every row has its answer, else 1."""
    return 0 if set(counts) <= ANSWERED else 1


def row_line(line: int, result: RowResult) -> str:
    """The line of the log for a finished row; patients' values stay in the outcomes file."""
    parts = [f"line {line}: {result.outcome.value}"]
    if result.studies:
        parts.append(f"{result.studies} studies" if result.studies > 1 else "1 study")
    if result.expected:
        parts.append(f"{result.received} of {result.expected} images")
    if result.outcome in (Outcome.FAILED, Outcome.PARTIAL):
        parts.append("; ".join(without_comments(result.detail).split("; ")[:2]))  # of many studies the first
    return ", ".join(parts)


def begun(studies: Sequence[StudyResult]) -> RowResult:
    """The result of a row some of whose studies are decided when the run ends."""
    complete = sum(study.outcome is Outcome.RETRIEVED for study in studies)
    received = sum(study.received for study in studies)
    return RowResult(Outcome.PENDING, received=received, detail=f"begun: {complete} studies are retrieved so far")


def in_one_line(counts: dict[Outcome, int]) -> str:
    """The counts as the summary says them."""
    return f"{sum(counts.values())} rows: {in_words(counts)}"


def in_words(counts: Mapping[Outcome, int]) -> str:
    """How many rows have which outcome."""
    return ", ".join(f"{outcome.value} {rows}" for outcome, rows in counts.items())


def read_counts(modified_csv: Path) -> dict[Outcome, int]:
    """How many rows have which outcome according to the outcomes file; none where there is no such file."""
    try:
        with outcomes_csv(modified_csv).open(encoding="utf-8", newline="") as stream:
            rows = csv.reader(stream)
            place = next(rows).index(OUTCOME_COLUMNS[0], -len(OUTCOME_COLUMNS))
            counted = Counter(row[place] for row in rows)
    except (OSError, ValueError, LookupError, StopIteration, csv.Error):
        return {}
    return {outcome: counted[outcome] for outcome in Outcome if counted[outcome]}
