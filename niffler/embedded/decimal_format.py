"""The part of Java's DecimalFormat patterns that names of numbered files need."""

from dataclasses import dataclass

_SPECIAL = frozenset("0#,.;%\u2030E\u00a4-")


@dataclass(frozen=True)
class DecimalFormat:
    """Text before a whole number, the least number of its digits, and text after it."""

    before: str
    digits: int
    decimals: int
    after: str
    grouping: int

    def __call__(self, number: int) -> str:
        """The number as the pattern says."""
        written = f"{number:0{self.digits}d}" if number or self.digits else ""
        if self.grouping:
            first = len(written) % self.grouping
            groups = [written[:first]] if first else []
            groups += [written[start : start + self.grouping] for start in range(first, len(written), self.grouping)]
            written = ",".join(groups)
        fraction = "." + "0" * self.decimals if self.decimals else ""
        return f"{self.before}{written}{fraction}{self.after}"


def parse_decimal_format(pattern: str) -> DecimalFormat:
    """Read a pattern: literals, in quotes where they hold pattern characters, around ``#``, ``0``, ``,`` and ``.``.

    Percentages, exponents and a pattern of their own for negative numbers mean nothing in a file name:
    ValueError, as for any other pattern that Java would refuse.
    """
    affixes, number, quoted, position = ["", ""], "", False, 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        side = 1 if number else 0
        if character == "'":
            if pattern[position : position + 1] == "'":
                affixes[side] += "'"
                position += 1
            else:
                quoted = not quoted
        elif quoted or character not in _SPECIAL or character == "-":
            affixes[side] += character
        elif affixes[1] or character not in "0#,.":
            raise ValueError(f"Malformed pattern {_quoted(pattern)}")
        else:
            number += character
    whole, point, fraction = number.partition(".")
    digits = whole.replace(",", "")
    misplaced = "#" in digits.lstrip("#") or "0" in fraction.lstrip("0") or set(fraction) - set("0#")
    if misplaced or whole.endswith(",") or (point and not number.strip(".")):
        raise ValueError(f"Malformed pattern {_quoted(pattern)}")
    least = digits.count("0") if number else 1
    grouping = len(whole) - whole.rindex(",") - 1 if "," in whole else 0
    return DecimalFormat(affixes[0], least, fraction.count("0"), affixes[1], grouping)


def _quoted(pattern: str) -> str:
    return f'"{pattern}"'
