"""What the three tools do alike around their work: help, version, signals, errors and exit codes."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from types import FrameType

import pynetdicom
from pydicom import config

from niffler.embedded.errors import ToolError, UsageError
from niffler.embedded.options import COMMON_OPTIONS, Option, Words, help_text, parse


def run(
    name: str, usage: str, purpose: str, options: Sequence[Option], work: Callable[[Words], None],
    arguments: Sequence[str],
) -> int:  # fmt: skip
    """Run a tool; returns its exit code: 0 when its work is done, 2 with a line on standard error when it is not."""
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, _end_at_once)
    # Doubtful values are the PACS's affair: they are passed on as they came, without remarks between the lines.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
    known = (*COMMON_OPTIONS, *options)
    try:
        words = parse(arguments, known)
        if "h" in words:
            print(help_text(usage, purpose, known))
        elif "V" in words:
            print(f"{name}: embedded, on pynetdicom {pynetdicom.__version__}")
        else:
            work(words)
    except ToolError as error:
        print(f"{name}: {error}", file=sys.stderr)
        if isinstance(error, UsageError):
            print(f"Try `{name} --help' for more information.", file=sys.stderr)
        return 2
    return 0


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
