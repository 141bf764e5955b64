"""Studies whose PatientID would lead a careless receiver out of its folder."""

import warnings
from pathlib import Path

from demo.studies import WrittenStudy, write_study

HOSTILE_PATIENT_IDS = {
    "parent folder": "../../x",
    "absolute path": "/tmp/niffler-hostile/x",
    "parent itself": "..",
    "empty": "",
    "blank": "  ",
    "300 characters": "x" * 300,
    "control characters": "a\nb\x1b[31m\tc",
    "null character": "a\0b",
    "two values": "a\\b",
    "path separators": "a/b/c",
    "pattern": "{00100020}",
    "option": "--help",
}


def write_hostile_studies(folder: Path) -> dict[str, WrittenStudy]:
    """Write one study of one instance for each hostile PatientID; the accession numbers are HOSTILE01 and on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the values are invalid is the point
        return {
            name: write_study(
                folder, patient_id=patient_id, accession_number=f"HOSTILE{number:02}", instances_per_series=1, size=16
            )
            for number, (name, patient_id) in enumerate(HOSTILE_PATIENT_IDS.items(), start=1)
        }
