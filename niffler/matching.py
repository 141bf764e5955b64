"""Whether a match is what was asked for; PACS exist that ignore keys they do not support."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from niffler.keywords import vr_of
from niffler.vocabulary import Disagreement, Match

_RANGE = re.compile(r"(\d{8})-(\d{8})")
_DAY = re.compile(r"\d{8}")
_UID = re.compile(r"[0-9.]{1,64}")

# At STUDY level Modality is a key of the series below; PS3.4 C.3.4 has ModalitiesInStudy for it.
STUDY_LEVEL_NAME = {"Modality": "ModalitiesInStudy"}


def disagreement(keys: Mapping[str, str], match: Match) -> Disagreement | None:
    """The first key that the match does not carry as asked, or None where all agree.

    Equal means: without padding, without letter case for person names only, one of the values where the
    answer has several, within the range where a range was asked (PS3.4 C.2.2.2).
    """
    for keyword, asked in keys.items():
        answered = match.attributes.get(keyword, ())
        if not any(_agrees(vr_of(keyword), asked, value) for value in answered):
            return Disagreement(keyword, asked, "\\".join(answered))
    return None


def is_uid(value: str) -> bool:
    """Whether a UID that a PACS answered can be asked for by itself: no list, no wildcard, not empty."""
    return _UID.fullmatch(value) is not None


def _agrees(vr: str, asked: str, answered: str) -> bool:
    answered = answered.strip(" \0")
    if not answered:
        return False
    if "\\" in asked:
        return any(_agrees(vr, one, answered) for one in asked.split("\\"))
    if vr == "DA":
        day = answered.replace(".", "")  # the form before 1993, PS3.5 table 6.2-1
        if not _DAY.fullmatch(day):
            return False
        limits = _RANGE.fullmatch(asked)
        return limits[1] <= day <= limits[2] if limits else day == asked
    if vr == "PN":
        return any(_name(asked) in (_name(answered), _name(group)) or _alike(_name(asked), _name(group))
                   for group in answered.split("="))  # fmt: skip
    if vr in ("IS", "DS"):
        return _number(asked) == _number(answered)
    if vr == "TM":
        return asked.partition(".")[0] == answered.partition(".")[0] and _fraction(asked) == _fraction(answered)
    return asked == answered or _alike(asked, answered)


def _alike(asked: str, answered: str) -> bool:
    """Wildcard matching (PS3.4 C.2.2.2.4), where the request was allowed to hold wildcards."""
    if not re.search(r"[*?]", asked):
        return False
    return fnmatchcase(answered, asked.replace("[", "[[]"))


def _name(value: str) -> str:
    return "^".join(part.strip() for part in value.split("^")).rstrip("^=").casefold()


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def _fraction(value: str) -> str:
    return value.partition(".")[2].rstrip("0")
