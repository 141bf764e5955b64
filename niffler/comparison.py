"""What the checkpoint says beside what lies on disk: a finding for each study, and what has to leave the checkpoint."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath

from niffler.inventory import Inventory, StudyOnDisk
from niffler.ledger import Record
from niffler.matching import is_uid
from niffler.stored_file import StoredFile

_PATHS_SHOWN = 5


class State(StrEnum):
    """What became of a study on disk; the words are those of the report."""

    COMPLETE = "complete"
    UNVERIFIED = "unverified"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    OTHER_PATIENT = "other-patient"
    UNFINISHED = "unfinished"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """A study of the checkpoint or on disk, an entry of an earlier Niffler, or a file that belongs to none."""

    state: State
    patient_id: str = ""
    study_instance_uid: str = ""
    accession_number: str = ""
    expected: int = 0
    """Images; 0 where nobody knows."""
    on_disk: int = 0
    unreadable: int = 0
    is_withdrawn: bool = False
    detail: str = ""


@dataclass
class Comparison:
    """The findings, and what is not complete: studies of the ledger, and entries of an earlier Niffler."""

    findings: list[Finding] = field(default_factory=list)
    studies: set[str] = field(default_factory=set)
    entries: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Earlier:
    """An entry of an earlier Niffler. It names no count of images."""

    entry: str
    patient_id: str
    study_instance_uid: str = ""
    accession_number: str = ""
    is_clear: bool = True


def compare(
    recorded: Sequence[Record],
    earlier_entries: Sequence[str],
    inventory: Inventory,
    folder: str,
    asked_for: Callable[[StudyOnDisk], bool],
    is_of_others: Callable[[StudyOnDisk], bool],
) -> Comparison:
    """Compare; ``asked_for`` says of a study on disk whether a row that is not complete wants it.

    One that ``is_of_others``, shards of the list that have the same folder, is none of ours.
    """
    expected = {record.study_instance_uid: record for record in recorded}
    earlier = [_parsed(entry) for entry in earlier_entries]
    patient_of = {one.study_instance_uid: one.patient_id for one in earlier if one.study_instance_uid}
    patient_of |= {uid: record.patient_id for uid, record in expected.items()}
    spoiled = _by_study(inventory.unreadable, folder, patient_of.keys() | inventory.studies.keys())
    told: set[str] = set()
    comparison = Comparison()
    for record in recorded:
        finding = _recorded(record, inventory, spoiled, folder)
        if finding.is_withdrawn:
            comparison.studies.add(record.study_instance_uid)
        if finding.unreadable:
            told.update(file.path for file in spoiled[record.study_instance_uid])
        comparison.findings.append(finding)
    judge = _EarlierJudge(inventory, spoiled, folder)
    judge.withdrawn = {(record.patient_id, record.accession_number)
                       for record in recorded if record.study_instance_uid in comparison.studies}  # fmt: skip
    # Studies first: a row that has one which is not complete goes with it.
    for one in sorted(earlier, key=lambda one: not one.study_instance_uid):
        finding = judge.judge(one)
        if finding.is_withdrawn:
            comparison.entries.add(one.entry)
        comparison.findings.append(finding)
    told |= judge.told
    covered = {(one.patient_id, one.accession_number) for one in earlier if not one.study_instance_uid}
    for uid, patients in inventory.studies.items():
        for patient, study in patients.items():
            if uid in patient_of:
                if patient != patient_of[uid] and patient_of[uid]:
                    detail = f"the checkpoint has it for patient {patient_of[uid]}"
                    comparison.findings.append(_on_disk(State.OTHER_PATIENT, study, detail))
            elif is_of_others(study):
                continue
            elif not covered & {(patient, ""), *((patient, accession) for accession in study.accession_numbers)}:
                state, detail = State.UNKNOWN, "no row of the list asks for it"
                if asked_for(study):
                    state, detail = State.UNFINISHED, "a row that is not complete asks for it"
                comparison.findings.append(_on_disk(state, study, detail))
    comparison.findings += [
        Finding(State.UNREADABLE, unreadable=1, detail=_shown([file], folder))
        for file in inventory.unreadable
        if file.path not in told
    ]
    return comparison


def _recorded(
    record: Record, inventory: Inventory, spoiled: Mapping[str, Sequence[StoredFile]], folder: str
) -> Finding:
    """A study whose images were counted when it was retrieved."""
    uid, needed = record.study_instance_uid, max(record.expected, record.received)
    patients = inventory.of(uid)
    right = [study for patient, study in patients.items() if patient == record.patient_id or not record.patient_id]
    there = len(set().union(*(study.instances for study in right)))
    if there >= needed:
        return Finding(State.COMPLETE, record.patient_id, uid, record.accession_number, needed, there)
    files = spoiled.get(uid, ())
    others = sum(len(study.instances) for study in patients.values() if study not in right)
    state = State.UNREADABLE if files else State.OTHER_PATIENT if others else State.MISSING
    parts = [f"{needed - there} of {needed} images are missing"]
    if files:
        parts.append(f"cannot be read: {_shown(files, folder)}")
    if others:
        parts.append(f"{others} images carry another PatientID")
    return Finding(
        state, record.patient_id, uid, record.accession_number, needed, there, len(files), True, "; ".join(parts)
    )


class _EarlierJudge:
    """Judges entries of an earlier Niffler, which name no count: only what is surely not complete is withdrawn."""

    def __init__(self, inventory: Inventory, spoiled: Mapping[str, Sequence[StoredFile]], folder: str) -> None:
        self._inventory = inventory
        self._spoiled = spoiled
        self._folder = folder
        self.withdrawn: set[tuple[str, str]] = set()
        """PatientID and AccessionNumber (empty where it is not known) of studies that are not complete."""
        self.told: set[str] = set()
        """The paths of files that a finding names."""
        self._of_patient: dict[str, list[StudyOnDisk]] = {}
        for patients in inventory.studies.values():
            for patient, study in patients.items():
                self._of_patient.setdefault(patient, []).append(study)

    def judge(self, one: _Earlier) -> Finding:
        """A finding for the entry."""
        if one.study_instance_uid:
            return self._study(one)
        of_patient = self._of_patient.get(one.patient_id, [])
        studies = [
            study for study in of_patient
            if not one.accession_number or one.accession_number in study.accession_numbers
        ]  # fmt: skip
        accessions = {one.accession_number, ""} if one.accession_number else None
        gone = any(
            patient == one.patient_id
            and (accessions is None or (accession in accessions and (accession or not studies)))
            for patient, accession in self.withdrawn
        )
        spoiled = [file for study in studies for file in self._spoiled.get(study.study_instance_uid, ())]
        there = sum(len(study.instances) for study in studies)
        self.told.update(file.path for file in spoiled)
        if not one.is_clear:
            state, is_withdrawn, detail = State.UNVERIFIED, False, f"entry '{one.entry}' can be read in several ways"
        elif spoiled:
            state, is_withdrawn, detail = State.UNREADABLE, True, f"cannot be read: {_shown(spoiled, self._folder)}"
        elif gone:
            state, is_withdrawn, detail = State.MISSING, True, "one of its studies is not complete"
        elif not of_patient:
            state, is_withdrawn, detail = State.MISSING, True, "no image of this patient is on disk"
        elif not studies:
            state, is_withdrawn = State.UNVERIFIED, False
            detail = "images of this patient are on disk, but none with this AccessionNumber"
        else:
            state, is_withdrawn = State.UNVERIFIED, False
            detail = f"from an earlier checkpoint: {len(studies)} studies are on disk, and nobody counted their images"
        return Finding(
            state, one.patient_id, "", one.accession_number, 0, there, len(spoiled), is_withdrawn, detail
        )  # fmt: skip

    def _study(self, one: _Earlier) -> Finding:
        uid = one.study_instance_uid
        patients = self._inventory.of(uid)
        study = patients.get(one.patient_id)
        files = self._spoiled.get(uid, ())
        there = len(study.instances) if study else 0
        self.told.update(file.path for file in files)
        if files:
            state, detail = State.UNREADABLE, f"cannot be read: {_shown(files, self._folder)}"
        elif study:
            state, detail = State.UNVERIFIED, "from an earlier checkpoint: nobody counted its images"
        elif patients:
            state, detail = State.OTHER_PATIENT, "all of its images carry another PatientID"
        else:
            state, detail = State.MISSING, "no image of this study is on disk"
        is_withdrawn = state is not State.UNVERIFIED
        if is_withdrawn:
            accessions = study.accession_numbers if study else {""}
            self.withdrawn |= {(one.patient_id, accession) for accession in accessions}
        return Finding(state, one.patient_id, uid, "", 0, there, len(files), is_withdrawn, detail)


def _parsed(entry: str) -> _Earlier:
    """Read an entry as Niffler writes it: a PatientID, alone or with an AccessionNumber or a StudyInstanceUID."""
    patient, *others = (part.strip() for part in entry.split(","))
    if len(others) > 1 or not patient or set("*?\\") & set(entry):
        return _Earlier(entry, patient, is_clear=False)
    if others and is_uid(others[0]) and others[0].count(".") > 1:
        return _Earlier(entry, patient, study_instance_uid=others[0])
    return _Earlier(entry, patient, accession_number=others[0] if others else "")


def _on_disk(state: State, study: StudyOnDisk, detail: str) -> Finding:
    accession = next(iter(study.accession_numbers), "")
    return Finding(
        state, study.patient_id, study.study_instance_uid, accession, 0, len(study.instances), detail=detail
    )  # fmt: skip


def _by_study(files: Sequence[StoredFile], folder: str, studies: "set[str]") -> dict[str, list[StoredFile]]:
    """The files that cannot be read, by the study that a folder of their path names."""
    found: dict[str, list[StoredFile]] = {}
    for file in files:
        for name in _names(file, folder):
            if name in studies:
                found.setdefault(name, []).append(file)
                break
    return found


def _names(file: StoredFile, folder: str) -> Iterator[str]:
    path = PurePath(file.path).relative_to(folder)
    yield from path.parts
    yield path.stem


def _shown(files: Sequence[StoredFile], folder: str) -> str:
    shown = ", ".join(f"{PurePath(file.path).relative_to(folder)} ({file.problem})" for file in files[:_PATHS_SHOWN])
    return f"{shown} and {len(files) - _PATHS_SHOWN} more" if len(files) > _PATHS_SHOWN else shown
