"""The command line as DCM4CHE reads it: POSIX options, with values that take all words up to the next option."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from niffler.embedded.errors import ToolError, UsageError


@dataclass(frozen=True)
class Option:
    """One option: its names without dashes, and the name of its value (``...`` at the end: one or more of them)."""

    names: tuple[str, ...]
    value_name: str
    meaning: str

    @property
    def takes_value(self) -> bool:
        """Whether a value follows."""
        return bool(self.value_name)

    @property
    def takes_several(self) -> bool:
        """Whether all words up to the next option are its values."""
        return self.value_name.endswith("...")


def option(names: str, value_name: str, meaning: str) -> Option:
    """An option from its names, separated by commas."""
    return Option(tuple(names.split(",")), value_name, meaning)


COMMON_OPTIONS = (
    option("h,help", "", "display this help and exit"),
    option("V,version", "", "output version information and exit"),
    option("not-async", "", "one request at a time, which is all that the embedded tools do"),
    option("idle-timeout", "ms", "abort an association on which nothing happens"),
    option("send-timeout", "ms", "wait so long at most for a request to be sent"),
    option("release-timeout", "ms", "wait so long at most for A-RELEASE-RP"),
)


@dataclass
class Words:
    """The command line, taken apart: values by the option's first name, and the words that belong to no option."""

    values: dict[str, list[str]] = field(default_factory=dict)
    positional: list[str] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def value(self, name: str) -> str | None:
        """The option's first value, as DCM4CHE reads an option given twice; None where it was not given."""
        given = self.values.get(name)
        return given[0] if given else None

    def every(self, name: str) -> list[str]:
        """All values of an option."""
        return self.values.get(name, [])

    def number(self, name: str) -> int:
        """A whole number, 0 where the option was not given."""
        given = self.value(name)
        return 0 if given is None else whole_number(given)

    def seconds(self, name: str) -> float | None:
        """A time given in milliseconds; None where it was not given or is 0, which waits for ever."""
        milliseconds = self.number(name)
        return milliseconds / 1000 if milliseconds > 0 else None


def whole_number(text: str) -> int:
    """The number that a text holds; ToolError in Java's words where it holds none."""
    try:
        return int(text)
    except ValueError:
        raise ToolError(f'For input string: "{text}"') from None


def parse(arguments: Sequence[str], options: Sequence[Option]) -> Words:
    """Take a command line apart. Raises UsageError for an option that is unknown or lacks its value.

    Long options can be shortened while they stay unambiguous and take their value after ``=``; short ones take it
    without a blank, too. ``--`` ends the options.
    """
    by_name = {name: known for known in options for name in known.names}
    words = Words()
    rest = iter(arguments)
    pending = next(rest, None)
    while pending is not None:
        if pending == "--":
            words.positional.extend(rest)
            break
        if not pending.startswith("-") or pending == "-":
            words.positional.append(pending)
            pending = next(rest, None)
            continue
        known, attached = _recognise(pending, by_name)
        values = words.values.setdefault(known.names[0], [])
        pending = next(rest, None)
        if not known.takes_value:
            continue
        taken = [] if attached is None else [attached]
        while pending is not None and (known.takes_several or not taken) and not _is_option(pending, by_name):
            taken.append(pending)
            pending = next(rest, None)
        if not taken:
            raise UsageError(f"Missing argument for option: {known.names[0]}")
        values.extend(taken)
    return words


def help_text(usage: str, purpose: str, options: Sequence[Option]) -> str:
    """What ``--help`` prints."""
    return "\n".join([f"usage: {usage}", "", purpose, "", "Options:", *_option_lines(options)])


def _recognise(word: str, by_name: Mapping[str, Option]) -> tuple[Option, str | None]:
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        candidates = [name] if name in by_name else sorted(known for known in by_name if known.startswith(name))
        candidates = [known for known in candidates if len(known) > 1]
        if len(candidates) > 1:
            raise UsageError(f"Ambiguous option: '--{name}'  (could be: {str(candidates)[1:-1]})")
        if candidates:
            return by_name[candidates[0]], value if equals else None
    elif word[1:2] in by_name:
        known = by_name[word[1]]
        if known.takes_value or len(word) == 2:
            return known, word[2:].removeprefix("=") or None
    raise UsageError(f"Unrecognized option: {word}")


def _is_option(word: str, by_name: Mapping[str, Option]) -> bool:
    # A value may start with a dash where no option does, as in --cancel -5.
    return word == "--" or (word.startswith("-") and word.lstrip("-").partition("=")[0] in by_name)


def _option_lines(options: Sequence[Option]) -> Iterator[str]:
    for known in sorted(options, key=lambda each: each.names[0].lower()):
        dashed = ",".join(f"-{name}" if len(name) == 1 else f"--{name}" for name in known.names)
        value = f" <{known.value_name}>" if known.takes_value else ""
        yield f"  {dashed + value:<34} {known.meaning}"
