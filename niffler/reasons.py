"""An outcome and its detail → a reason that names no patient, and what to do about it."""

import re
from dataclasses import dataclass

from niffler.status import in_words
from niffler.vocabulary import Outcome


@dataclass(frozen=True, slots=True, order=True)
class Reason:
    """Why rows have no good answer, in words that many rows share, and what to do about it."""

    text: str
    remedy: str


_ANOTHER_AE = "received by another AE, counts as the PACS told them; "
_OF_SEVERAL = re.compile(r"\d+ of \d+ studies are not complete; (?:study [0-9.]+: )?")
_BUSY = "try again at a quieter time; ask the PACS team if it stays"
_READ_DETAIL = "read Detail of these rows in the outcomes file"
_MISSING = "run the unfinished rows again later; if it stays, the PACS has not all that it lists: ask its team"
_REMEDY_OF_STATUS = {
    0x0124: "ask the PACS team to let your AE title query and retrieve",
    0xA801: "ask the PACS team to enter DestAet with this machine's address and port as a move destination",
    0xA701: _BUSY,
    0xA702: f"is the port of QueryAet open for the PACS? Else {_BUSY}",
    0xA700: _BUSY,
    0xB000: "run the unfinished rows again later; the PACS's own log says why it could not send some images",
}

# Only what stands here is ever shown: a detail can quote a patient's values or the PACS's own words. What a pattern
# puts into its text is a keyword or a number of ours, found before any quoted value begins.
_INVALID = (
    (r"line \d+: column (\d+) \((\w+)\) is empty", "{1} is empty", "fill in column {0} of these rows"),
    (r"line \d+: (\w+) '.*' was damaged by a spreadsheet", "{0} was damaged by a spreadsheet",
     "export the column as text"),
    (r"line \d+: (\w+) '.*' holds a control character", "{0} holds a control character or line break",
     "is a quotation mark missing? Correct the cells"),
    (r"line \d+: (\w+) '.*' holds a DICOM wildcard or list separator", "{0} holds a wildcard (* ? \\)",
     "correct the cells, or set AllowWildcards if it is meant"),
    (r"line \d+: (\w+) '.*' holds a wildcard", "{0} holds a wildcard, which it cannot",
     "ask by the whole value"),
    (r"line \d+: (\w+) '.*' (?:would match|has a part that would match) everything", "{0} would match everything",
     "such a value is never sent; correct the cells"),
    (r"line \d+: AccessionNumber '.*' is longer than", "AccessionNumber is too long",
     "is the century written in it? See LongAccession"),
    (r"line \d+: (\w+) '.*' (?:is longer than|has a value longer than)", "{0} is too long",
     "is it the right column? Correct the cells"),
    (r"line \d+: (\w+) '.*' is not of the form of", "{0} is not of its form", "is it the right column?"),
    (r"line \d+: (\w+) '.*' is not a date", "{0} is not a date as DateFormat says", "see DateFormat"),
    (r"line \d+: (\w+) '.*' is not written as", "{0} is not written as DateFormat says", "see DateFormat"),
    (r"line \d+: (\w+) '.*' is not a month", "{0} is not a month", "write it as YYYYMM or YYYY-MM"),
    (r"line \d+: (\w+) '.*' can be read as", "{0} can be read as a month and as a date", "write it as YYYY-MM"),
    (r"line \d+: (\w+) '.*' is no name", "{0} is no name", "correct the cells"),
)  # fmt: skip
_REFUSED = (
    (r"\d+ matches, none as asked: the PACS answered without (\w+)", "the PACS answers without {0}",
     "it does not know that key; ask by another"),
    (r"\d+ matches, none as asked: (\w+) was asked as", "the PACS answered with another {0}",
     "correct the rows, or ask by another key; Detail in the outcomes file has both values"),
    (r"more than \d+ (?:studies match|matches)", "too many studies match",
     "ask by another key as well, or see MaxStudiesPerRow"),
    (r"the PACS gives study [0-9.]+ to more than one patient", "the PACS gives a study to more than one patient",
     "ask the PACS team which of them is right"),
)  # fmt: skip
_FAILED = (
    (r"C-\w+: .*, but no image was sent", "the PACS says that all went well, but sent no image",
     "are the images on a slower archive or gone? Ask the PACS team"),
    (r"C-\w+: status 0000H, .*failed", "some images failed, although the PACS calls it a success", _MISSING),
    (r"the PACS announced \d+ instances and sent", "the PACS sent fewer images than it announced", _MISSING),
    (r"the PACS announced \d+ instances when it was asked again", "the study grew while it was retrieved",
     "run the unfinished rows again"),
    (r"the PACS announced \d+ instances, \d+ are on disk, \d+ carry another PatientID",
     "images came with another PatientID", "ask the PACS team; they are listed as unrequested"),
    (r"the PACS announced \d+ instances, \d+ are on disk", "fewer images arrived than the PACS announced", _MISSING),
    (r"the PACS counted \d+ instances as sent", "fewer images arrived than the PACS says it sent", _MISSING),
    (r"the PACS ended with \d+ instances that it had not sent", "the PACS ended before it had sent all", _MISSING),
    (r"C-\w+: A-ASSOCIATE-RJ", "the PACS refused the association",
     "may your AE title query and retrieve there? Ask the PACS team"),
    (r"C-\w+: (?:A-ABORT|.*No Presentation Context)", "the PACS broke off the association",
     "may your AE title query and retrieve there? Else run the unfinished rows again later"),
    (r"C-\w+: (?:\d+:DIMSE-RSP timeout expired|.* said nothing for)", "the PACS did not answer in time",
     "run the unfinished rows again later; see RetrieveTimeoutSeconds and ResponseTimeoutSeconds"),
    (r"C-\w+: ", "the association broke", "run the unfinished rows again later; Detail says how it broke"),
)  # fmt: skip
_PATTERNS = {
    outcome: tuple((re.compile(pattern, re.DOTALL), text, remedy) for pattern, text, remedy in patterns)
    for outcome, patterns in (
        (Outcome.INVALID, _INVALID),
        (Outcome.REFUSED, _REFUSED),
        (Outcome.FAILED, _FAILED),
        (Outcome.PARTIAL, _FAILED),
    )
}
_STATUS = re.compile(r"C-(FIND|MOVE): status ([0-9A-F]{4})H, ")
_NOT_FOUND = Reason(
    "the PACS has no such study", "check the values and the kind of identifier; is the study in another archive?"
)
_PENDING = Reason("not come to yet", "start the same command again")


def reason_of(outcome: Outcome, detail: str) -> Reason | None:
    """The reason of a row that has no good answer; None for one that has."""
    match outcome:
        case Outcome.RETRIEVED | Outcome.FOUND:
            return None
        case Outcome.NOT_FOUND:
            return _NOT_FOUND
        case Outcome.PENDING:
            return _PENDING
    told = _OF_SEVERAL.sub("", detail.removeprefix(_ANOTHER_AE), count=1).removeprefix(_ANOTHER_AE)
    status = _STATUS.match(told)
    if status and (code := int(status.group(2), 16)):
        remedy = _REMEDY_OF_STATUS.get(code, "the PACS gives no better reason; its own log does")
        return Reason(f"C-{status.group(1)}: {in_words(code)}", remedy)
    for pattern, text, remedy in _PATTERNS[outcome]:
        if found := pattern.match(told):
            return Reason(text.format(*found.groups()), remedy.format(*found.groups()))
    return Reason("another reason", _READ_DETAIL)
