"""Which shard a run is, and the settings of it, in which {shard} is its number."""

from collections.abc import Iterator, Mapping
from typing import Any

from niffler.command_line import COMMAND_LINE
from niffler.settings import ExtractionSettings, Mode
from niffler.shards import PLACEHOLDER, Shard, read_shard, shard_of_engine

ENVIRONMENT = "environment"
_OPTION = "Shard"
_BY_SHARD = ("QueryAet", "DestAet", "SrcAet", "NifflerID", "StorageFolder")
"""Keys in which {shard} stands for the number of the shard."""


def shard_named(options: dict[str, str], environment: Mapping[str, str], faults: list[str]) -> Shard | None:
    """The shard that the command line, which has the last word, or the engine names; taken out of the options."""
    text = options.pop(_OPTION, None)
    try:
        return shard_of_engine(environment) if text is None else read_shard(text)
    except ValueError as fault:
        faults.append(f"{ENVIRONMENT}: {fault}" if text is None else f"{COMMAND_LINE}: {_OPTION} '{text}': {fault}")
        return None


def part_of_list(shard: Shard | None) -> Shard | None:
    """None for the only shard as well: that is the list."""
    return shard if shard is not None and shard.count > 1 else None


def warnings_of_shard(shard: Shard | None, *, is_meant: bool) -> Iterator[str]:
    """An array job can have another purpose, such as a list for each of its tasks."""
    if shard is not None and not is_meant:
        yield (
            f"shard {shard} of the list is taken, and no other row, as this is an array job; {PLACEHOLDER} stands in "
            "no setting, so if the whole list is meant, say --Shard 1/1"
        )


def settings_of_shard(
    given: dict[str, Any], where: Mapping[str, str], shard: Shard | None, faults: list[str]
) -> dict[str, Any]:
    """The settings of a shard: {shard} is its number."""
    found = dict(given)
    for key in _BY_SHARD:
        value = given.get(key)
        if isinstance(value, str) and PLACEHOLDER in value:
            if shard is None:
                faults.append(
                    f"{where[key]}: {key} '{value}': {PLACEHOLDER} is the number of a shard; start it with one, such "
                    "as --Shard 1/8"
                )
            found[key] = value.replace(PLACEHOLDER, str(shard.number if shard else 1))
    return found


def faults_of_shared_storage(settings: ExtractionSettings) -> Iterator[tuple[str, object, str]]:
    """Why shards cannot have one StorageFolder, where two of them could write the same file: key, value, fault."""
    is_by_patient = "PatientID" in [attribute.keyword for attribute in settings.attributes]
    if settings.mode is Mode.RETRIEVE and (settings.allow_wildcards or not is_by_patient):
        yield (
            "StorageFolder",
            settings.storage_folder,
            "rows of different shards can name the same study, as there is no PatientID or AllowWildcards is true; "
            f"give each shard a folder of its own, such as {settings.storage_folder}/{PLACEHOLDER}",
        )
