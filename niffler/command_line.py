"""The command line of the script: which options there are, and what was said."""

import argparse
import itertools
from collections.abc import Sequence
from typing import Never

from niffler.errors import WrongInputError
from niffler.settings import ExtractionSettings, LookOptions, PartOptions
from niffler.settings_faults import suggestion

COMMAND_LINE = "command line"

_GROUPS = {
    "what to retrieve": (
        "CsvFile", "NumberOfQueryAttributes", "FirstAttr", "FirstIndex", "SecondAttr", "SecondIndex", "ThirdAttr",
        "ThirdIndex", "LongAccession", "DateFormat", "AllowWildcards",
    ),
    "where to": ("StorageFolder", "FilePath"),
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        raise WrongInputError(f"{COMMAND_LINE}: {message}; see --help")


def read_command_line(arguments: Sequence[str], faults: list[str]) -> dict[str, str]:
    """The options by their keys, as text; what is no option is a fault."""
    parser = _Parser(
        prog="ColdDataRetriever.py",
        description="Retrieve the studies that the rows of a CSV ask for from a PACS.",
        epilog="Every option but --Shard and those to look at an extraction is a key of config.json and has "
        "precedence over it. The machine and its PACS are described in system.json.",
        allow_abbrev=False,
    )
    titles = {key: title for title, keys in _GROUPS.items() for key in keys}
    titles |= {str(field.alias): "look at it" for field in LookOptions.model_fields.values()}
    groups = {title: parser.add_argument_group(title) for title in (*_GROUPS, "behaviour", "look at it")}
    fields = [
        field for model in (ExtractionSettings, PartOptions, LookOptions) for field in model.model_fields.values()
    ]
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
            faults.append(f"{COMMAND_LINE}: {other}: no such option{suggestion(name, keys)}")
    return vars(known)
