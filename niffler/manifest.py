"""What an extraction did, for an audit or a paper: the manifest of a list, and one without identifiers to share."""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from niffler.errors import GaveUpError
from niffler.files import cannot_write, write_atomically
from niffler.head import Head, told
from niffler.ledger import Record
from niffler.vocabulary import Outcome, StudyResult

_SHARED_TEXTS = frozenset({"FirstAttr", "SecondAttr", "ThirdAttr", "DateFormat", "InformationModel"})
_NOT_SHARED_NUMBERS = frozenset({"SmtpPort", "NifflerID"})


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """What became of one study."""

    study_instance_uid: str
    outcome: Outcome
    instances: int
    size: int | None
    """Bytes; None where nobody counted them."""


def study_entries(verified: Iterable[Record], decided: Iterable[StudyResult]) -> Sequence[StudyEntry]:
    """What is verified, of earlier runs too, and what this run could not retrieve."""
    entries = {
        record.study_instance_uid: StudyEntry(
            record.study_instance_uid, Outcome.RETRIEVED, record.received, record.size
        )
        for record in verified
    }
    for result in decided:
        if result.outcome is not Outcome.RETRIEVED:
            uid = result.study.study_instance_uid
            entries[uid] = StudyEntry(uid, result.outcome, result.received, None)
    return list(entries.values())


def manifest_json(modified_csv: Path) -> Path:
    """The manifest, which names studies."""
    return modified_csv.with_name(f"{modified_csv.name}.manifest.json")


def shareable_json(modified_csv: Path) -> Path:
    """The manifest without identifiers."""
    return modified_csv.with_name(f"{modified_csv.name}.manifest.shareable.json")


def key_file(modified_csv: Path) -> Path:
    """The key with which identifiers are hashed; whoever has it can tell which study an entry is about."""
    return modified_csv.with_name(f"{modified_csv.name}.manifest.key")


def write_manifest(path: Path, head: Head, rows: Mapping[Outcome, int], studies: Sequence[StudyEntry]) -> None:
    """Write the manifest: head, counts, and a line for each study."""
    write_atomically(path, _text(told(head), rows, studies, "StudyInstanceUID", str))


def write_shareable(
    path: Path, key: bytes, head: Head, rows: Mapping[Outcome, int], studies: Sequence[StudyEntry]
) -> None:
    """Write the same without identifiers, addresses and paths; studies and list are hashed with the key.

    A bare hash would not do: there are so few accession numbers and lists that all can be tried.
    """

    def hashed(text: str) -> str:
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    shared = {
        "list": {"hmac_sha256": hashed(head.list_sha256)},
        "settings": {
            file: {name: value for name, value in keys.items() if _may_be_shared(name, value)}
            for file, keys in head.settings.items()
        },
        "versions": head.versions,
        "runs": [{"started": run.started, "ended": run.ended, "exit_code": run.exit_code} for run in head.runs],
    }
    # In the order of the list or of the UIDs they could be told by their place.
    write_atomically(path, _text(shared, rows, studies, "hmac_sha256", hashed, in_order_of_name=True))


def take_key(path: Path) -> bytes:
    """The key of a list, made where there is none, for its owner alone.

    Raises GaveUpError where it cannot be used.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_key(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_hex(32) + "\n")
    return _read_key(path)


def _read_key(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise GaveUpError(f"{path}: others may read the key; run chmod 600 on it")
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise GaveUpError(f"{path}: cannot be read: {error.strerror}; mend its rights") from None
    except ValueError:
        key = b""
    if len(key) < 32:
        raise GaveUpError(f"{path}: is no key; move it away, and another one is made")
    return key


def _may_be_shared(name: str, value: object) -> bool:
    """Flags and numbers, and the few texts that say nothing of people, machines and folders."""
    return (isinstance(value, (bool, int, float)) and name not in _NOT_SHARED_NUMBERS) or name in _SHARED_TEXTS


def _text(
    head: Mapping[str, object], rows: Mapping[Outcome, int], studies: Sequence[StudyEntry], name: str,
    named: Callable[[str], str], *, in_order_of_name: bool = False,
) -> str:  # fmt: skip
    """JSON with a line for each study, which 100,000 of them need to be readable at all."""
    retrieved = [study for study in studies if study.outcome is Outcome.RETRIEVED]
    counts = {
        "rows": {outcome.value: number for outcome, number in rows.items()},
        "retrieved": {
            "studies": len(retrieved),
            "instances": sum(study.instances for study in retrieved),
            "bytes": sum(study.size or 0 for study in retrieved),
        },
    }
    lines: Iterable[str] = (
        json.dumps(
            {
                name: named(study.study_instance_uid),
                "outcome": study.outcome.value,
                "instances": study.instances,
                "bytes": study.size,
            }
        )
        for study in studies
    )
    listed = ",\n    ".join(sorted(lines) if in_order_of_name else lines)
    first = json.dumps({**head, **counts}, indent=2, ensure_ascii=False).removesuffix("\n}")
    return f'{first},\n  "studies": [\n    {listed}\n  ]\n}}\n' if listed else f'{first},\n  "studies": []\n}}\n'
