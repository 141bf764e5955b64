"""Failures that are expected: each is one readable line for the user and an exit code for the shell."""

import signal


class NifflerError(Exception):
    """An expected failure; its text is the line that the user reads."""

    exit_code = 1


class WrongInputError(NifflerError):
    """The settings or the CSV cannot be used; nothing was started."""

    exit_code = 2


class CannotStartError(NifflerError):
    """The settings are right, but something else stands in the way: a slot, a port, a missing tool."""

    exit_code = 3


class GaveUpError(NifflerError):
    """The PACS or the disk failed for so long that going on makes no sense; what is done is saved."""

    exit_code = 4


class OutsideWindowError(NifflerError):
    """The nightly window is shut, and the run does not wait for the next one; what is done is saved."""

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h: to be tried again later."""


class StoppedError(NifflerError):
    """The run was asked to stop by a signal; its exit code is the one that shells give for it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; start the same command again to go on")
        self.exit_code = 128 + number


class CellError(ValueError):
    """A CSV cell cannot be sent to a PACS; the text completes a sentence that begins with the value."""
