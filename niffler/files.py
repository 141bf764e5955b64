"""Writing files so that a reader, or a power cut, never meets half of one."""

import contextlib
import csv
import io
import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Literal

from niffler.errors import GaveUpError

_ROWS_IN_A_CHUNK = 5000


def write_atomically(path: Path, content: str | bytes, *, flush: bool = True) -> None:
    """Replace a file by way of a temporary one in the same folder, flushed to disk before it is renamed.

    Without ``flush`` a power cut may leave it empty. Raises GaveUpError where it cannot be written.
    """
    with _replacing(path, flush=flush) as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Replace a CSV file in the same way; UTF-8, lines end in a line feed."""
    with _replacing(path) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
        for chunk in csv_chunks(rows):
            text.write(chunk)
        text.flush()
        os.fsync(stream.fileno())


def csv_chunks(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Rows as CSV text, valid whatever the values hold."""
    remaining = iter(rows)
    while some := list(itertools.islice(remaining, _ROWS_IN_A_CHUNK)):
        text = _csv_text(some, csv.QUOTE_MINIMAL)
        if "\r" in text:
            # Python before 3.13 leaves a lone carriage return without quotes, and then cannot read the row again.
            plain = ((row, _csv_text([row], csv.QUOTE_MINIMAL)) for row in some)
            text = "".join(_csv_text([row], csv.QUOTE_ALL) if "\r" in line else line for row, line in plain)
        yield text


def _csv_text(rows: Iterable[Sequence[object]], quoting: Literal[0, 1]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", quoting=quoting).writerows(rows)
    return stream.getvalue()


@contextlib.contextmanager
def _replacing(path: Path, *, flush: bool = True) -> Iterator[IO[bytes]]:
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                if flush and not stream.closed:
                    stream.flush()
                    os.fsync(stream.fileno())
            # mkstemp makes files private; a list's state is as readable as the umask says, like any other file.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if flush:
            flush_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: OSError) -> GaveUpError:
    """The failure to be raised where the disk refuses a file."""
    return GaveUpError(
        f"{path}: cannot be written: {error.strerror}; make room or mend the folder, then start the same command again"
    )


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
