"""What a user can meet and what the README says about it are the same messages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from niffler import status
from tests.messages import HOLE, ROOT, Message, has_words, messages_in

QUOTED = "what the PACS or a tool says"
"""The header of the table with words that are not Niffler's own; Niffler knows them all the same."""
KNOWS_WORDS_OF_OTHERS = ("printed", "reasons", "status")
STATUS_WORDS = {status.in_words(code) for code in range(0xFFFF)}


def sources() -> Iterator[Path]:
    """The files whose messages a user can meet."""
    yield from (ROOT / "ColdDataRetriever.py", ROOT / "TestConnection.py")
    yield from (path for path in sorted((ROOT / "niffler").rglob("*.py")) if "embedded" not in path.parts)


MESSAGES = {
    message
    for path in sources()
    for message in messages_in(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
}


def entries(readme: str) -> dict[str, set[str]]:
    """The messages that the troubleshooting section lists, by the header of their table's first column."""
    section = readme.partition("\n## Troubleshooting\n")[2].partition("\n## ")[0]
    found: dict[str, set[str]] = {}
    header = ""
    for before, line in zip(["", *section.splitlines()], section.splitlines(), strict=False):
        cell = line.removeprefix("|").partition("|")[0]
        if line.startswith("|---"):
            header = before.removeprefix("|").partition("|")[0].strip()
            found.setdefault(header, set())
        elif line.startswith("| `"):
            found[header].update(re.findall("`([^`]+)`", cell))
    return found


LISTED = entries((ROOT / "README.md").read_text(encoding="utf-8"))
OWN = {entry for header, listed in LISTED.items() if header != QUOTED for entry in listed}


def covers(entry: str, text: str) -> bool:
    """Whether an entry is about a message: … stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, entry.split(HOLE))), text, re.DOTALL) is not None


def without_entry(messages: set[Message], listed: set[str]) -> list[str]:
    """The messages that no entry is about, each with where it is made."""
    return [
        f"{message.place}: {message.text}"
        for message in sorted(messages, key=lambda one: (one.place, one.text))
        if not any(covers(entry, message.text) for entry in listed)
    ]


def without_message(messages: set[Message], listed: set[str]) -> list[str]:
    """The entries that are about no message."""
    return [entry for entry in sorted(listed) if not any(covers(entry, message.text) for message in messages)]


def test_messages_are_found_wherever_they_are_made() -> None:
    source = """
def check():
    logging.warning("one: %s", why)
    raise GaveUpError(f"two {folder}: " f"{'mend' if broken else 'make'} it")
def fault_of(key):
    detail = "five" if key else ""
    faults.append("six")
    yield key, "seven"
    return RowResult(detail=text)
def other():
    text = "eight"
    return RowResult(detail=text)
def well():
    logging.info("not this")
"""
    texts = {message.text for message in messages_in(source, "a.py")}
    assert texts == {"one: …", "two …: mend it", "two …: make it", "five", "six", "seven", "eight"}


def test_rows_settings_log_looks_and_tools_are_looked_through() -> None:
    modules = {message.place.partition(":")[0] for message in MESSAGES}
    rooms = {"verdict", "cell", "settings_faults", "vocabulary", "looks/verify", "dcm4che", "echo"}
    assert {"ColdDataRetriever.py", "TestConnection.py", *(f"niffler/{room}.py" for room in rooms)} <= modules


def test_every_message_has_an_entry_in_the_troubleshooting_of_the_readme() -> None:
    missing = without_entry(MESSAGES, OWN)
    assert not missing, "no entry in the README's troubleshooting:\n" + "\n".join(missing)


def test_every_entry_of_the_troubleshooting_is_about_a_message() -> None:
    stale = without_message(MESSAGES, OWN)
    assert not stale, "nothing says this any more:\n" + "\n".join(stale)


def test_no_entry_stands_for_everything() -> None:
    assert [entry for entry in OWN if not has_words(entry)] == []


def test_every_status_that_niffler_knows_has_an_entry() -> None:
    words = {words.partition(", ")[2] for words in STATUS_WORDS} - {"success", "cancelled"}
    listed = {entry.partition("H, ")[2] for entry in LISTED[QUOTED] if entry.startswith("status ")}
    assert listed <= words
    assert words - listed == set()


def test_niffler_knows_the_words_of_others_that_are_listed() -> None:
    known = "\n".join(
        node.value
        for name in KNOWS_WORDS_OF_OTHERS
        for node in ast.walk(ast.parse((ROOT / "niffler" / f"{name}.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    assert [one for one in LISTED[QUOTED] if not one.startswith("status ") and one not in known] == []


@pytest.mark.parametrize("entry", ["one … three", "one…"])
def test_an_entry_whose_message_is_gone_and_a_message_without_entry_are_told(entry: str) -> None:
    assert without_message({Message("two", "a.py:1")}, {entry}) == [entry]
    assert without_entry({Message("two", "a.py:1")}, {entry}) == ["a.py:1: two"]
    assert without_entry({Message("one … three", "a.py:1")}, {entry}) == []
