"""The log: niffler<NifflerID>.log and standard output, lines as LEVEL:root:message; storescp's output beside it."""

import logging
import logging.handlers
import sys
import warnings
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tqdm import tqdm

from niffler.errors import WrongInputError


class _StandardOutput(logging.Handler):
    """Lines on standard output that leave a progress bar whole."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        try:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except Exception:
            self.handleError(record)


class RecentProblems(logging.Handler):
    """The last warnings and errors, and whatever else is noted, each with its time."""

    def __init__(self, most: int) -> None:
        super().__init__(logging.WARNING)
        self._noted: deque[tuple[datetime, str]] = deque(maxlen=most)
        logging.getLogger().addHandler(self)

    @property
    def noted(self) -> Sequence[tuple[datetime, str]]:
        """What was noted, in its order."""
        return tuple(self._noted)

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line of the log."""
        self.note(record.getMessage())

    def note(self, line: str) -> None:
        """Note a line that is no warning."""
        self._noted.append((datetime.now().astimezone(), line))


def start_log(path: Path) -> None:
    """Begin to log to a file, appending, and to standard output; raises WrongInputError where it cannot be written."""
    logging.raiseExceptions = False  # a full disk or a closed terminal must not end an extraction
    try:
        to_file: logging.Handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise WrongInputError(
            f"{path}: the log cannot be written: {error.strerror}; start the extraction in a folder of yours"
        ) from None
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in (to_file, _StandardOutput()):
        handler.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
        root.addHandler(handler)
    # Libraries quote values of the files that they read; those are patients' and not for a log.
    for library in ("pydicom", "pynetdicom", "schedule"):
        logging.getLogger(library).propagate = False
    warnings.filterwarnings("ignore", module="pydicom")


def tool_output(path: Path, megabytes: int) -> logging.Logger:
    """Where the receiver's output goes: a file of bounded size, whose former part is kept as ``<name>.1``."""
    logger = logging.getLogger("storescp")
    logger.propagate = False
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    try:
        handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=megabytes * 1_000_000, backupCount=1, encoding="utf-8"
        )
    except OSError as error:
        raise WrongInputError(f"{path}: cannot be written: {error.strerror}; start in a folder of yours") from None
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    return logger
