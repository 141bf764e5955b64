"""DICOM keywords: which exist, their value representation, and their level in the Query/Retrieve models."""

import difflib
import re
from enum import Enum

from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword


class Level(Enum):
    """The level of an attribute in the Query/Retrieve information models (PS3.4 C.6)."""

    STUDY = "study"
    SERIES = "series"
    IMAGE = "image"


STUDY_MONTH = "StudyMonth"
"""Not a DICOM keyword: a month of StudyDate, as Niffler has always known it."""

# PS3.4 tables C.6-1 and C.6-2, with the attributes of the Patient, Patient Study and General Study modules.
_STUDY_LEVEL = frozenset(
    """
    PatientID PatientName IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs
    OtherPatientNames EthnicGroup PatientComments NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries
    NumberOfPatientRelatedInstances
    StudyInstanceUID StudyDate StudyTime StudyID StudyDescription AccessionNumber ModalitiesInStudy SOPClassesInStudy
    ReferringPhysicianName ConsultingPhysicianName PhysiciansOfRecord NameOfPhysiciansReadingStudy
    AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight Occupation AdditionalPatientHistory AdmissionID
    ServiceEpisodeID StudyStatusID NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances StudyUpdateDateTime
    """.split()
)
_IMAGE_LEVEL = frozenset(
    """
    SOPInstanceUID SOPClassUID InstanceNumber ContentDate ContentTime ImageType AcquisitionNumber NumberOfFrames Rows
    Columns BitsAllocated ContainerIdentifier
    """.split()
)
_NOT_TEXT = frozenset("SQ AT OB OD OF OL OV OW UN".split())
_MEANT = {"empi": "PatientID", "mrn": "PatientID", "accession": "AccessionNumber", "accessions": "AccessionNumber"}


def is_keyword(text: str) -> bool:
    """Whether this is a DICOM keyword that a list can be queried by, or StudyMonth."""
    return text == STUDY_MONTH or (text != "" and text in keyword_dict and vr_of(text) not in _NOT_TEXT)


def nearest_keyword(text: str) -> str | None:
    """The keyword that was probably meant; None where nothing is near."""
    plain = re.sub(r"[^a-z0-9]", "", text.casefold())
    if plain in _MEANT:
        return _MEANT[plain]
    known = {keyword.casefold(): keyword for keyword in sorted(_STUDY_LEVEL | {STUDY_MONTH})}
    everything = {keyword.casefold(): keyword for keyword in keyword_dict if is_keyword(keyword)}
    for candidates in (known, everything):
        near = difflib.get_close_matches(plain, candidates, n=1, cutoff=0.75)
        if near:
            return candidates[near[0]]
    return None


def vr_of(keyword: str) -> str:
    """The value representation of a keyword (PS3.6); the first, where there is a choice."""
    tag = tag_for_keyword(keyword)
    return "LO" if tag is None else dictionary_VR(tag).split(" or ")[0]


def level_of(keyword: str) -> Level:
    """The level that an attribute is queried at; what PS3.4 does not place describes a series."""
    if keyword in _STUDY_LEVEL:
        return Level.STUDY
    return Level.IMAGE if keyword in _IMAGE_LEVEL else Level.SERIES
