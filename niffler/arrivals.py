"""The images that storescp stored: what each file says it is, and how many of a study are on disk."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

_STUDY_INSTANCE_UID = 0x0020000D
_MOST_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Arrival:
    """One stored instance as its own header tells; ``problem`` says why it could not be read."""

    path: str
    study_instance_uid: str = ""
    patient_id: str = ""
    sop_instance_uid: str = ""
    size: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Arrived:
    """Instances that were read from disk, in the order in which they were stored."""

    arrivals: tuple[Arrival, ...]


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything that was stored before the token was given has been read."""

    token: str


def read_arrival(path: str, *, flush: bool = False) -> Arrival:
    """Read the header of a stored file; with ``flush`` its content is on the disk when this returns."""
    try:
        with Path(path).open("rb") as stream:
            header = read_partial(stream, stop_when=_is_past_study)
            size = os.fstat(stream.fileno()).st_size
            if flush:
                os.fsync(stream.fileno())
        return Arrival(
            path,
            study_instance_uid=str(header.get("StudyInstanceUID", "")).strip(" \0"),
            patient_id=str(header.get("PatientID", "") or "").strip(" \0"),
            sop_instance_uid=str(header.get("SOPInstanceUID", "")).strip(" \0"),
            size=size,
        )
    except OSError as error:
        return Arrival(path, problem=error.strerror or str(error))
    except Exception as error:  # a damaged file can raise nearly anything
        return Arrival(path, problem=f"not a readable DICOM file ({type(error).__name__}: {error})")


class ArrivalReader:
    """A thread that reads the header of each file that storescp says it stored, and puts Arrived into a queue."""

    def __init__(self, events: "SimpleQueue[object]") -> None:
        self._events = events
        self._paths: SimpleQueue[str | CaughtUp | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
        self._thread.start()

    def stored(self, path: str) -> None:
        """Tell of a file; called by whoever reads storescp's output."""
        self._paths.put(path)

    def catch_up(self, token: str) -> None:
        """Put CaughtUp into the queue once all that was told of before is read."""
        self._paths.put(CaughtUp(token))

    def close(self) -> None:
        """Read what was told of, then end."""
        self._paths.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (told := self._paths.get()) is not None:
            paths: list[str] = []
            while isinstance(told, str):
                paths.append(told)
                if self._paths.empty() or len(paths) == _MOST_AT_ONCE:
                    break
                told = self._paths.get()
            if paths:
                self._events.put(Arrived(tuple(read_arrival(path, flush=True) for path in paths)))
            if isinstance(told, CaughtUp):
                self._events.put(told)
            elif told is None:
                return


@dataclass(frozen=True, slots=True)
class Received:
    """What is on disk of one study, and how much the present attempt brought."""

    instances: int = 0
    """Distinct instances of the study and its patient."""
    size: int = 0
    """Their bytes."""
    deliveries: int = 0
    """How often the present attempt stored one of them; a PACS may send the same instance twice."""
    other_patient: int = 0
    """Instances of the study that carry another PatientID."""


class OnDisk:
    """The instances of the studies that are being moved. A study's are forgotten once its verdict is given."""

    def __init__(self) -> None:
        self._patient_of: dict[str, str] = {}
        self._held: dict[str, dict[str, Arrival]] = {}
        self._at_path: dict[str, tuple[str, str]] = {}
        self._deliveries: dict[str, int] = {}
        self._other_patient: dict[str, int] = {}
        self.instances = 0
        self.size = 0

    def expect(self, study_instance_uid: str, patient_id: str) -> None:
        """An attempt begins: instances of this study are wanted; without a PatientID any patient's is right."""
        self._patient_of[study_instance_uid] = patient_id
        self._held.setdefault(study_instance_uid, {})
        self._deliveries[study_instance_uid] = 0
        self._other_patient[study_instance_uid] = 0

    def take(self, arrival: Arrival) -> bool:
        """Count an instance; False where nobody asked for it."""
        uid = arrival.study_instance_uid
        before = self._at_path.pop(arrival.path, None)
        if before is not None:  # one file under one name: what stood there is gone, whatever came
            self._held.get(before[0], {}).pop(before[1], None)
        wanted = self._patient_of.get(uid)
        if arrival.problem or wanted is None:
            return False
        if wanted and arrival.patient_id != wanted:
            self._other_patient[uid] = self._other_patient.get(uid, 0) + 1
            return False
        self.instances += 1
        self.size += arrival.size
        held = self._held.get(uid)
        if held is not None:
            self._deliveries[uid] += 1
            again = held.get(arrival.sop_instance_uid)
            if again is not None:
                self._at_path.pop(again.path, None)
            self._at_path[arrival.path] = (uid, arrival.sop_instance_uid)
            held[arrival.sop_instance_uid] = arrival
        return True

    def of(self, study_instance_uid: str) -> Received:
        """What is there of a study."""
        held = self._held.get(study_instance_uid, {})
        return Received(
            instances=len(held),
            size=sum(arrival.size for arrival in held.values()),
            deliveries=self._deliveries.get(study_instance_uid, 0),
            other_patient=self._other_patient.get(study_instance_uid, 0),
        )

    def forget(self, study_instance_uid: str) -> None:
        """The verdict is given; what comes late is still known as asked for."""
        for arrival in self._held.pop(study_instance_uid, {}).values():
            self._at_path.pop(arrival.path, None)
        self._deliveries.pop(study_instance_uid, None)
        self._other_patient.pop(study_instance_uid, None)


def _is_past_study(tag: BaseTag, vr: str | None, length: int) -> bool:
    return bool(tag > _STUDY_INSTANCE_UID)
