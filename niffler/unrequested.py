"""The images that nobody asked for: a file beside the list says where they lie, and why each counts for no row."""

import csv
from pathlib import Path

from niffler.errors import WrongInputError
from niffler.files import cannot_write, csv_chunks, write_csv

_HEADER = ("Path", "Reason")


class Unrequested:
    """Those of a run and, where it continues, of the runs before it that still lie there."""

    def __init__(self, modified_csv: Path, *, continues: bool) -> None:
        """Raises WrongInputError where the file of earlier runs cannot be read."""
        self.path = unrequested_csv(modified_csv)
        self._noted = _read(self.path) if continues else {}
        self._new: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, path: str, reason: str) -> None:
        """Such an image has come; it is on record when ``commit`` returns."""
        self._new[path] = reason

    def replaced(self, path: str) -> None:
        """An image that was asked for has taken this place."""
        self._noted.pop(path, None)
        self._new.pop(path, None)

    def commit(self) -> None:
        """Add the new ones to the file at once: a run that is killed must not forget them."""
        if not self._new:
            return
        try:
            with self.path.open("a", encoding="utf-8", newline="") as stream:
                for chunk in csv_chunks([*([_HEADER] if stream.tell() == 0 else []), *self._new.items()]):
                    stream.write(chunk)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self._noted |= self._new
        self._new.clear()

    def write(self) -> None:
        """Write the file anew, without those that were replaced; no file where there are none."""
        if self._noted:
            write_csv(self.path, [_HEADER, *self._noted.items()])
        else:
            self.path.unlink(missing_ok=True)


def unrequested_csv(modified_csv: Path) -> Path:
    """The file with their paths."""
    return modified_csv.with_name(f"{modified_csv.name}.unrequested.csv")


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))[1:]
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WrongInputError(f"{path}: cannot be read: {error}; move it away, then start again") from None
    return {row[0]: row[1] for row in rows if len(row) == len(_HEADER) and Path(row[0]).exists()}
