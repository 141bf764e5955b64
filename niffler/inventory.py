"""What lies in a folder: every file, read by several processes, and the images of each study and patient."""

import multiprocessing
import os
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from niffler.errors import GaveUpError
from niffler.stored_file import StoredFile, read_stored_files

_FILES_AT_ONCE = 100
_LEAST_PROCESSES = 2


@dataclass
class Listing:
    """The files below a folder. ``doubts`` say what could not be looked into."""

    files: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


@dataclass
class StudyOnDisk:
    """The images of a study that carry one PatientID."""

    study_instance_uid: str
    patient_id: str
    instances: set[str] = field(default_factory=set)
    """SOPInstanceUIDs: the same instance in two files is one."""
    accession_numbers: set[str] = field(default_factory=set)
    values: dict[str, set[str]] = field(default_factory=dict)
    """Of the keywords that were asked for, over all images."""
    size: int = 0


@dataclass
class Inventory:
    """What was read: StudyInstanceUID → PatientID → images, and the files that are no images."""

    keywords: Sequence[str]
    studies: dict[str, dict[str, StudyOnDisk]] = field(default_factory=dict)
    unreadable: list[StoredFile] = field(default_factory=list)
    refused: list[StoredFile] = field(default_factory=list)

    def add(self, file: StoredFile) -> None:
        """Take in a file."""
        if file.problem:
            (self.refused if file.is_refused else self.unreadable).append(file)
            return
        patients = self.studies.setdefault(file.study_instance_uid, {})
        study = patients.get(file.patient_id)
        if study is None:
            study = patients[file.patient_id] = StudyOnDisk(file.study_instance_uid, file.patient_id)
        if file.sop_instance_uid in study.instances:
            return
        study.instances.add(file.sop_instance_uid)
        study.size += file.size
        study.accession_numbers.add(file.accession_number)
        for keyword, values in zip(self.keywords, file.values, strict=True):
            study.values.setdefault(keyword, set()).update(values)

    def of(self, study_instance_uid: str) -> Mapping[str, StudyOnDisk]:
        """The images of a study by PatientID."""
        return self.studies.get(study_instance_uid, {})


def list_files(folder: Path) -> Listing:
    """Every file below a folder but those that a receiver is still writing; no link is followed."""
    listing = Listing()
    root = folder.resolve()
    waiting = [os.fspath(folder)]
    while waiting:
        current = waiting.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        if not Path(entry.path).resolve().is_relative_to(root):
                            listing.doubts.append("a link leads out of StorageFolder, and is not followed")
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif not entry.name.endswith(".part"):
                        listing.files.append(entry.path)
        except OSError as error:
            listing.doubts.append(f"a folder cannot be read: {error.strerror}")
    return listing


def read_files(paths: Sequence[str], keywords: Sequence[str]) -> Iterator[list[StoredFile]]:
    """Read the headers of files, some at a time, on all processors; raises GaveUpError where a reader dies."""
    readers = max(_LEAST_PROCESSES, len(os.sched_getaffinity(0)))
    context = multiprocessing.get_context("fork")  # the others would import the whole suite in each
    begun: deque[Future[list[StoredFile]]] = deque()
    with ProcessPoolExecutor(readers, mp_context=context, initializer=_begin_reader) as pool:
        try:
            for start in range(0, len(paths), _FILES_AT_ONCE):
                begun.append(pool.submit(read_stored_files, paths[start : start + _FILES_AT_ONCE], keywords))
                if len(begun) > 4 * readers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        except BrokenProcessPool:
            raise GaveUpError("a process that reads headers was killed; is memory short? Start it again") from None


def _begin_reader() -> None:
    """Die with the parent, however that dies; keep what pydicom quotes of a header off the terminal."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    warnings.simplefilter("ignore")
