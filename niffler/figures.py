"""The outcome files and ledgers of one list, or of its parts → the numbers that a report shows."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from niffler.errors import WrongInputError
from niffler.reasons import Reason, reason_of
from niffler.vocabulary import Outcome
from niffler.worklist import OUTCOME_COLUMNS

EXAMPLES = 8
"""So many rows of a reason are named."""


@dataclass(frozen=True)
class Source:
    """Where the numbers of a list, or of a part of it, stand.

    ``lines`` are those of the CSV ``name`` on which the rows begin, empty where they are not known. Values of the
    columns ``identifying`` are read, and with them the details; by default there are none.
    """

    name: str
    outcomes: Path
    ledger: Path | None
    lines: Sequence[int] = ()
    identifying: Sequence[int] = ()


@dataclass(frozen=True)
class Example:
    """One row: where it is, and, only if that was asked for, whom it is about and what happened in full."""

    place: str
    values: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Problem:
    """The rows that ended in the same way for the same reason."""

    outcome: Outcome
    reason: Reason
    rows: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class Studies:
    """The verified studies, each once, in the order in which they were finished; an array for each of their values."""

    finished: "npt.NDArray[np.datetime64]"
    seconds: "npt.NDArray[np.float64]"
    instances: "npt.NDArray[np.int64]"
    sizes: "npt.NDArray[np.int64]"

    def __len__(self) -> int:
        return len(self.finished)


@dataclass(frozen=True)
class Figures:
    """What a report shows in numbers."""

    counts: dict[Outcome, int]
    """Rows by outcome, in the order of the vocabulary; outcomes without rows are left out."""
    problems: tuple[Problem, ...]
    """The most frequent first."""
    studies: Studies = field(compare=False)

    @property
    def rows(self) -> int:
        """How many rows the list has."""
        return sum(self.counts.values())

    @property
    def instances(self) -> int:
        """The images of the verified studies."""
        return int(self.studies.instances.sum())

    @property
    def size(self) -> int:
        """Their bytes."""
        return int(self.studies.sizes.sum())


def read_figures(sources: Sequence[Source], ledgers: Sequence[Path] = ()) -> Figures:
    """Read the numbers from files alone; raises WrongInputError where a file is missing or something else.

    ``ledgers`` are others that have studies of these sources, too.
    """
    counts: Counter[Outcome] = Counter()
    rows: Counter[tuple[Outcome, Reason]] = Counter()
    examples: dict[tuple[Outcome, Reason], list[Example]] = {}
    for source in sources:
        table, named = _outcome_table(source)
        for word, number in table["Outcome"].value_counts().items():
            counts[_outcome(source, str(word))] += number
        unanswered = table[~table["Outcome"].isin([Outcome.RETRIEVED, Outcome.FOUND, Outcome.PENDING])]
        for row, word, detail in unanswered.itertuples():
            outcome = Outcome(word)
            reason = reason_of(outcome, detail)
            if reason is not None:
                rows[outcome, reason] += 1
                if len(of_kind := examples.setdefault((outcome, reason), [])) < EXAMPLES:
                    of_kind.append(_example(source, row, named, detail, has_neighbours=len(sources) > 1))
    problems = tuple(Problem(*kind, number, tuple(examples[kind])) for kind, number in rows.most_common())
    in_order = {outcome: counts[outcome] for outcome in Outcome if counts[outcome]}
    return Figures(in_order, problems, _studies([*ledgers, *(source.ledger for source in sources if source.ledger)]))


def _outcome(source: Source, word: str) -> Outcome:
    try:
        return Outcome(word)
    except ValueError:
        raise WrongInputError(
            f"{source.outcomes}: its column Outcome holds another word than outcomes; is it the right file?"
        ) from None


def _example(source: Source, row: int, named: pd.DataFrame, detail: str, *, has_neighbours: bool) -> Example:
    place = f"line {source.lines[row]}" if source.lines else f"row {row + 1}"
    place = f"{source.name}, {place}" if has_neighbours else place
    if not source.identifying:
        return Example(place)
    return Example(place, ", ".join(str(named.iat[row, column]) for column in range(named.shape[1])), detail)


def _outcome_table(source: Source) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The outcome columns of every row, and the columns that identify it."""
    try:
        with source.outcomes.open(encoding="utf-8", newline="") as stream:
            header = next(csv.reader(stream), [])
        own = len(header) - len(OUTCOME_COLUMNS)
        if own < 1 or tuple(header[own:]) != OUTCOME_COLUMNS:
            raise WrongInputError(
                f"{source.outcomes}: is no outcomes file; its last column has to be Detail; the next run writes it anew"
            )
        identifying = sorted(column for column in set(source.identifying) if column < own)
        columns = [*identifying, own, own + OUTCOME_COLUMNS.index("Detail")]
        table = pd.read_csv(source.outcomes, usecols=columns, dtype=str, na_filter=False, skip_blank_lines=False)
    except FileNotFoundError:
        raise WrongInputError(
            f"{source.outcomes}: there is no such file; an extraction of the list writes it"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error, pd.errors.ParserError) as error:
        raise WrongInputError(f"{source.outcomes}: cannot be read: {error}; the next run writes it anew") from None
    table.columns = pd.Index([*(f"key {column}" for column in identifying), "Outcome", "Detail"])
    if source.lines and len(source.lines) != len(table):
        raise WrongInputError(
            f"{source.outcomes}: has {len(table)} rows, but {source.name} has {len(source.lines)}; "
            "the next run of the list writes it anew"
        )
    return table[["Outcome", "Detail"]], table[[name for name in table.columns if name.startswith("key ")]]


def _studies(ledgers: Sequence[Path]) -> Studies:
    """The studies of all ledgers, by what was entered last for each."""
    columns = ["StudyInstanceUID", "Received", "Seconds", "Bytes", "Finished"]
    tables = [table for ledger in ledgers if (table := _ledger_table(ledger, columns)) is not None]
    table = pd.concat(tables) if tables else pd.DataFrame({name: pd.Series(dtype=str) for name in columns})
    table = table[table["StudyInstanceUID"] != ""].drop_duplicates("StudyInstanceUID", keep="last")
    try:
        finished = table["Finished"].to_numpy(dtype="datetime64[s]")
        order = np.argsort(finished, kind="stable")
        return Studies(
            finished[order],
            table["Seconds"].to_numpy(dtype=np.float64)[order],
            table["Received"].to_numpy(dtype=np.int64)[order],
            table["Bytes"].to_numpy(dtype=np.int64)[order],
        )
    except ValueError as error:
        names = ", ".join(map(str, ledgers))
        raise WrongInputError(
            f"{names}: a line is no record of a study ({error}); --Verify true looks into it"
        ) from None


def _ledger_table(ledger: Path, columns: Sequence[str]) -> pd.DataFrame | None:
    try:
        content = ledger.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a run may be at its last line
        return pd.read_csv(io.BytesIO(whole), usecols=list(columns), dtype=str, na_filter=False) if whole else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise WrongInputError(f"{ledger}: cannot be read: {error}; --Verify true looks into it") from None
