"""The checkpoint: a pickled list of strings, its journal, and the ledger of what was verified."""

import contextlib
import io
import json
import os
import pickle
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from niffler.errors import WrongInputError
from niffler.files import cannot_write, flush_folder, write_atomically
from niffler.journal import missing_in, read_journal, without_settled
from niffler.ledger import Record, header_line, read_ledger, record_lines
from niffler.shards import Shard, other_splits


@dataclass(frozen=True)
class Verified:
    """What a checkpoint says is complete."""

    entries: dict[str, None]
    records: Sequence[Record]


def read_verified(base: Path) -> Verified:
    """Read the checkpoint of a run that may be writing it, without a change to it; no pickle, nothing complete.

    What moves meanwhile goes from the journal to the ledger and the pickle; in this order nothing is missed.
    """
    if not _pickle_of(base).exists():
        return Verified({}, ())
    journal = read_journal(_journal_of(base))
    records = read_ledger(ledger_of(base), being_written=True)
    entries = dict.fromkeys(_read_pickle(_pickle_of(base)))
    for line in journal:
        line.apply(entries)
    return Verified(entries, records + missing_in(records, journal))


def read_other_splits(whole: Path, shard: Shard | None, *, are_outputs: bool = False) -> list[Verified]:
    """Read the checkpoints of a list in every split but that of this shard.

    Where they ``are_outputs`` what is complete stands in the file that each is named after, and that has to be there.
    """
    others = {base: read_verified(base) for base in other_splits(whole, shard)}
    if are_outputs:
        for base, verified in others.items():
            if verified.entries:
                _size(base, _pickle_of(base))
    return list(others.values())


class Checkpoint:
    """What is verified complete. An entry is recorded for good when ``record`` returns.

    ``<base>.pickle`` is rewritten by ``save``; between two writes each completion is a line of
    ``<base>.pickle.journal``, flushed to disk. ``<base>.studies.csv`` is the ledger.
    """

    def __init__(self, base: Path, *, output: Path | None = None, rebuilds: bool = False) -> None:
        """Open the checkpoint of a list; ``output`` is a file whose length is recorded with each entry.

        ``rebuilds`` says that a ledger without its pickle is wanted: it has to be verified before it counts.
        """
        self.path = _pickle_of(base)
        self.ledger_path = ledger_of(base)
        self._journal_path = _journal_of(base)
        self._output = output
        self._unsaved: list[Record] = []
        self.entries: dict[str, None] = {}
        self.records: list[Record] = []
        self.recorded_output_size: int | None = None
        self.continues = self.path.exists()
        if self.continues or rebuilds:
            self.entries = dict.fromkeys(_read_pickle(self.path)) if self.continues else {}
            _cut_torn_line(self.ledger_path)
            self.records = read_ledger(self.ledger_path)
            self._merge_journal()
            if output is not None and self.recorded_output_size is None and self.entries:
                self.recorded_output_size = _size(output, self.path)  # an orderly end leaves no journal
        else:
            # Deleting the pickle starts from scratch: a journal or ledger without it belongs to the run before.
            self._journal_path.unlink(missing_ok=True)
            self.ledger_path.unlink(missing_ok=True)
        self._journal: BinaryIO | None = None

    def begin(self) -> None:
        """Write the pickle and a journal without lines; from here on completions can be recorded."""
        if not self.continues:
            try:
                _append(self.ledger_path, header_line())
            except OSError as error:
                raise cannot_write(self.ledger_path, error) from None
        self.save()

    def record(self, entries: Iterable[str], records: Iterable[Record]) -> None:
        """Record what is complete; on disk when this returns. Raises GaveUpError where the disk refuses."""
        new = list(dict.fromkeys(entry for entry in entries if entry not in self.entries))
        added = list(records)
        self._tell({"entries": new, "records": added})
        self.entries.update(dict.fromkeys(new))
        self._unsaved += added

    def take_back(self, entries: Iterable[str], records: Iterable[Record]) -> None:
        """Take entries out again, and record why; on disk when this returns. Raises GaveUpError where it refuses."""
        old = [entry for entry in entries if entry in self.entries]
        added = list(records)
        self._tell({"withdrawn": old, "records": added})
        self._unsaved += added
        for entry in old:
            del self.entries[entry]

    def _tell(self, line: dict[str, object]) -> None:
        """Add a line to the journal."""
        assert self._journal is not None, "begin() comes first"
        try:
            if self._output is not None:
                line["output_size"] = self._output.stat().st_size
            self._journal.write(json.dumps(line).encode() + b"\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
        except OSError as error:
            raise cannot_write(self._journal_path, error) from None

    def save(self) -> None:
        """Write ledger and pickle; the journal begins anew. Each step leaves a state that can be continued."""
        try:
            _append(self.ledger_path, record_lines(without_settled(self._unsaved)))
            self._unsaved = []
            write_atomically(self.path, pickle.dumps(list(self.entries)))
            if self._journal is not None:
                self._journal.close()
            self._journal = self._journal_path.open("wb")
            if self._output is not None and self._output.exists():
                self._journal.write(json.dumps({"output_size": self._output.stat().st_size}).encode() + b"\n")
                self._journal.flush()
            os.fsync(self._journal.fileno())
            flush_folder(self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def withdraw(self, entries: Collection[str], is_withdrawn: Callable[[Record], bool]) -> None:
        """Take out what is not complete after all, for good; call it before ``begin``.

        The journal goes first, as it would bring back what leaves. Then the pickle is written, which alone makes
        anything complete, and the ledger last.
        """
        try:
            _append(self.ledger_path, record_lines(without_settled(self._unsaved)))
            self._unsaved = []
            if self.continues:
                write_atomically(self.path, pickle.dumps(list(self.entries)))
            self._journal_path.unlink(missing_ok=True)
            flush_folder(self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self.entries = {entry: None for entry in self.entries if entry not in entries}
        self.records = [record for record in self.records if not is_withdrawn(record)]
        write_atomically(self.path, pickle.dumps(list(self.entries)))
        write_atomically(self.ledger_path, header_line() + record_lines(self.records))
        self.continues = True

    def close(self) -> None:
        """The orderly end: the pickle holds everything, and the journal goes."""
        self.save()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._journal_path.unlink(missing_ok=True)

    def _merge_journal(self) -> None:
        journal = read_journal(self._journal_path)
        for line in journal:
            line.apply(self.entries)
            if line.output_size is not None:
                self.recorded_output_size = line.output_size
        self._unsaved = missing_in(self.records, journal)
        self.records += self._unsaved


def _pickle_of(base: Path) -> Path:
    return base.with_name(f"{base.name}.pickle")


def ledger_of(base: Path) -> Path:
    """The ledger of a checkpoint."""
    return base.with_name(f"{base.name}.studies.csv")


def _journal_of(base: Path) -> Path:
    return base.with_name(f"{base.name}.pickle.journal")


def _size(output: Path, checkpoint: Path) -> int:
    try:
        return output.stat().st_size
    except OSError as error:
        raise WrongInputError(
            f"{output}: {error.strerror}, but {checkpoint.name} lists rows that are in it; put it back, or move "
            f"{checkpoint.name} away to start from scratch"
        ) from None


class _ListOfStrings(pickle.Unpickler):
    """An unpickler for plain values: whatever would import or call something is refused."""

    def find_class(self, module_name: str, global_name: str) -> object:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}")

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError("it refers to something outside")


def _read_pickle(path: Path) -> list[str]:
    remedy = "if it is not needed, move it away and the extraction starts from scratch"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WrongInputError(f"{path}: the checkpoint cannot be read: {error.strerror}; mend its rights") from None
    try:
        entries = _ListOfStrings(io.BytesIO(content)).load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise WrongInputError(
            f"{path}: the checkpoint cannot be read ({type(error).__name__}: {error}); {remedy}"
        ) from None
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise WrongInputError(f"{path}: the checkpoint is not a list of strings as Niffler writes it; {remedy}")
    return entries


def _cut_torn_line(path: Path) -> None:
    """Take away a last line without its end, left by a power cut; the journal still has what it said."""
    try:
        with path.open("rb+") as stream:
            end = size = stream.seek(0, os.SEEK_END)
            while end:
                start = max(0, end - 4096)
                stream.seek(start)
                line_end = stream.read(end - start).rfind(b"\n")
                if line_end >= 0:
                    end = start + line_end + 1
                    break
                end = start
            if end < size:
                stream.truncate(end)
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_write(path, error) from None


def _append(path: Path, text: str) -> None:
    if not text:
        return
    with path.open("ab") as stream:
        size = stream.seek(0, os.SEEK_END)
        try:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, size)  # half a line would spoil the next
            raise
