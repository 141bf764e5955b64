"""The signals that end a run in good order."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from niffler.errors import StoppedError


@contextlib.contextmanager
def stopping(stop: Callable[[StoppedError], None]) -> Iterator[None]:
    """SIGINT, SIGTERM and, unless nohup has it ignored, SIGHUP are told to ``stop``, in the main thread."""

    def tell(number: int, _frame: FrameType | None) -> None:
        stop(StoppedError(number))

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if not (number == signal.SIGHUP and handler == signal.SIG_IGN):
            signal.signal(number, tell)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
