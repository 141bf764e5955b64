"""The query files of a tool under way: all written before it starts, or pipes that are written as studies are known."""

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class QueryFiles(Protocol):
    """What findscu or movescu is given to ask for; it reads each file when its turn comes."""

    @property
    def names(self) -> Sequence[str]:
        """All files that the tool is started with."""

    @property
    def inherited(self) -> Sequence[int]:
        """The descriptors that the tool has to inherit."""

    @property
    def given(self) -> int:
        """How many of the files, from the first on, hold a request by now."""

    @property
    def is_closed(self) -> bool:
        """Whether no other request will be given."""

    def finish(self) -> None:
        """No other request will be given."""

    def withdraw(self) -> None:
        """Let no request begin whose file the tool has not read."""


class WrittenFiles:
    """Query files on disk. One that is gone when its turn comes ends the tool in good order."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.names = [str(path) for path in paths]
        self.inherited: Sequence[int] = ()
        self.given = len(paths)
        self.is_closed = True

    def finish(self) -> None:
        """All are given from the start."""

    def withdraw(self) -> None:
        """Remove the files that the tool has not come to."""
        for path in self._paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


class Feed:
    """Query files that are pipes: the tool waits at the first that was not written yet. For several threads.

    A pipe that is closed without content ends the tool in good order, as a file that is gone does (DCM4CHE 5.22.5 to
    5.34.3). The system closes them when this process dies, so that no tool waits for ever.
    """

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._reading: list[int] = []
        self._writing: list[int] = []
        self.given = 0
        try:
            for _ in range(most):
                reading, writing = os.pipe()
                self._reading.append(reading)
                self._writing.append(writing)
                os.set_blocking(writing, False)
        except OSError:
            self.withdraw()
            raise
        self.names = [f"/dev/fd/{descriptor}" for descriptor in self._reading]

    @property
    def inherited(self) -> Sequence[int]:
        """The ends that the tool reads."""
        return tuple(self._reading)

    @property
    def is_closed(self) -> bool:
        """Whether no other request will be given."""
        return not self._writing

    def give(self, content: bytes) -> bool:
        """Write the next query file; False where that is too late.

        What a pipe does not hold (4096 bytes at least, mostly 65536) is cut off, and the tool cannot read it.
        """
        with self._lock:
            if not self._writing:
                return False
            self.given += 1  # before it can be read: the answer may come at once, in another thread
            writing = self._writing.pop(0)
            try:
                os.write(writing, content)  # never a broken pipe: this process keeps the end that is read, too
            finally:
                os.close(writing)
            return True

    def finish(self) -> None:
        """Let the tool end when it has asked for all that was given."""
        with self._lock:
            while self._writing:
                os.close(self._writing.pop())

    def withdraw(self) -> None:
        """Let the tool end at the first pipe that it has not read: what was given is taken out again."""
        self.finish()
        with self._lock:
            while self._reading:
                reading = self._reading.pop()
                os.read(reading, 1 << 16)  # waits for nothing: nobody can write any more
                os.close(reading)
