"""The two JSON files and the command line → one validated Settings, or all of their faults at once."""

import argparse
import contextlib
import difflib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never, TypeVar

from pydantic import BaseModel, ValidationError

from niffler.errors import WrongInputError
from niffler.settings import READS_STATE_ONLY, WATCH, ExtractionSettings, LookOptions, Settings, SystemSettings
from niffler.settings_faults import OF_ATTRIBUTE, STYLESHEET, faults_of, placeholder_of, warnings_of

CONFIG = "config.json"
COMMAND_LINE = "command line"

_GROUPS = {
    "what to retrieve": (
        "CsvFile", "NumberOfQueryAttributes", "FirstAttr", "FirstIndex", "SecondAttr", "SecondIndex", "ThirdAttr",
        "ThirdIndex", "LongAccession", "DateFormat", "AllowWildcards",
    ),
    "where to": ("StorageFolder", "FilePath"),
}  # fmt: skip


Model = TypeVar("Model", bound=BaseModel)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        raise WrongInputError(f"{COMMAND_LINE}: {message}; see --help")


def read_settings(arguments: Sequence[str], *, beside: Path) -> Settings:
    """Read config.json, the file that NifflerSystem names, and the command line, which has the last word.

    The files are looked for in the current folder, then in the folder ``beside``. Raises WrongInputError with a line
    for every fault.
    """
    faults: list[str] = []
    options = _command_line(arguments, faults)
    look = _look(options, faults)
    config_file = _find(CONFIG, beside)
    in_file = _object(config_file, faults)
    given = {**(in_file or {}), **options}
    where = dict.fromkeys(given, str(config_file)) | dict.fromkeys(options, COMMAND_LINE)
    for attributes, keys in OF_ATTRIBUTE.items():
        if str(given.get("NumberOfQueryAttributes", 1)).strip() in map(str, range(1, attributes)):
            for key in keys:
                given.pop(key, None)
    stylesheet = _find(STYLESHEET, beside)
    extraction: ExtractionSettings | None = None
    if in_file is not None:  # else nobody knows what was meant
        extraction, wrong_keys = _validated(ExtractionSettings, given, where, str(config_file), faults)
        if extraction is not None and not READS_STATE_ONLY.intersection(look.tasks):
            faults += [
                f"{where.get(key, config_file)}: {key} '{value}': {fault}"
                for key, value, fault in faults_of(extraction, stylesheet)
                if key not in wrong_keys
            ]
    system_file = _find(str(given.get("NifflerSystem", "system.json")), beside)
    system = _system(system_file, faults)
    if system is not None and not READS_STATE_ONLY.intersection(look.tasks) and (fault := placeholder_of(system)):
        faults.append(f"{system_file}: SrcAet '{system.src_aet}': {fault}")
    if faults or extraction is None or system is None:
        raise WrongInputError("\n".join(faults))
    return Settings.model_construct(
        **dict(extraction), **dict(look), system=system, stylesheet=stylesheet, warnings=warnings_of(extraction)
    )


@dataclass(frozen=True)
class Watched:
    """The list whose extraction is to be looked at, again and again where it ``is_redrawn``."""

    csv_file: Path
    is_redrawn: bool


def list_to_watch(arguments: Sequence[str], *, beside: Path) -> Watched | None:
    """Which list --Status is asked about, None where it is not asked for.

    Nothing else has to be right for that: neither other settings nor the list itself. Raises WrongInputError with a
    line for every fault.
    """
    faults: list[str] = []
    options = _command_line(arguments, faults)
    look = _look(options, faults)
    if not look.status:
        return None
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
    return Watched(extraction.csv_file, look.status == WATCH)


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


def read_system_settings(name: str, *, beside: Path) -> SystemSettings:
    """Read the settings of the machine alone."""
    faults: list[str] = []
    system = _system(_find(name, beside), faults)
    if system is None or faults:
        raise WrongInputError("\n".join(faults))
    return system


def _system(file: Path, faults: list[str]) -> SystemSettings | None:
    given = _object(file, faults)
    if given is None:
        return None
    system, _ = _validated(SystemSettings, given, dict.fromkeys(given, str(file)), str(file), faults)
    return system


def _command_line(arguments: Sequence[str], faults: list[str]) -> dict[str, str]:
    parser = _Parser(
        prog="ColdDataRetriever.py",
        description="Retrieve the studies that the rows of a CSV ask for from a PACS.",
        epilog="Every option but those to look at an extraction is a key of config.json and has precedence over it. "
        "The machine and its PACS are described in system.json.",
        allow_abbrev=False,
    )
    titles = {key: title for title, keys in _GROUPS.items() for key in keys}
    titles |= {str(field.alias): "look at it" for field in LookOptions.model_fields.values()}
    groups = {title: parser.add_argument_group(title) for title in (*_GROUPS, "behaviour", "look at it")}
    fields = [*ExtractionSettings.model_fields.values(), *LookOptions.model_fields.values()]
    for field in fields:
        key = str(field.alias)
        groups[titles.get(key, "behaviour")].add_argument(
            f"--{key}",
            metavar="VALUE",
            default=argparse.SUPPRESS,
            help=f"{field.description} (default: {field.default})".replace("%", "%%"),
        )
    try:
        known, others = parser.parse_known_args(arguments)
    except WrongInputError as fault:
        faults.append(str(fault))
        return {}
    keys = [str(field.alias) for field in fields]
    for before, other in itertools.pairwise(["", *others]):
        if other.startswith("-") or not before.startswith("-"):  # else it is the value of an unknown option
            name = other.lstrip("-").partition("=")[0]
            faults.append(f"{COMMAND_LINE}: {other}: no such option{_suggestion(name, keys)}")
    return vars(known)


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
            faults.append(f"{place}: {key}: no such key{_suggestion(key, keys)}")
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


def _suggestion(key: str, valid: Iterable[str]) -> str:
    lower = {name.casefold(): name for name in valid}
    near = difflib.get_close_matches(key.casefold(), lower, n=1, cutoff=0.6)
    return f"; is {lower[near[0]]} meant?" if near else f"; there are {', '.join(lower.values())}"
