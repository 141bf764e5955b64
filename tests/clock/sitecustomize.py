"""Python imports this at its start, from PYTHONPATH: the extraction then lives at the moment that a file says.

Only what the clock shows is moved; waiting, which counts on another clock, goes on as ever.
"""

import datetime
import os
import sys
import time
from pathlib import Path
from typing import Any

_FILE = Path(os.environ.get("EXTRACTION_CLOCK", ""))
_datetime = datetime.datetime


def _moment() -> datetime.datetime:
    with _FILE.with_name("readings").open("a") as readings:
        readings.write(".")
    return _datetime.fromisoformat(_FILE.read_text())


class _AnyDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _datetime)


class _MovedDatetime(_datetime, metaclass=_AnyDatetime):
    __slots__ = ()

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _moment().astimezone(tz) if tz else _moment()

    @classmethod
    def today(cls) -> Any:
        return _moment()

    @classmethod
    def utcnow(cls) -> Any:
        return _moment().astimezone(datetime.UTC).replace(tzinfo=None)


if any(Path(word).name == "ColdDataRetriever.py" for word in sys.orig_argv):
    import pandas  # noqa: F401  # its compiled parts need the true class, and take it when they are imported

    datetime.datetime = _MovedDatetime  # type: ignore[misc]
    time.time = lambda: _moment().timestamp()
