"""One CSV cell → the value sent for its DICOM keyword, or the reason why it cannot be sent."""

import calendar
import re
from collections.abc import Callable
from datetime import date, datetime

from niffler.errors import CellError
from niffler.keywords import vr_of

# PS3.5 table 6.2-1: characters at most; PN counts per component group, the rest per value.
_LONGEST = {"AE": 16, "AS": 4, "CS": 16, "DS": 16, "IS": 12, "LO": 64, "PN": 64, "SH": 16, "ST": 1024, "LT": 10240,
            "TM": 14, "DT": 26, "UI": 64}  # fmt: skip
_FORMS = {
    "UI": (re.compile(r"[0-9]+(\.[0-9]+)*"), "digits and single dots"),
    "TM": (re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?", re.ASCII), "HHMMSS"),
    "DT": (re.compile(r"\d{4}(\d{2}){0,5}(\.\d{1,6})?([+-]\d{4})?", re.ASCII), "YYYYMMDDHHMMSS"),
    "AS": (re.compile(r"\d{3}[DWMY]", re.ASCII), "nnnY"),
    "IS": (re.compile(r"[+-]?\d+", re.ASCII), "a whole number"),
    "DS": (re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII), "a number"),
}
_FORMS |= dict.fromkeys(("US", "UL", "SS", "SL", "UV", "SV"), _FORMS["IS"])
_FORMS |= dict.fromkeys(("FL", "FD"), _FORMS["DS"])
# No text of XML 1.0 either, in which findscu takes its queries.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_SPREADSHEET = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d+|#(?:N/A|REF!|VALUE!|NAME\?|NUM!|DIV/0!|NULL!|#+)", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?\\]")
_PLAIN = re.compile(r"[A-Za-z0-9 ._^/+:=,&'()-]+")
_YEARS = range(1900, 2200)
"""Of studies; 120112 is then no December of the year 1201."""
_MONTH_FORMS = ("%Y%m", "%Y-%m", "%Y-%m-%d")


def cell_reader(
    keyword: str, *, months: bool, date_format: str, long_accession: bool, allow_wildcards: bool
) -> Callable[[str], str]:
    """A function that turns a stripped cell of this keyword's column into the value to be sent.

    The function raises CellError with the reason where it cannot. Answers are remembered for dates only, of
    which a list has few different ones.
    """
    vr = vr_of(keyword)
    if months:
        return _remembering(lambda cell: _month_range(cell, date_format))
    if vr == "DA":
        return _remembering(lambda cell: _date(cell, date_format))
    longest = _LONGEST.get(vr, 64)
    form = _FORMS.get(vr)
    shortens = long_accession and keyword == "AccessionNumber"
    may_be_plain = form is None and vr != "PN"

    def read(cell: str) -> str:
        if shortens and len(cell) > 16:
            # A long accession number writes its year YYYY from the eighth character on; PACS know it as YY.
            cell = cell[:7] + cell[9:]
        if may_be_plain and len(cell) <= longest and _PLAIN.fullmatch(cell) and "+" not in cell:
            return cell
        _refuse_damage(cell)
        if vr == "PN" and not cell.strip("^= "):
            raise CellError("is no name, only the separators of one")
        if _WILDCARD.search(cell):
            return _wildcard(cell, vr, longest, allow_wildcards)
        if max(map(len, cell.split("=") if vr == "PN" else [cell])) > longest:
            hint = ""
            if keyword == "AccessionNumber":
                hint = ", even without its century" if shortens else " (is it a long one? see LongAccession)"
            raise CellError(f"is longer than the {longest} characters that {keyword} can have{hint}")
        if form is not None and not form[0].fullmatch(cell):
            raise CellError(f"is not of the form of {keyword}: {form[1]}")
        return cell

    return read


def _refuse_damage(cell: str) -> None:
    if _CONTROL.search(cell):
        raise CellError("holds a control character or line break; is a quotation mark missing?")
    if _SPREADSHEET.fullmatch(cell):
        raise CellError("was damaged by a spreadsheet; export the column as text")


def _wildcard(cell: str, vr: str, longest: int, allowed: bool) -> str:
    if not allowed:
        raise CellError("holds a DICOM wildcard or list separator (* ? \\); set AllowWildcards to send it")
    matches_anything = "*? ^=" if vr == "PN" else "*? "
    if not cell.strip("\\" + matches_anything):
        raise CellError("would match everything and is never sent")
    values = cell.split("\\")
    if any(not value.strip(matches_anything) for value in values):
        raise CellError("has a part that would match everything and is never sent")
    if any(len(value) > longest for value in values):
        raise CellError(f"has a value longer than {longest} characters")
    if vr in _FORMS and (vr != "UI" or not all(_FORMS["UI"][0].fullmatch(value) for value in values)):
        raise CellError(f"holds a wildcard, which DICOM does not know for values of type {vr}")
    return cell


def _date(cell: str, date_format: str) -> str:
    _refuse_damage(cell)
    parsed = _parsed(cell, date_format)
    if parsed is None:
        raise CellError(f"is not a date of the form {date_format}; see DateFormat")
    written = parsed.strftime(date_format)
    if written != cell:
        # Python reads 202011 with %Y%m%d as 1 January 2020: a guess that must not choose a patient's study.
        raise CellError(f"is not written as {date_format} writes it ({written}); see DateFormat")
    return _yyyymmdd(parsed)


def _month_range(cell: str, date_format: str) -> str:
    _refuse_damage(cell)
    months = set()
    for form in (*_MONTH_FORMS, date_format):
        parsed = _parsed(cell, form)
        if parsed is not None and parsed.strftime(form) == cell and parsed.year in _YEARS:
            months.add(parsed.replace(day=1))
    if not months:
        raise CellError(f"is not a month: YYYYMM, YYYY-MM, YYYY-MM-DD or {date_format}")
    if len(months) > 1:
        raise CellError(f"can be read as YYYYMM and as {date_format}; write it as YYYY-MM")
    [first] = months
    last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
    return f"{_yyyymmdd(first)}-{_yyyymmdd(last)}"


def _parsed(cell: str, form: str) -> date | None:
    try:
        return datetime.strptime(cell, form).date()
    except (ValueError, OverflowError, re.error):
        return None


def _yyyymmdd(day: date) -> str:
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"  # strftime("%Y") leaves out leading zeros on Linux


def _remembering(read: Callable[[str], str]) -> Callable[[str], str]:
    known: dict[str, str] = {}

    def recall(cell: str) -> str:
        value = known.get(cell)
        if value is None:
            value = known[cell] = read(cell)
        return value

    return recall
