"""What the settings mean together: faults that no key shows by itself, each with its remedy."""

import difflib
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from niffler.addresses import Peer
from niffler.keywords import STUDY_MONTH, is_keyword, nearest_keyword, vr_of
from niffler.settings import PLACEHOLDER_EMAIL, ExtractionSettings, Mode, SystemSettings, fault_of_file_path

STYLESHEET = "description.csv.xsl"
_EXAMPLE = Peer("SRC_AET", "SRCHOST", 104)
OF_ATTRIBUTE = {2: ("SecondAttr", "SecondIndex"), 3: ("ThirdAttr", "ThirdIndex")}
"""The keys that are looked at from so many attributes on."""


def faults_of(settings: ExtractionSettings, stylesheet: Path) -> Iterator[tuple[str, object, str]]:
    """What the settings mean together: key, value, and what is wrong with it."""
    names = (("FirstAttr", "FirstIndex"), *OF_ATTRIBUTE.values())
    attributes = settings.attributes
    for number, ((key, index_key), attribute) in enumerate(zip(names, attributes, strict=False)):
        if not is_keyword(attribute.keyword):
            near = nearest_keyword(attribute.keyword)
            remedy = f"is {near} meant?" if near else "DICOM PS3.6 chapter 6 lists them, such as PatientID"
            yield key, attribute.keyword, f"is not a DICOM keyword; {remedy}"
        before = attributes[:number]
        if attribute.keyword in [one.keyword for one in before]:
            yield key, attribute.keyword, "is an attribute already; choose another or lower NumberOfQueryAttributes"
        if attribute.index in [one.index for one in before]:
            yield index_key, attribute.index, "is the column of another attribute already; choose another"
    if {"StudyDate", STUDY_MONTH} <= {attribute.keyword for attribute in attributes}:
        yield "NumberOfQueryAttributes", len(attributes), "StudyDate and StudyMonth ask for the same; choose one"
    has_date = any(is_keyword(one.keyword) and vr_of(one.keyword) == "DA" for one in attributes)
    if has_date and (fault := _fault_of_date_format(settings.date_format)):
        yield "DateFormat", settings.date_format, fault
    if fault := fault_of_file_path(settings.file_path):
        yield "FilePath", settings.file_path, fault
    if fault := _fault_of_storage(settings.storage_folder):
        yield "StorageFolder", settings.storage_folder, fault
    if not settings.csv_file.is_file():
        yield "CsvFile", settings.csv_file, "there is no such file; name the list that is there"
    elif not os.access(settings.csv_file.parent, os.W_OK | os.X_OK):
        yield (
            "CsvFile",
            settings.csv_file,
            "its folder cannot be written, but results go there; ask for the right",
        )
    if settings.mode is Mode.FIND_DETAILED and not stylesheet.is_file():
        yield "FilePath", settings.file_path, f"needs {STYLESHEET} in the current folder or beside the script"


def placeholder_of(system: SystemSettings) -> str:
    """Why the settings of the machine cannot be meant; empty where they can."""
    return "is still that of the example; write the AET@HOST:PORT of your PACS" if system.src_aet == _EXAMPLE else ""


def _fault_of_date_format(date_format: str) -> str:
    day = datetime(2021, 11, 23)
    try:
        if datetime.strptime(day.strftime(date_format), date_format) == day:
            return ""
    except ValueError:
        pass
    return "is not a format with day, month and year, such as %Y%m%d or %m/%d/%y"


def _fault_of_storage(folder: Path) -> str:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        return f"{existing} is a file; choose another folder"
    return "" if os.access(existing, os.W_OK | os.X_OK) else "cannot be written; ask for the right or choose another"


def warnings_of(settings: ExtractionSettings) -> tuple[str, ...]:
    """What is no fault, but should be known."""
    warnings = []
    if settings.send_email and settings.your_email in ("", PLACEHOLDER_EMAIL):
        warnings.append("YourEmail is still the placeholder: no email is sent; set it, or SendEmail to false")
    if settings.mode is Mode.RETRIEVE and "{0020000D" not in settings.file_path.upper():
        warnings.append(
            "FilePath has no {0020000D}: two studies with the same SOPInstanceUID would overwrite each other; add it"
        )
    return tuple(warnings)


def suggestion(key: str, valid: Iterable[str]) -> str:
    """The name that was meant, or all that there are."""
    lower = {name.casefold(): name for name in valid}
    near = difflib.get_close_matches(key.casefold(), lower, n=1, cutoff=0.6)
    return f"; is {lower[near[0]]} meant?" if near else f"; there are {', '.join(lower.values())}"
