"""A clock that tests set, and that the script reads for the time of day."""

from dataclasses import dataclass
from pathlib import Path

from tests.extraction import wait_until


@dataclass(frozen=True)
class MovedClock:
    """Stands at the moment that it was set to last."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes a Python process read this clock; its time zone is EET, two hours before UTC."""
        return {
            "PYTHONPATH": str(Path(__file__).parent), "EXTRACTION_CLOCK": str(self.folder / "clock"), "TZ": "EET-2",
        }  # fmt: skip

    def set(self, moment: str) -> None:
        """Set it to YYYY-MM-DD HH:MM:SS."""
        self.folder.mkdir(exist_ok=True)
        new = self.folder / "new"
        new.write_text(moment)
        new.replace(self.folder / "clock")

    def wait_until_read(self, times: int) -> None:
        """Wait until the process has looked at it so many times more, so that what it does then is done."""
        readings = self.folder / "readings"
        before = readings.stat().st_size if readings.exists() else 0
        wait_until(lambda: readings.exists() and readings.stat().st_size >= before + times)
