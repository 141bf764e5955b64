"""Real PACS as plain processes, loaded with sample studies: Orthanc, and dcmqrscp of DCMTK."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from demo.ports import free_port
from demo.studies import WrittenStudy, write_sample_studies, write_study
from tests.extraction import AE_TITLE, Extraction, tools_running, wait_until

ORTHANC = shutil.which("Orthanc", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
DCMQRSCP = shutil.which("dcmqrscp")
DESCRIPTION = "Knie \"rechts\", Übersicht; 'neu', größer"
_SECONDS_TO_START = 30.0
_SECONDS_TO_END = 20.0
_SECONDS_TO_LOAD = 60.0


@dataclass(frozen=True)
class RealPacs:
    """A PACS that runs; it knows QBNIFFLER at ``receiver_port``."""

    ae_title: str
    port: int
    receiver_port: int

    @property
    def address(self) -> str:
        """AET@HOST:PORT."""
        return f"{self.ae_title}@127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def extraction(
        self, folder: Path, config: dict[str, object] | None = None, system: dict[str, object] | None = None
    ) -> Iterator[Extraction]:
        """An extraction from it; no process of the extraction is left in the end."""
        extraction = Extraction(
            folder, source=self.address, port=self.receiver_port, system=system or {}, config=config or {}
        )
        try:
            yield extraction
        finally:  # where a test failed
            for process in extraction.started:
                process.kill()
                process.wait()
        assert tools_running(self.receiver_port) == []


@contextlib.contextmanager
def orthanc(folder: Path, studies: Iterable[WrittenStudy]) -> Iterator[RealPacs]:
    """Debian's Orthanc with a database in ``folder``, loaded through its REST API."""
    assert ORTHANC
    pacs = RealPacs("ORTHANC", free_port(), free_port())
    http_port = free_port()
    settings = {
        "Name": "Orthanc of the tests",
        "StorageDirectory": str(folder / "database"),
        "IndexDirectory": str(folder / "database"),
        "HttpPort": http_port,
        "DicomAet": pacs.ae_title,
        "DicomPort": pacs.port,
        # Orthanc answers C-FIND in this encoding, whatever the studies have.
        "DefaultEncoding": "Utf8",
        "DicomModalities": {"receiver": [AE_TITLE, "127.0.0.1", pacs.receiver_port]},
        "SaveJobs": False,
    }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    with _running([ORTHANC, str(configuration)], folder, pacs.port, http_port):
        rest = http.client.HTTPConnection("127.0.0.1", http_port, timeout=_SECONDS_TO_LOAD)
        with contextlib.closing(rest):
            for path in (path for study in studies for path in study.paths):
                rest.request("POST", "/instances", path.read_bytes())
                answer = rest.getresponse()
                assert json.load(answer)["Status"] == "Success", path
        yield pacs


@contextlib.contextmanager
def dcmqrscp(folder: Path, studies: Iterable[WrittenStudy]) -> Iterator[RealPacs]:
    """dcmqrscp of DCMTK with one storage area: read by the receiver of the tests, filled by LOADER, by C-STORE."""
    assert DCMQRSCP
    pacs = RealPacs("QRSCP", free_port(), free_port())
    area = folder / "area"
    area.mkdir()
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"""\
NetworkTCPPort = {pacs.port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
receiver = ({AE_TITLE}, localhost, {pacs.receiver_port})
loader = (LOADER, localhost, 104)
peers = receiver, loader
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{pacs.ae_title} {area} RW (200, 1024mb) peers
AETable END
"""
    )
    storescu = ["storescu", "-aet", "LOADER", "-aec", pacs.ae_title, "127.0.0.1", str(pacs.port)]
    with _running([DCMQRSCP, "--config", str(configuration)], folder, pacs.port):
        paths = [str(path) for study in studies for path in study.paths]
        subprocess.run([*storescu, *paths], check=True, timeout=_SECONDS_TO_LOAD)
        yield pacs


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, *ports: int) -> Iterator[None]:
    """The PACS listens on these ports; it and its children end afterwards."""
    log = folder / "pacs.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def listens() -> bool:
        assert process.poll() is None, f"{command[0]} ended: {log.read_text(errors='replace')}"
        for port in ports:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)):
                    return False
        return True

    try:
        wait_until(listens, _SECONDS_TO_START)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_SECONDS_TO_END)
        finally:
            # A PACS that forks for each association leaves those that still talk.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def write_archive(folder: Path) -> dict[str, WrittenStudy]:
    """Write the studies that the PACS are loaded with, by AccessionNumber: the demo's, and some that resemble them."""
    return {
        study.accession_number: study
        for study in (
            *write_sample_studies(folder),
            # The same numbers as those of others but for leading zeros.
            write_study(folder, patient_id="1234", patient_name="Roe^Jane", accession_number="0000017"),
            write_study(folder, patient_id="5678", patient_name="Roe^Rita", accession_number="17"),
            write_study(
                folder,
                patient_id="B-0815",
                patient_name="Größe^Änne",
                accession_number="MR20A00131",
                study_date="20200131",
                study_description=DESCRIPTION,
                instances_per_series=2,
            ),
        )
    }


def attributes(*keywords: str, indexes: Sequence[int] = (0, 1, 2)) -> dict[str, object]:
    """The part of config.json that names the attributes of a row."""
    settings: dict[str, object] = {"NumberOfQueryAttributes": len(keywords)}
    for place, keyword, index in zip(("First", "Second", "Third"), keywords, indexes, strict=False):
        settings |= {f"{place}Attr": keyword, f"{place}Index": index}
    return settings


def check_files(extraction: Extraction, studies: Iterable[WrittenStudy]) -> None:
    """StorageFolder holds these studies and nothing else: each instance as it was loaded, where FilePath says."""
    loaded = {}
    for path in (path for study in studies for path in study.paths):
        dataset = dcmread(path)
        folder = Path(dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID)
        loaded[folder / f"{dataset.SOPInstanceUID}.dcm"] = dataset
    stored = {path.relative_to(extraction.storage): path for path in stored_files(extraction)}
    assert stored.keys() == loaded.keys()
    for place, dataset in loaded.items():
        assert dcmread(stored[place]) == dataset, place


def stored_files(extraction: Extraction) -> list[Path]:
    """Every file in StorageFolder."""
    return [path for path in extraction.storage.rglob("*") if path.is_file()]


def receptions(extraction: Extraction) -> dict[Path, tuple[int, int]]:
    """Every file in StorageFolder, with what changes when its instance is received once more."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in stored_files(extraction)}


def study_entries(studies: Iterable[WrittenStudy]) -> set[str]:
    """The checkpoint entries of studies: PatientID,StudyInstanceUID."""
    return {f"{study.patient_id},{study.study_instance_uid}" for study in studies}


def answers(extraction: Extraction) -> list[tuple[str, str, str, str]]:
    """Of every row its outcome, how many studies it has, how many images were expected and received."""
    return [(row["Outcome"], row["Studies"], row["Expected"], row["Received"]) for row in extraction.outcomes()]
