"""The images that nobody asked for stay known as long as they lie there."""

import csv
from pathlib import Path

import pytest

from niffler.errors import WrongInputError
from niffler.unrequested import Unrequested, unrequested_csv


@pytest.fixture
def modified(tmp_path: Path) -> Path:
    return tmp_path / "list_mod.csv"


def told(modified: Path) -> list[list[str]]:
    with unrequested_csv(modified).open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def noted(modified: Path, **reasons: str) -> Unrequested:
    """Images with these names in the folder, noted by one run."""
    unrequested = Unrequested(modified, continues=False)
    for name, reason in reasons.items():
        (modified.parent / name).touch()
        unrequested.note(str(modified.parent / name), reason)
    unrequested.commit()
    return unrequested


def test_what_was_noted_is_known_to_the_next_run_as_long_as_it_lies_there(modified: Path, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ('an "image".dcm', "two\nlines.dcm", "gone.dcm")]
    noted(modified, **{Path(names[0]).name: "why"})
    noted(modified, **{Path(names[1]).name: "why, then", Path(names[2]).name: "no more"})
    assert told(modified) == [["Path", "Reason"], [names[0], "why"], [names[1], "why, then"], [names[2], "no more"]]
    Path(names[2]).unlink()
    for _ in range(2):
        unrequested = Unrequested(modified, continues=True)
        assert len(unrequested) == 2
        unrequested.write()
        assert told(modified) == [["Path", "Reason"], [names[0], "why"], [names[1], "why, then"]]


def test_from_scratch_nothing_is_known(modified: Path) -> None:
    noted(modified, image="why")
    assert len(Unrequested(modified, continues=False)) == 0


def test_a_line_that_was_torn_is_no_image(modified: Path, tmp_path: Path) -> None:
    noted(modified, image="why")
    with unrequested_csv(modified).open("a") as stream:
        stream.write(str(tmp_path))
    assert len(Unrequested(modified, continues=True)) == 1


def test_one_whose_place_was_taken_is_none_any_more_and_without_any_there_is_no_file(
    modified: Path, tmp_path: Path
) -> None:
    unrequested = noted(modified, image="why")
    unrequested.note(str(tmp_path / "other"), "why")
    for name in ("image", "other"):
        unrequested.replaced(str(tmp_path / name))
    unrequested.commit()
    unrequested.write()
    assert not unrequested_csv(modified).exists()
    assert len(Unrequested(modified, continues=True)) == 0


def test_a_file_that_cannot_be_read_is_told(modified: Path) -> None:
    unrequested_csv(modified).write_bytes(b"Path,Reason\n\xff,why\n")
    with pytest.raises(WrongInputError, match=r"cannot be read: .*; move it away, then start again"):
        Unrequested(modified, continues=True)
