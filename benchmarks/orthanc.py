"""Orthanc, a plain process of the benchmark's own with a generated archive."""

import contextlib
import http.client
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import BenchmarkError
from benchmarks.processes import free_port, running, wait_until_listening
from demo.studies import WrittenStudy

AE_TITLE = "ORTHANC"
_STUDIES_AT_ONCE = 50


@contextlib.contextmanager
def orthanc(folder: Path, studies: Sequence[WrittenStudy], destination: tuple[str, int]) -> Iterator[str]:
    """An Orthanc that holds the studies and moves to the destination (AET, port); gives AET@HOST:PORT."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise BenchmarkError("Orthanc was not found; on Debian and Ubuntu: sudo apt-get install orthanc")
    folder.mkdir()
    ae_title, port = destination
    http_port, dicom_port = free_port(), free_port()
    configuration = folder / "orthanc.json"
    configuration.write_text(
        json.dumps(
            {
                "Name": "benchmark",
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "index"),
                "HttpPort": http_port,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomAet": AE_TITLE,
                "DicomPort": dicom_port,
                "DicomModalities": {"receiver": [ae_title, "127.0.0.1", port]},
                "Plugins": [],
            }
        )
    )
    output = folder / "output.txt"
    with running([program, str(configuration)], output, folder=folder) as process:
        wait_until_listening(process, http_port, output)
        wait_until_listening(process, dicom_port, output)
        for first in range(0, len(studies), _STUDIES_AT_ONCE):
            _upload(http_port, studies[first : first + _STUDIES_AT_ONCE])
        instances = sum(len(study.paths) for study in studies)
        if (held := _instances_held(http_port)) != instances:
            raise BenchmarkError(f"Orthanc holds {held} instances of {instances}")
        yield f"{AE_TITLE}@127.0.0.1:{dicom_port}"


def _upload(port: int, studies: Sequence[WrittenStudy]) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for study in studies:
            for path in study.paths:
                packed.write(path, f"{study.study_instance_uid}/{path.name}")
    _request(port, "POST", "/instances", archive.getvalue())


def _instances_held(port: int) -> int:
    return int(json.loads(_request(port, "GET", "/statistics"))["CountInstances"])


def _request(port: int, method: str, path: str, body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        response = connection.getresponse()
        content = response.read()
    if response.status != http.client.OK:
        raise BenchmarkError(f"Orthanc answered {response.status} {response.reason} to {method} {path}")
    return content
