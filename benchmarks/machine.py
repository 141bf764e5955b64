"""The machine and the versions that figures belong to."""

import os
import platform
import re
from datetime import datetime
from pathlib import Path

import psutil

from benchmarks.processes import first_line


def describe_machine() -> dict[str, object]:
    """Cores, memory, processor, system, and how busy it is at the moment."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": round(os.getloadavg()[0], 1),
    }


def describe_versions(findscu: Path, environment: dict[str, str]) -> dict[str, str]:
    """What was measured; a program that is not there is left out."""
    found = {
        "Python": platform.python_version(),
        "Java": _number_in(first_line(["java", "-version"])),
        "tools": first_line([str(findscu), "-V"], environment),
        "Orthanc": _number_in(first_line(["Orthanc", "--version"])),
        "DCMTK": _number_in(first_line(["storescp", "--version"])),
    }
    return {name: version for name, version in found.items() if version}


def now() -> str:
    """The date that stands beside the figures."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _number_in(line: str) -> str:
    """The version number in what a program says of itself."""
    found = re.search(r"\d+(\.\d+)+\S*\b", line)
    return found.group() if found else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
