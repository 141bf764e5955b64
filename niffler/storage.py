"""The folder that receives: whether it is still there, how much fits, what a dead receiver left in it."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from niffler.errors import GaveUpError, WrongInputError

_LOOKED_FOR = 1000


@dataclass(frozen=True)
class Storage:
    """StorageFolder as it was when the run began; ``identity`` tells a folder from one mounted over or under it."""

    folder: Path
    identity: tuple[int, int]
    least_free: float
    """Bytes that must stay free."""

    def check(self) -> None:
        """Raise GaveUpError where the folder is gone or too full to begin another study."""
        try:
            if _identity(self.folder) != self.identity:
                raise GaveUpError(
                    f"{self.folder}: is not the folder that it was at the start; was its disk unmounted? Mount it, "
                    "then start the same command again"
                )
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise GaveUpError(
                f"{self.folder}: cannot be used any more: {error.strerror}; mend it, then start the same command again"
            ) from None
        if free < self.least_free:
            raise GaveUpError(
                f"{self.folder}: the disk is full: {free / 1e9:.2f} GB free, MinFreeDiskGB is "
                f"{self.least_free / 1e9:g}; make room, then start the same command again"
            )


def open_storage(folder: Path, least_free_gigabytes: float) -> Storage:
    """Look at the folder at the start of a run; it is made where there is none. Raises WrongInputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongInputError(f"StorageFolder {folder}: cannot be made: {error.strerror}; choose another") from None
    return Storage(folder, _identity(folder), least_free_gigabytes * 1e9)


def fault_of_folder(folder: Path) -> str:
    """Why no file can be made in a folder, or, where there is none, beside it; empty where one can. Leaves nothing."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return f"{existing}: cannot be written: {error.strerror}"


def free_bytes(folder: Path) -> int:
    """How much room the disk of a folder has, or, where there is none yet, the disk that it would be on."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def is_empty(folder: Path) -> bool:
    """Whether nothing is in the folder."""
    return next(folder.iterdir(), None) is None


def missing_folders(folder: Path, file_path: str, studies: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Of some of the studies (PatientID, StudyInstanceUID): how many were looked for, and how many have no folder.

    Only the usual pattern tells where a study lies; with others, and for IDs that DCM4CHE may write differently,
    nothing is looked for.
    """
    if not file_path.upper().startswith("{00100020}/{0020000D}/"):
        return 0, 0
    step = max(1, len(studies) // _LOOKED_FOR)
    sample = [study for study in studies[::step] if study[0].isascii() and study[0].replace("-", "").isalnum()]
    return len(sample), sum(not (folder / patient / uid).is_dir() for patient, uid in sample)


def remove_parts(folder: Path) -> int:
    """Remove the ``.part`` files that a dead storescp left in its root folder; returns how many."""
    parts = list(folder.glob("*.part"))
    for part in parts:
        part.unlink(missing_ok=True)
    return len(parts)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
