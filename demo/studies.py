"""Sample studies: small synthetic images with valid headers, the same ones each time for the same seed."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache, partial
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

_SOP_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "CR": ComputedRadiographyImageStorage}
_SHADES = 4096
_NAMES = ("Doe^Jane", "Müller^Jürgen", "Roe^Richard", "Παπαδοπούλου^Ελένη", "Nuñez^Begoña", "山田^太郎")


@dataclass(frozen=True)
class Series:
    """One series to be generated; ``instances`` where it differs from the other series of its study."""

    modality: str = "CT"
    description: str = "Axial"
    body_part_examined: str = "CHEST"
    protocol_name: str = "ROUTINE"
    instances: int | None = None


@dataclass(frozen=True)
class WrittenStudy:
    """A study on disk and what identifies it."""

    study_instance_uid: str
    patient_id: str
    accession_number: str
    study_date: str
    sop_instance_uids: tuple[str, ...]
    paths: tuple[Path, ...]


def write_study(
    folder: Path,
    *,
    patient_id: str = "00001234",
    patient_name: str = "Doe^Jane",
    patient_birth_date: str = "19620417",
    patient_sex: str = "F",
    accession_number: str = "ACC0001",
    study_instance_uid: str | None = None,
    study_date: str = "20200115",
    study_time: str = "101500",
    study_description: str = "Chest CT",
    study_id: str = "1",
    series: int | Sequence[Series] = 1,
    instances_per_series: int = 3,
    size: int = 64,
    character_set: str = "ISO_IR 192",
    seed: str = "niffler",
) -> WrittenStudy:
    """Write one study into a folder of its own below ``folder``; ``size`` is rows and columns, 512 for benchmarks.

    UIDs follow from the seed, the patient, the accession number and the date, unless StudyInstanceUID is given.
    """
    uid = study_instance_uid or _uid(seed, patient_id, accession_number, study_date, study_description)
    several = [Series() for _ in range(series)] if isinstance(series, int) else series
    target = folder / uid
    target.mkdir(parents=True, exist_ok=True)
    sop_instance_uids: list[str] = []
    paths: list[Path] = []
    for series_number, one in enumerate(several, start=1):
        dataset = _new_dataset(one.modality)
        dataset.SpecificCharacterSet = character_set
        dataset.PatientID = patient_id
        dataset.PatientName = patient_name
        dataset.PatientBirthDate = patient_birth_date
        dataset.PatientSex = patient_sex
        dataset.StudyInstanceUID = uid
        dataset.StudyDate = study_date
        dataset.StudyTime = study_time
        dataset.StudyID = study_id
        dataset.StudyDescription = study_description
        dataset.AccessionNumber = accession_number
        dataset.ReferringPhysicianName = "Referrer^Robin"
        dataset.SeriesInstanceUID = _uid(uid, patient_id, str(series_number))
        dataset.SeriesNumber = series_number
        dataset.SeriesDescription = one.description
        dataset.BodyPartExamined = one.body_part_examined
        dataset.ProtocolName = one.protocol_name
        count = one.instances if one.instances is not None else instances_per_series
        for number in range(1, count + 1):
            sop_instance_uid = _uid(uid, patient_id, str(series_number), str(number))
            _set_image(dataset, sop_instance_uid, number, size)
            path = target / f"{series_number:03}-{number:05}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            sop_instance_uids.append(sop_instance_uid)
            paths.append(path)
    return WrittenStudy(uid, patient_id, accession_number, study_date, tuple(sop_instance_uids), tuple(paths))


def generate_studies(
    folder: Path,
    studies: int,
    *,
    instances: int = 4,
    size: int = 64,
    studies_per_patient: int = 1,
    seed: str = "niffler",
) -> tuple[WrittenStudy, ...]:
    """Write any number of small studies; IDs have leading zeros and some names are not ASCII."""
    first_day = date(2020, 1, 1)
    return tuple(
        write_study(
            folder,
            patient_id=f"{number // studies_per_patient + 1:08}",
            patient_name=_NAMES[number // studies_per_patient % len(_NAMES)],
            accession_number=f"G{number + 1:07}",
            study_date=f"{first_day + timedelta(days=number % 366):%Y%m%d}",
            instances_per_series=instances,
            size=size,
            seed=seed,
        )
        for number in range(studies)
    )


def write_sample_studies(folder: Path) -> tuple[WrittenStudy, ...]:
    """Write the studies of the demo: four patients, six studies, 28 images."""
    three_studies = partial(
        write_study,
        folder,
        patient_id="00005678",
        patient_name="Roe^Richard",
        patient_sex="M",
        patient_birth_date="19481130",
    )
    return (
        write_study(
            folder,
            accession_number="CT20A00017",
            study_date="20200115",
            series=(Series(description="Axial", instances=4), Series(description="Coronal")),
        ),
        three_studies(
            accession_number="CR19A00231",
            study_date="20191203",
            study_description="Chest PA and lateral",
            series=(Series("CR", "PA", protocol_name="CHEST PA"),),
            instances_per_series=2,
        ),
        three_studies(accession_number="CT20A00305", study_date="20200122", instances_per_series=5),
        three_studies(
            accession_number="MR20A00112",
            study_date="20200302",
            study_description="Brain MRI",
            series=(Series("MR", "T1", "BRAIN", "BRAIN T1"),),
            instances_per_series=4,
        ),
        write_study(
            folder,
            patient_id="ΑΘ-00042",
            patient_name="Παπαδοπούλου^Ελένη",
            accession_number="MR20A00418",
            study_date="20200518",
            study_description="Γόνατο δεξιά",
            series=(Series("MR", "PD sagittal", "KNEE", "KNEE"),),
            instances_per_series=4,
        ),
        write_study(
            folder,
            patient_id="A-4711",
            patient_name="Müller^Jürgen",
            patient_sex="M",
            accession_number="XX20A00533",
            study_date="20200609",
            study_description="Trauma",
            series=(
                Series("CR", "Pelvis AP", "PELVIS", "PELVIS AP", instances=1),
                Series("CT", "Whole body", "WHOLEBODY", "TRAUMA", instances=5),
            ),
        ),
    )


def add_instance(path: Path, number: int) -> Path:
    """Write one more instance beside an existing one, of the same series; returns its path."""
    dataset = dcmread(path)
    sop_instance_uid = _uid(str(dataset.SOPInstanceUID), "added", str(number))
    dataset.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.InstanceNumber = 10_000 + number
    target = path.with_name(f"{path.stem}-added-{number:05}.dcm")
    dataset.save_as(target, enforce_file_format=True)
    return target


def _uid(*sources: str) -> UID:
    return generate_uid(entropy_srcs=list(sources))


def _new_dataset(modality: str) -> FileDataset:
    """The attributes that all images of one modality share here."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _SOP_CLASSES[modality]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = _SOP_CLASSES[modality]
    dataset.Modality = modality
    dataset.Manufacturer = "Niffler sample images"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    if modality == "CR":
        dataset.ViewPosition = "PA"
        return dataset
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "M_SE"]
    dataset.FrameOfReferenceUID = _uid("frame of reference", modality)
    dataset.PixelSpacing = [1, 1]
    dataset.SliceThickness = 2
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    if modality == "CT":
        dataset.RescaleIntercept = -1024
        dataset.RescaleSlope = 1
        dataset.KVP = 120
    else:
        dataset.ScanningSequence = "SE"
        dataset.SequenceVariant = "NONE"
        dataset.EchoTime = 15
        dataset.RepetitionTime = 500
    return dataset


def _set_image(dataset: FileDataset, sop_instance_uid: UID, number: int, size: int) -> None:
    dataset.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.InstanceNumber = number
    dataset.Rows = dataset.Columns = size
    if "SliceThickness" in dataset:
        dataset.ImagePositionPatient = [0, 0, 2 * number]
    pattern = _pattern(size)
    start = 2 * size * (number * 7 % size)  # each image is the pattern moved down a little
    dataset.PixelData = pattern[start:] + pattern[:start]


@lru_cache(maxsize=4)
def _pattern(size: int) -> bytes:
    """A bright disc on a slope of grey, 16 bits a pixel."""
    middle, radius = size / 2, size / 3
    pixels = array("H")
    for row in range(size):
        for column in range(size):
            in_disc = (row - middle) ** 2 + (column - middle) ** 2 < radius**2
            pixels.append(_SHADES * 3 // 4 if in_disc else _SHADES * (row + column) // (4 * size))
    return pixels.tobytes()
