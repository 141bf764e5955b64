"""The two JSON files and the command line → one validated Settings, or all of their faults at once."""

import argparse
import difflib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Never, TypeVar

from pydantic import BaseModel, ValidationError

from niffler.errors import WrongInputError
from niffler.keywords import STUDY_MONTH, is_keyword, nearest_keyword, vr_of
from niffler.settings import (
    PLACEHOLDER_EMAIL,
    ExtractionSettings,
    Mode,
    Settings,
    SystemSettings,
    fault_of_file_path,
)

CONFIG = "config.json"
STYLESHEET = "description.csv.xsl"
COMMAND_LINE = "command line"

_OF_ATTRIBUTE = {2: ("SecondAttr", "SecondIndex"), 3: ("ThirdAttr", "ThirdIndex")}
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
    options = _command_line(arguments)
    faults: list[str] = []
    config_file = _find(CONFIG, beside)
    in_file = _object(config_file, faults)
    given = {**in_file, **options}
    where = dict.fromkeys(in_file, str(config_file)) | dict.fromkeys(options, COMMAND_LINE)
    for attributes, keys in _OF_ATTRIBUTE.items():
        if str(given.get("NumberOfQueryAttributes", 1)).strip() in map(str, range(1, attributes)):
            for key in keys:
                given.pop(key, None)
    extraction = _validated(ExtractionSettings, given, where, str(config_file), faults)
    system_file = _find(str(given.get("NifflerSystem", "system.json")), beside)
    system = _system(system_file, faults)
    if extraction is None or system is None:
        raise WrongInputError("\n".join(faults))
    settings = Settings.model_construct(
        **dict(extraction),
        system=system,
        stylesheet=_find(STYLESHEET, beside),
        warnings=_warnings(extraction),
    )
    settings = settings.model_copy(
        update={
            "storage_folder": settings.storage_folder.expanduser().absolute(),
            "csv_file": settings.csv_file.expanduser().absolute(),
        }
    )
    faults += [f"{where.get(key, config_file)}: {key} '{value}': {fault}" for key, value, fault in _faults(settings)]
    if faults:
        raise WrongInputError("\n".join(faults))
    return settings


def read_system_settings(name: str, *, beside: Path) -> SystemSettings:
    """Read the settings of the machine alone."""
    faults: list[str] = []
    system = _system(_find(name, beside), faults)
    if system is None or faults:
        raise WrongInputError("\n".join(faults))
    return system


def _system(file: Path, faults: list[str]) -> SystemSettings | None:
    given = _object(file, faults)
    return _validated(SystemSettings, given, dict.fromkeys(given, str(file)), str(file), faults)


def _command_line(arguments: Sequence[str]) -> dict[str, str]:
    parser = _Parser(
        prog="ColdDataRetriever.py",
        description="Retrieve the studies that the rows of a CSV ask for from a PACS.",
        epilog="Every option is a key of config.json and has precedence over it. The machine and its PACS are "
        "described in system.json.",
        allow_abbrev=False,
    )
    titles = {key: title for title, keys in _GROUPS.items() for key in keys}
    groups = {title: parser.add_argument_group(title) for title in (*_GROUPS, "behaviour")}
    for field in ExtractionSettings.model_fields.values():
        key = str(field.alias)
        groups[titles.get(key, "behaviour")].add_argument(
            f"--{key}",
            metavar="VALUE",
            default=argparse.SUPPRESS,
            help=f"{field.description} (default: {field.default})".replace("%", "%%"),
        )
    known, others = parser.parse_known_args(arguments)
    keys = [str(field.alias) for field in ExtractionSettings.model_fields.values()]
    faults = [
        f"{COMMAND_LINE}: {other}: no such option{_suggestion(other.lstrip('-').partition('=')[0], keys)}"
        for other in others
    ]
    if faults:
        raise WrongInputError("\n".join(faults))
    return vars(known)


def _find(name: str, beside: Path) -> Path:
    here = Path(name).expanduser()
    there = beside / here
    return there if not here.exists() and there.exists() else here


def _object(file: Path, faults: list[str]) -> dict[str, Any]:
    """The object of a JSON file without ``$schema``, which is for editors."""

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
        return {}
    except json.JSONDecodeError as error:
        faults.append(f"{file}: line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}")
        return {}
    except (UnicodeDecodeError, RecursionError):
        faults.append(f"{file}: is not a JSON text in UTF-8")
        return {}
    if not isinstance(content, dict):
        faults.append(f"{file}: is not a JSON object, {{...}}")
        return {}
    content.pop("$schema", None)
    return content


def _validated(
    model: type[Model], given: Mapping[str, Any], where: Mapping[str, str], file: str, faults: list[str]
) -> Model | None:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        for one in error.errors():
            key = str(one["loc"][0]) if one["loc"] else ""
            place = where.get(key, file)
            if one["type"] == "missing":
                faults.append(f"{place}: {key} is missing; {model.model_fields[_field(model, key)].description}")
            elif one["type"] == "extra_forbidden":
                keys = [str(field.alias) for field in model.model_fields.values()]
                faults.append(f"{place}: {key}: no such key{_suggestion(key, keys)}")
            else:
                faults.append(f"{place}: {key} {_shown(given.get(key))}: {one['msg'].removeprefix('Value error, ')}")
    return None


def _field(model: type[BaseModel], alias: str) -> str:
    return next(name for name, field in model.model_fields.items() if field.alias == alias)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _suggestion(key: str, valid: Iterable[str]) -> str:
    lower = {name.casefold(): name for name in valid}
    near = difflib.get_close_matches(key.casefold(), lower, n=1, cutoff=0.6)
    return f"; is {lower[near[0]]} meant?" if near else f"; there are {', '.join(lower.values())}"


def _faults(settings: Settings) -> Iterable[tuple[str, object, str]]:
    """What the settings mean together: key, value, and what is wrong with it."""
    names = (("FirstAttr", "FirstIndex"), *_OF_ATTRIBUTE.values())
    attributes = settings.attributes
    for number, ((key, index_key), attribute) in enumerate(zip(names, attributes, strict=False)):
        if not is_keyword(attribute.keyword):
            near = nearest_keyword(attribute.keyword)
            yield key, attribute.keyword, "is not a DICOM keyword" + (f"; is {near} meant?" if near else "")
        before = attributes[:number]
        if attribute.keyword in [one.keyword for one in before]:
            yield key, attribute.keyword, "is an attribute already; choose another or lower NumberOfQueryAttributes"
        if attribute.index in [one.index for one in before]:
            yield index_key, attribute.index, "is the column of another attribute already"
    if {"StudyDate", STUDY_MONTH} <= {attribute.keyword for attribute in attributes}:
        yield "NumberOfQueryAttributes", len(attributes), "StudyDate and StudyMonth ask for the same; choose one"
    has_date = any(is_keyword(one.keyword) and vr_of(one.keyword) == "DA" for one in attributes)
    if has_date and (fault := _fault_of_date_format(settings.date_format)):
        yield "DateFormat", settings.date_format, fault
    if fault := fault_of_file_path(settings.file_path):
        yield "FilePath", settings.file_path, fault
    if fault := _fault_of_storage(settings.storage_folder):
        yield "StorageFolder", settings.storage_folder, fault
    if not settings.csv_file.is_file():
        yield "CsvFile", settings.csv_file, "there is no such file"
    elif not os.access(settings.csv_file.parent, os.W_OK | os.X_OK):
        yield "CsvFile", settings.csv_file, "its folder cannot be written, but the checkpoint and the outcomes go there"
    if settings.mode is Mode.FIND_DETAILED and not settings.stylesheet.is_file():
        yield "FilePath", settings.file_path, f"needs {STYLESHEET} in the current folder or beside the script"


def _fault_of_date_format(date_format: str) -> str:
    day = datetime(2021, 11, 23)
    try:
        if datetime.strptime(day.strftime(date_format), date_format) == day:
            return ""
    except ValueError:
        pass
    return "is not a format with day, month and year, such as %Y%m%d or %m/%d/%y"


def _fault_of_storage(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"cannot be made: {error.strerror}"
    return "" if os.access(folder, os.W_OK | os.X_OK) else "cannot be written; ask for the right or choose another"


def _warnings(extraction: ExtractionSettings) -> tuple[str, ...]:
    if extraction.send_email and extraction.your_email in ("", PLACEHOLDER_EMAIL):
        return ("YourEmail is still the placeholder: no email is sent; set it, or SendEmail to false",)
    return ()
