"""The levels of the information models, and which attributes belong to which (PS3.4 C.6.1.1, C.6.2.1)."""

from collections.abc import Mapping

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement

from demo.matching import is_universal, values_of

LEVELS = ("PATIENT", "STUDY", "SERIES")
_UNIQUE_KEYS = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
_STEERING = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle", "TimezoneOffsetFromUTC"})
_PATIENT_KEYWORDS = frozenset(
    {
        "EthnicGroup",
        "IssuerOfPatientID",
        "NumberOfPatientRelatedInstances",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedStudies",
        "OtherPatientIDs",
        "OtherPatientNames",
        "PatientBirthDate",
        "PatientBirthTime",
        "PatientComments",
        "PatientID",
        "PatientName",
        "PatientSex",
    }
)
_STUDY_KEYWORDS = frozenset(
    {
        "AccessionNumber",
        "AdditionalPatientHistory",
        "AdmissionID",
        "ModalitiesInStudy",
        "NameOfPhysiciansReadingStudy",
        "NumberOfStudyRelatedInstances",
        "NumberOfStudyRelatedSeries",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "ReferringPhysicianName",
        "SOPClassesInStudy",
        "StudyDate",
        "StudyDescription",
        "StudyID",
        "StudyInstanceUID",
        "StudyTime",
    }
)


def level_of(keyword: str) -> str:
    """The level of the information model an attribute belongs to; unknown ones are those of the series."""
    if keyword in _PATIENT_KEYWORDS:
        return "PATIENT"
    return "STUDY" if keyword in _STUDY_KEYWORDS else "SERIES"


def query_keys(identifier: Dataset) -> dict[str, DataElement]:
    """The keys of a C-FIND or C-MOVE identifier by keyword, without those that steer the query."""
    found = {keyword_for_tag(element.tag): element for element in identifier}
    return {keyword: element for keyword, element in found.items() if keyword and keyword not in _STEERING}


def fault_of_query(
    level: str, keys: Mapping[str, DataElement], *, is_patient_root: bool, is_relational: bool
) -> str | None:
    """What PS3.4 C.4.1.2.1 forbids about a query: above the level of a hierarchical one, unique keys are required."""
    if level not in ("STUDY", "SERIES"):
        return f"Cannot query at level '{level}'"
    if is_relational:
        return None
    # In the Study Root model the attributes of patients belong to the study level (PS3.4 C.6.2.1).
    root = LEVELS.index("PATIENT" if is_patient_root else "STUDY")
    for required in (_UNIQUE_KEYS[higher] for higher in LEVELS[root : LEVELS.index(level)]):
        if required not in keys or len(values_of(keys[required])) != 1 or is_universal(keys[required]):
            return f"Missing {required}"
    for keyword, key in keys.items():
        own = LEVELS[max(LEVELS.index(level_of(keyword)), root)]
        if own != level and keyword not in _UNIQUE_KEYS.values() and not is_universal(key):
            return f"{keyword} is no key at {level} level"
    return None
