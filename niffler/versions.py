"""What the suite runs on: its own version and source, Python, its libraries."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path

_LIBRARIES = ("Jinja2", "matplotlib", "numpy", "pandas", "psutil", "pydantic", "pydicom", "pynetdicom", "schedule",
              "tqdm")  # fmt: skip


_SUITE = Path(__file__).resolve().parent.parent


def versions() -> dict[str, str]:
    """Name → version; the suite is told by the hash of its Python files, as people change them."""
    found = {"Niffler cold extraction": f"source {_source_hash(_SUITE)}", "Python": platform.python_version()}
    found |= {"system": f"{platform.system()} {platform.release()}"}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _source_hash(suite: Path) -> str:
    total = hashlib.sha256()
    for path in sorted((*suite.glob("*.py"), *(suite / "niffler").rglob("*.py"))):
        total.update(f"{path.relative_to(suite).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]
