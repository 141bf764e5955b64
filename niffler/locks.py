"""Locks that hold for as long as their process lives: alone, or together with others of a party."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from niffler.errors import CannotStartError


def lock_folder() -> Path:
    """Where locks lie: all users of the machine share it, each with files of their own rights, like /tmp itself."""
    folder = Path(tempfile.gettempdir()) / "niffler-locks"
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)
    if folder.is_symlink() or not folder.is_dir():
        raise CannotStartError(f"{folder}: is not a folder; remove it")
    return folder


def lock_of(kind: str, name: str) -> Path:
    """The lock of a thing of some kind."""
    return lock_folder() / f"{kind}-{_short(name)}.lock"


def _short(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


@contextlib.contextmanager
def held_together(path: Path, party: str) -> Iterator[bool]:
    """Hold a lock alone or, with a party, together with others of it; False where somebody else has it.

    Each party has a lock of its own beside that one; to look at all of them count.lock has to be held.
    """
    if not party:
        with locked(path, wait=False) as claimed:
            yield claimed
        return
    mine = path.with_name(f"{path.stem}-{_short(party)}.lock")
    with contextlib.ExitStack() as held:
        claimed = held.enter_context(locked(path, wait=False, shared=True))
        for other in path.parent.glob(f"{path.stem}-*.lock"):
            if other != mine:
                with locked(other, wait=False) as is_free:
                    claimed = claimed and is_free
        held.enter_context(locked(mine, wait=False, shared=True))
        yield claimed


@contextlib.contextmanager
def locked(path: Path, *, wait: bool, shared: bool = False) -> Iterator[bool]:
    """Hold a lock for as long as the process lives; False where another has it. The file stays: it is only a name."""
    try:
        descriptor = _open_shared(path)
    except OSError as error:
        raise CannotStartError(f"{path}: cannot be opened: {error.strerror}; remove it") from None
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _open_shared(path: Path) -> int:
    """Open a file that every user of the machine may lock, and make it where there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags)
        # Linux refuses O_CREAT for another user's file in a folder like /tmp (fs.protected_regular), hence two steps.
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o444)
            os.fchmod(descriptor, 0o444)  # whatever the umask; reading is all that a lock needs
            return descriptor
