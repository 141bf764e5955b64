"""C-FIND matching as PS3.4 C.2.2.2 describes it, for one key and the values an archive stores."""

import re
from collections.abc import Iterable, Iterator

from pydicom.dataelem import DataElement

_WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_RANGE_VRS = frozenset({"DA", "TM", "DT"})


def values_of(element: DataElement | None) -> tuple[str, ...]:
    """The values of an element as text without padding; none where it is absent or empty."""
    if element is None or element.VR == "SQ" or element.value is None:
        return ()
    value = element.value
    several = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else None
    # PersonName is iterable too, but over its characters.
    items: Iterable[object] = several if several is not None and element.VM > 1 else [value]
    return tuple(text for text in (str(item).strip(" \0") for item in items) if text)


def is_universal(key: DataElement) -> bool:
    """Whether a key asks for the attribute without restricting it (PS3.4 C.2.2.2.3)."""
    return all(value.strip("*") == "" and key.VR in _WILDCARD_VRS for value in values_of(key))


def matches(key: DataElement, stored: tuple[str, ...]) -> bool:
    """Whether any of the stored values satisfies the key; a list of keys is satisfied by any of them."""
    if is_universal(key):
        return True
    return any(_matches_one(key.VR, wanted, value) for wanted in values_of(key) for value in stored)


def _matches_one(vr: str, wanted: str, value: str) -> bool:
    if vr in _RANGE_VRS and "-" in wanted:
        first, _, last = wanted.partition("-")
        return (not first or first <= value) and (not last or value[: len(last)] <= last)
    if vr == "PN":
        wanted, value = wanted.casefold().rstrip("^"), value.casefold().rstrip("^")
    if vr in _WILDCARD_VRS and ("*" in wanted or "?" in wanted):
        return re.fullmatch("".join(_as_expression(wanted)), value, re.DOTALL) is not None
    return wanted == value


def _as_expression(wanted: str) -> Iterator[str]:
    for character in wanted:
        yield {"*": ".*", "?": "."}.get(character, re.escape(character))


def exact_values_of(key: DataElement | None) -> tuple[str, ...]:
    """The values of a key that can be looked up as they are; none where it has a wildcard or asks for anything."""
    values = values_of(key)
    return () if any("*" in value or "?" in value for value in values) else values
