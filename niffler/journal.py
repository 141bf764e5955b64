"""The journal of a checkpoint: what became complete or was taken back since ledger and pickle were written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from niffler.errors import WrongInputError
from niffler.ledger import Record


@dataclass(frozen=True)
class JournalLine:
    """One step: entries that became complete, entries that were taken back, and what is recorded of them."""

    entries: Sequence[str]
    withdrawn: Sequence[str]
    records: Sequence[Record]
    output_size: int | None

    def apply(self, entries: dict[str, None]) -> None:
        """Bring entries up to date."""
        entries.update(dict.fromkeys(self.entries))
        for entry in self.withdrawn:
            entries.pop(entry, None)


def read_journal(path: Path) -> list[JournalLine]:
    """The lines of a journal, none where there is no file; raises WrongInputError where it cannot be read."""
    lines: list[JournalLine] = []
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WrongInputError(f"{path}: cannot be read: {error.strerror}; mend its rights") from None
    for line in content.split(b"\n")[:-1]:  # what follows the last line end is torn, or nothing
        try:
            told = json.loads(line)
            entries = [str(entry) for entry in told.get("entries", ())]
            withdrawn = [str(entry) for entry in told.get("withdrawn", ())]
            records = [Record(*values) for values in told.get("records", ())]
            size = told.get("output_size")
        except (ValueError, TypeError, AttributeError):
            break  # a power cut can leave blocks of zeros; what was flushed before them is whole
        lines.append(JournalLine(entries, withdrawn, records, size if isinstance(size, int) else None))
    return lines


def missing_in(ledger: Sequence[Record], journal: Sequence[JournalLine]) -> list[Record]:
    """The records of a journal that its ledger has not: the journal is emptied last, so some may stand in both."""
    added = [record for line in journal for record in line.records]
    requests = {record.request for record in added}
    known = {record for record in ledger if record.request in requests} if requests else set()
    return [record for record in without_settled(added) if record not in known]


def without_settled(records: Sequence[Record]) -> list[Record]:
    """Leave out the records of only studies whose requests were complete later, as a record of their own says."""
    complete = {(record.request, record.study_instance_uid, record.finished) for record in records if record.studies}
    return [
        record
        for record in records
        if record.studies or (record.request, record.study_instance_uid, record.finished) not in complete
    ]
