"""The studies a PACS holds: one header for each series in memory, files on disk, and the answers to C-FIND keys."""

import copy
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.errors import InvalidDicomError

from demo.levels import LEVELS, level_of
from demo.matching import exact_values_of, matches, values_of

_INDEXED = ("StudyInstanceUID", "PatientID", "AccessionNumber")


@dataclass(frozen=True)
class Instance:
    """One stored file and what it takes to send it."""

    path: Path
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass
class _Series:
    """A series: its first instance's header stands for all."""

    header: Dataset
    instances: dict[str, Instance] = field(default_factory=dict)


_Study = dict[str, _Series]


class Archive:
    """The instances of a PACS; may be asked and added to from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._studies: dict[str, _Study] = {}
        self._index: dict[tuple[str, str], dict[str, None]] = {}

    def load(self, folder: Path) -> None:
        """Take in every DICOM file below a folder; other files are passed over."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                try:
                    self.add(path)
                except InvalidDicomError:
                    continue

    def add(self, path: Path) -> Instance:
        """Take in one file; an instance that is already there is replaced."""
        header = dcmread(path, stop_before_pixels=True)
        instance = Instance(
            path=path,
            patient_id=str(header.get("PatientID") or "").strip(),
            study_instance_uid=str(header.StudyInstanceUID),
            series_instance_uid=str(header.SeriesInstanceUID),
            sop_class_uid=str(header.SOPClassUID),
            sop_instance_uid=str(header.SOPInstanceUID),
            transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
        )
        with self._lock:
            study = self._studies.setdefault(instance.study_instance_uid, {})
            if instance.series_instance_uid not in study:
                header.decode()
                study[instance.series_instance_uid] = _Series(header)
                for keyword in _INDEXED:
                    for value in values_of(_element(header, keyword)):
                        self._index.setdefault((keyword, value), {})[instance.study_instance_uid] = None
            study[instance.series_instance_uid].instances[instance.sop_instance_uid] = instance
        return instance

    def study_instance_uids(self) -> tuple[str, ...]:
        """Every study held, in the order of arrival."""
        with self._lock:
            return tuple(self._studies)

    def instances(self, study_instance_uid: str) -> list[Instance]:
        """The instances of one study; none where it is unknown."""
        with self._lock:
            return list(_instances(self._studies.get(study_instance_uid, {})))

    def find(self, level: str, keys: Mapping[str, DataElement]) -> list[Dataset]:
        """The matches at STUDY or SERIES level, each with the attributes asked for and the level."""
        with self._lock:
            return [
                self._answer(level, keys, study, series)
                for study in map(self._studies.__getitem__, self._candidates(keys))
                for series in (study.values() if level == "SERIES" else [next(iter(study.values()))])
                if all(matches(key, self._stored(keyword, study, series)) for keyword, key in keys.items())
            ]

    def _candidates(self, keys: Mapping[str, DataElement]) -> Iterable[str]:
        """The studies worth looking at: an exact key spares the walk through all others."""
        for keyword in _INDEXED:
            wanted = exact_values_of(keys.get(keyword))
            if wanted:
                return dict.fromkeys(uid for value in wanted for uid in self._index.get((keyword, value), {}))
        return list(self._studies)

    def _stored(self, keyword: str, study: _Study, series: _Series) -> tuple[str, ...]:
        computed = self._computed(keyword, study, series)
        return computed if computed is not None else values_of(_element(series.header, keyword))

    def _computed(self, keyword: str, study: _Study, series: _Series) -> tuple[str, ...] | None:
        """Values that no file carries because they describe the archive (PS3.4 C.3.4)."""
        match keyword:
            case "ModalitiesInStudy":
                return tuple(sorted({str(one.header.get("Modality", "")) for one in study.values()} - {""}))
            case "SOPClassesInStudy":
                return tuple(sorted({instance.sop_class_uid for instance in _instances(study)}))
            case "NumberOfStudyRelatedInstances":
                return (str(len(list(_instances(study)))),)
            case "NumberOfStudyRelatedSeries":
                return (str(len(study)),)
            case "NumberOfSeriesRelatedInstances":
                return (str(len(series.instances)),)
        if not keyword.startswith("NumberOfPatientRelated"):
            return None
        patient_id = str(series.header.get("PatientID") or "").strip()
        studies = [self._studies[uid] for uid in self._index.get(("PatientID", patient_id), {})]
        match keyword:
            case "NumberOfPatientRelatedStudies":
                return (str(len(studies)),)
            case "NumberOfPatientRelatedSeries":
                return (str(sum(map(len, studies))),)
            case "NumberOfPatientRelatedInstances":
                return (str(sum(len(list(_instances(one))) for one in studies)),)
        return None

    def _answer(self, level: str, keys: Mapping[str, DataElement], study: _Study, series: _Series) -> Dataset:
        answer = Dataset()
        if "SpecificCharacterSet" in series.header:
            answer.SpecificCharacterSet = series.header.SpecificCharacterSet
        answer.QueryRetrieveLevel = level
        for keyword in keys:
            if LEVELS.index(level_of(keyword)) > LEVELS.index(level):
                continue  # an attribute of a lower level has no single value here
            computed = self._computed(keyword, study, series)
            stored = _element(series.header, keyword)
            if computed is not None:
                setattr(answer, keyword, list(computed))
            elif stored is not None:
                answer[keyword] = copy.copy(stored)  # whoever changes an answer must not change the archive
            else:
                setattr(answer, keyword, [] if dictionary_VR(keyword) == "SQ" else None)
        return answer


def _element(header: Dataset, keyword: str) -> DataElement | None:
    tag = tag_for_keyword(keyword)
    return header[tag] if tag is not None and tag in header else None


def _instances(study: _Study) -> Iterable[Instance]:
    return (instance for series in study.values() for instance in series.instances.values())
