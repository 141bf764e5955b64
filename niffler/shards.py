"""Shards, the parts of a list that several runs take: which one a run is, and what its files are called."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PLACEHOLDER = "{shard}"
"""Stands for the number of the shard in some of the settings."""


@dataclass(frozen=True, order=True)
class Shard:
    """One of ``count`` parts of a list; numbers begin at 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def takes(self, key: str) -> bool:
        """Whether the rows with this key are of this shard: by the first 8 bytes of its SHA-256, modulo the count.

        That depends on nothing but the key, so that rows which are added to a list move no other one.
        """
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % self.count == self.number - 1


def read_shard(text: str) -> Shard:
    """Read NUMBER/COUNT; raises ValueError with what it should look like."""
    parts = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text, re.ASCII)
    if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
        raise ValueError("write it as NUMBER/COUNT, such as 3/8 for the third of eight")
    return Shard(int(parts[1]), int(parts[2]))


def shard_of_engine(environment: Mapping[str, str]) -> Shard | None:
    """The shard that an array job of Slurm or an Indexed Job of Kubernetes stands for; None outside of them.

    Raises ValueError where the engine has started several runs, but does not say how many.
    """
    if "SLURM_ARRAY_TASK_ID" in environment:
        names = ("ID", "MIN", "MAX", "COUNT", "STEP")
        told = [environment.get(f"SLURM_ARRAY_TASK_{name}", "1" if name == "STEP" else "") for name in names]
        if all(re.fullmatch(r"\d{1,9}", value) for value in told):
            task, first, last, count, step = map(int, told)
            is_one_of_many = count == 1 and first > 1  # --array=3 is the third of nobody knows how many
            if step and (last - first) // step + 1 == count and first <= task <= last and not is_one_of_many:
                return Shard((task - first) // step + 1, count)
        raise ValueError(
            "the tasks of this array do not tell the number of shards; number them without gaps (--array=1-8), or say "
            "--Shard 3/8 (--Shard 1/1 for the whole list)"
        )
    if "JOB_COMPLETION_INDEX" in environment:
        index, count_told = environment["JOB_COMPLETION_INDEX"], environment.get("NIFFLER_SHARDS", "")
        if re.fullmatch(r"\d{1,6}", index) and re.fullmatch(r"\d{1,6}", count_told) and int(index) < int(count_told):
            return Shard(int(index) + 1, int(count_told))
        raise ValueError(
            f"JOB_COMPLETION_INDEX is {index}, so NIFFLER_SHARDS has to be the completions of the job, but is "
            f"'{count_told}'; set it, or say --Shard 1/1 for the whole list"
        )
    return None


def titled(name: str, shard: Shard | None) -> str:
    """What a list, or a shard of it, is called in messages."""
    return f"{name}, shard {shard}" if shard else name


def of_shard(path: Path, shard: Shard | None) -> Path:
    """What a file that belongs to a whole list is called for a shard of it."""
    return path.with_stem(f"{path.stem}.shard-{shard.number}-of-{shard.count}") if shard else path


def modified_csv(csv_file: Path, shard: Shard | None = None) -> Path:
    """Where the modified CSV of a list, or of a shard of it, belongs; all state of the extraction is named after it."""
    return of_shard(csv_file.with_name(f"{csv_file.stem}_mod.csv"), shard)


def shards_with(path: Path, ending: str) -> list[Shard]:
    """The shards of a list, by a file of its state: those for which one with this ending stands beside it."""
    name = rf"{re.escape(path.stem)}\.shard-([1-9]\d*)-of-([1-9]\d*){re.escape(path.suffix + ending)}"
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    found = (re.fullmatch(name, one.name, re.ASCII) for one in beside)
    return sorted(Shard(int(parts[1]), int(parts[2])) for parts in found if parts)


def other_splits(path: Path, shard: Shard | None) -> Iterator[Path]:
    """What the file is called for the whole list and for the shards of every split but this one, if it has a pickle."""
    count = shard.count if shard else 1
    others = [None, *shards_with(path, ".pickle")]
    for other in others:
        named = of_shard(path, other)
        if (other.count if other else 1) != count and named.with_name(f"{named.name}.pickle").exists():
            yield named
