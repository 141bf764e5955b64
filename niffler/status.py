"""DIMSE status codes in words (PS3.4 C.4.1.1.4 and C.4.2.1.5, PS3.7 annex C)."""

import re

_NO_BRACKETS = str.maketrans("()", "[]")
_WORDS = {
    0x0000: "success",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0112: "no such SOP instance",
    0x0117: "invalid object instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA700: "out of resources",
    0xA701: "out of resources, the PACS cannot count the matches",
    0xA702: "out of resources, the PACS cannot send the images",
    0xA801: "the PACS does not know the move destination",
    0xA900: "the identifier does not fit the SOP class",
    0xB000: "some images failed",
    0xFE00: "cancelled",
}


def in_words(status: int, comment: str = "") -> str:
    """A status as a person reads it: the code in hexadecimal, what it means, what the PACS added."""
    words = _WORDS.get(status)
    if words is None:
        words = "unable to process" if 0xC000 <= status <= 0xCFFF else "a status that the standard does not define"
    said = comment.translate(_NO_BRACKETS)
    return f"status {status:04X}H, {words}" + (f" (the PACS says: {said})" if said else "")


def without_comments(text: str) -> str:
    """The same without what the PACS added, which may name patients and is not for a log or an email."""
    return re.sub(r" \(the PACS says: [^()]*\)", "", text)
