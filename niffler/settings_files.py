"""The two JSON files and the command line → one validated Settings, or all of their faults at once."""

import contextlib
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from niffler.command_line import COMMAND_LINE, read_command_line
from niffler.errors import WrongInputError
from niffler.settings import (
    READS_STATE_ONLY,
    WATCH,
    ExtractionSettings,
    LookOptions,
    Settings,
    SystemSettings,
)
from niffler.settings_faults import OF_ATTRIBUTE, STYLESHEET, faults_of, placeholder_of, suggestion, warnings_of
from niffler.settings_shard import (
    faults_of_shared_storage,
    part_of_list,
    settings_of_shard,
    shard_named,
    warnings_of_shard,
)
from niffler.shards import PLACEHOLDER, Shard

CONFIG = "config.json"

Model = TypeVar("Model", bound=BaseModel)


def read_settings(arguments: Sequence[str], *, beside: Path) -> Settings:
    """Read config.json, the file that NifflerSystem names, and the command line, which has the last word.

    The files are looked for in the current folder, then in the folder ``beside``. Raises WrongInputError with a line
    for every fault.
    """
    faults: list[str] = []
    options = read_command_line(arguments, faults)
    look = _look(options, faults)
    reads_state_only = bool(READS_STATE_ONLY.intersection(look.tasks))
    is_said = "Shard" in options or any(PLACEHOLDER in value for value in options.values())
    shard = shard_named(options, {} if reads_state_only else os.environ, faults)
    config_file = _find(CONFIG, beside)
    in_file = _object(config_file, faults)
    given = {**(in_file or {}), **options}
    where = dict.fromkeys(given, str(config_file)) | dict.fromkeys(options, COMMAND_LINE)
    for attributes, keys in OF_ATTRIBUTE.items():
        if str(given.get("NumberOfQueryAttributes", 1)).strip() in map(str, range(1, attributes)):
            for key in keys:
                given.pop(key, None)
    shares_storage = part_of_list(shard) is not None and PLACEHOLDER not in str(given.get("StorageFolder"))
    # A look at files alone needs the addresses of no shard, and where it is told none it looks at all of them.
    filled_in = Shard(1, 1) if reads_state_only and shard is None else shard
    given = settings_of_shard(given, where, filled_in, faults)
    stylesheet = _find(STYLESHEET, beside)
    extraction: ExtractionSettings | None = None
    if in_file is not None:  # else nobody knows what was meant
        extraction, wrong_keys = _validated(ExtractionSettings, given, where, str(config_file), faults)
        if extraction is not None and not reads_state_only:
            faults += [
                f"{where.get(key, config_file)}: {key} '{value}': {fault}"
                for key, value, fault in itertools.chain(
                    faults_of(extraction, stylesheet), faults_of_shared_storage(extraction) if shares_storage else ()
                )
                if key not in wrong_keys
            ]
    system_file = _find(str(given.get("NifflerSystem", "system.json")), beside)
    system = _system(system_file, filled_in, faults)
    if system is not None and not reads_state_only and (fault := placeholder_of(system)):
        faults.append(f"{system_file}: SrcAet '{system.src_aet}': {fault}")
    if faults or extraction is None or system is None:
        raise WrongInputError("\n".join(faults))
    is_meant = is_said or any(
        PLACEHOLDER in file.read_text(encoding="utf-8-sig") for file in (config_file, system_file)
    )
    return Settings.model_construct(
        **dict(extraction),
        **dict(look),
        system=system,
        stylesheet=stylesheet,
        shard=part_of_list(shard),
        shares_storage=shares_storage,
        warnings=(*warnings_of(extraction), *warnings_of_shard(part_of_list(shard), is_meant=is_meant)),
    )


@dataclass(frozen=True)
class Watched:
    """The list, or the shard of it, whose extraction is to be looked at, again and again where it ``is_redrawn``."""

    csv_file: Path
    is_redrawn: bool
    shard: Shard | None = None


def list_to_watch(arguments: Sequence[str], *, beside: Path) -> Watched | None:
    """Which list --Status is asked about, None where it is not asked for.

    Nothing else has to be right for that: neither other settings nor the list itself. Raises WrongInputError with a
    line for every fault.
    """
    faults: list[str] = []
    options = read_command_line(arguments, faults)
    look = _look(options, faults)
    if not look.status:
        return None
    shard = shard_named(options, {}, faults)
    file, place = _find(CONFIG, beside), COMMAND_LINE
    given: Mapping[str, Any] = options
    if "CsvFile" not in options:
        of_file: list[str] = []
        in_file = _object(file, of_file)
        faults += of_file if in_file is None else []
        given, place = in_file or {}, str(file)
    named = {key: value for key, value in given.items() if key == "CsvFile"}
    extraction, _ = _validated(ExtractionSettings, named, {}, place, faults)
    if faults or extraction is None:
        raise WrongInputError("\n".join(faults))
    return Watched(extraction.csv_file, look.status == WATCH, part_of_list(shard))


def _look(options: dict[str, str], faults: list[str]) -> LookOptions:
    """Take the options for a look out of those of the command line."""
    keys = [str(field.alias) for field in LookOptions.model_fields.values()]
    given = {key: options.pop(key) for key in keys if key in options}
    look, _ = _validated(LookOptions, given, dict.fromkeys(given, COMMAND_LINE), COMMAND_LINE, faults)
    assert look is not None, "every option has a default"
    if len(look.tasks) > 1:
        both = " and ".join(f"--{task.value}" for task in look.tasks)
        faults.append(f"{COMMAND_LINE}: {both} are different tasks; give one of them")
    if "DryRunRows" in given and not look.dry_run:
        faults.append(f"{COMMAND_LINE}: --DryRunRows is for a dry run; give --DryRun true too")
    return look


def read_system_settings(name: str, *, beside: Path, shard: str = "") -> SystemSettings:
    """Read the settings of the machine alone, or those of a shard (NUMBER/COUNT) where {shard} stands in them."""
    faults: list[str] = []
    system = _system(_find(name, beside), shard_named({"Shard": shard} if shard else {}, os.environ, faults), faults)
    if system is None or faults:
        raise WrongInputError("\n".join(faults))
    return system


def _system(file: Path, shard: Shard | None, faults: list[str]) -> SystemSettings | None:
    given = _object(file, faults)
    if given is None:
        return None
    given = settings_of_shard(given, dict.fromkeys(given, str(file)), shard, faults)
    system, _ = _validated(SystemSettings, given, dict.fromkeys(given, str(file)), str(file), faults)
    return system


def _find(name: str, beside: Path) -> Path:
    here = Path(name)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # whatever is wrong with a path shows when it is read
        here = here.expanduser()
        there = beside / here
        return there if not here.exists() and there.exists() else here
    return here


def _object(file: Path, faults: list[str]) -> dict[str, Any] | None:
    """The object of a JSON file without ``$schema``, which is for editors; None where there is none."""

    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                faults.append(f"{file}: {key}: stands there twice; remove one")
            found[key] = value
        return found

    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except OSError as error:
        faults.append(f"{file}: cannot be read: {error.strerror}; it is looked for in the current folder, then beside "
                      "the script")  # fmt: skip
        return None
    except json.JSONDecodeError as error:
        place = f"{file}: line {error.lineno}, column {error.colno}"
        faults.append(f"{place}: not valid JSON: {error.msg}; is there a comma too many or too few before it?")
        return None
    except (ValueError, RecursionError):  # not UTF-8, or a name that no file can have
        faults.append(f"{file}: is not a JSON text in UTF-8; save it as that")
        return None
    if not isinstance(content, dict):
        faults.append(f"{file}: is not a JSON object, {{...}}")
        return None
    content.pop("$schema", None)
    return content


def _validated(
    model: type[Model], given: Mapping[str, Any], where: Mapping[str, str], file: str, faults: list[str]
) -> tuple[Model | None, frozenset[str]]:
    """The settings and the keys that are wrong, for which defaults stand in; None where a key has none."""
    try:
        return model.model_validate(given), frozenset()
    except ValidationError as error:
        errors = error.errors()
    for one in errors:
        key = str(one["loc"][0]) if one["loc"] else ""
        place = where.get(key, file)
        if one["type"] == "missing":
            faults.append(f"{place}: {key} is missing; {model.model_fields[_field(model, key)].description}")
        elif one["type"] == "extra_forbidden":
            keys = [str(field.alias) for field in model.model_fields.values()]
            faults.append(f"{place}: {key}: no such key{suggestion(key, keys)}")
        else:
            faults.append(f"{place}: {key} {_shown(given.get(key))}: {one['msg'].removeprefix('Value error, ')}")
    wrong = frozenset(str(one["loc"][0]) for one in errors if one["loc"])
    try:
        return model.model_validate({key: value for key, value in given.items() if key not in wrong}), wrong
    except ValidationError:
        return None, wrong


def _field(model: type[BaseModel], alias: str) -> str:
    return next(name for name, field in model.model_fields.items() if field.alias == alias)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"
