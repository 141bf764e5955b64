"""The lines that the tools print on standard output, at level INFO."""

import contextlib
import functools
import os
import re
import sys
from datetime import datetime

from pydicom.uid import UID

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Printer:
    """Prints one message at a time, also when several associations speak, each from a process of its own."""

    def info(self, message: str) -> None:
        """Print a message with the time of day in front; nobody listening any more is no failure."""
        now = datetime.now()
        line = f"{now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03d} INFO  - {message}\n"
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), line.encode("utf-8", "backslashreplace"))  # a pipe takes it in one piece


def printable(received: object) -> str:
    """A received value on one line: text of the peer must not be able to forge lines of its own."""
    return _CONTROL_CHARACTER.sub(lambda found: f"\\x{ord(found.group()):02x}", str(received))


@functools.lru_cache(maxsize=1000)
def named_uid(uid: str) -> str:
    """A UID with its name in PS3.6 Annex A, ``?`` where it has none."""
    name = UID(uid).name
    return f"{printable(uid)} - {'?' if name == uid else name}"


def socket_text(address: str, port: int, local_port: int) -> str:
    """How the tools print a connected socket."""
    return f"Socket[addr={address},port={port},localport={local_port}]"


def reason_of(error: OSError) -> str:
    """The words of the operating system, without Python's error number."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "Connect timed out"
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))
