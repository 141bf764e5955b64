"""A list of which shards were run: which split is the newest, and what has become of each of its shards."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from niffler.errors import WrongInputError
from niffler.run_state import SILENT_SECONDS, Activity, Life, RunState, age_of, life_of, read_state, state_json
from niffler.shards import Shard, of_shard, shards_with


class Standing(StrEnum):
    """What has become of a shard."""

    RUNS = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"
    STALE = "stale"
    MISSING = "missing"

    @property
    def is_to_be_started(self) -> bool:
        """Whether somebody, or the engine, has to start the shard for the list to become complete."""
        return self not in (Standing.RUNS, Standing.COMPLETE)


@dataclass(frozen=True)
class Part:
    """A shard; ``modified`` is what its files are named after. ``state`` is None where nothing can be read of it."""

    shard: Shard
    modified: Path
    standing: Standing
    state: RunState | None = None
    life: Life | None = None
    problem: str = ""


def newest_split(modified: Path) -> int:
    """Into how many shards a list was split when it was last run; 1 where it was run as a whole, or not at all.

    A run writes the modified CSV of its list, or of its shard, when it begins.
    """
    runs = [(_written_at(modified), 1)]
    runs += [(_written_at(of_shard(modified, shard)), shard.count) for shard in shards_with(modified, "")]
    return max(runs)[1]


def parts_of(modified: Path, count: int) -> Sequence[Part]:
    """Every shard of a split, whether it was run or not."""
    return [_part(of_shard(modified, shard), shard) for shard in (Shard(number + 1, count) for number in range(count))]


def in_words(parts: Sequence[Part]) -> str:
    """How many shards stand how."""
    counts = Counter(part.standing for part in parts)
    return ", ".join(f"{counts[standing]} {standing.value}" for standing in Standing if counts[standing])


def _part(modified: Path, shard: Shard) -> Part:
    try:
        state = read_state(state_json(modified))
    except WrongInputError as fault:
        return Part(shard, modified, Standing.STALE, problem=str(fault))
    if state is None:
        return Part(shard, modified, Standing.MISSING)
    life = life_of(state)
    return Part(shard, modified, _standing(state, life), state, life)


def _standing(state: RunState, life: Life) -> Standing:
    if life is Life.ENDED:
        ends = {Activity.COMPLETE: Standing.COMPLETE, Activity.STOPPED: Standing.STOPPED}
        return ends.get(state.activity, Standing.FAILED)
    return Standing.STALE if life is Life.GONE or age_of(state) > SILENT_SECONDS else Standing.RUNS


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return float("-inf")
