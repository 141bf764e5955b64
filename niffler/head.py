"""What is known of an extraction apart from its rows and studies: list, settings, versions, and every run so far."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from niffler.errors import WrongInputError
from niffler.files import write_atomically


@dataclass(frozen=True)
class Run:
    """One run over the list: ISO 8601 with the zone; without an end it goes on, or was killed."""

    started: str
    ended: str | None = None
    exit_code: int | None = None
    ending: str = ""


@dataclass(frozen=True)
class Head:
    """It begins the manifest of an extraction, and its report shows it."""

    list_file: str
    list_sha256: str
    settings: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]
    runs: tuple[Run, ...]


def head_json(modified_csv: Path) -> Path:
    """Where a run notes it at its start, so that one that is killed is not forgotten."""
    return modified_csv.with_name(f"{modified_csv.name}.manifest.head.json")


def file_sha256(path: Path) -> str:
    """The hash of a file, as ``sha256sum`` prints it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def told(head: Head) -> dict[str, Any]:
    """It as JSON knows it."""
    return {
        "list": {"file": head.list_file, "sha256": head.list_sha256},
        "settings": head.settings,
        "versions": head.versions,
        "runs": [asdict(run) for run in head.runs],
    }


def write_head(path: Path, head: Head) -> None:
    """Write it; that takes no time however many studies there are. Raises GaveUpError where it cannot be written."""
    write_atomically(path, json.dumps(told(head), indent=2, ensure_ascii=False) + "\n")


def read_head(path: Path) -> Head | None:
    """What was written; None where there is no file. Raises WrongInputError where it is something else."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return Head(
            str(read["list"]["file"]),
            str(read["list"]["sha256"]),
            {str(file): dict(keys) for file, keys in read["settings"].items()},
            {str(name): str(version) for name, version in read["versions"].items()},
            tuple(Run(**run) for run in read["runs"]),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WrongInputError(f"{path}: cannot be read: {error.strerror}; mend its rights") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise WrongInputError(f"{path}: is no head of a manifest; move it away") from None
