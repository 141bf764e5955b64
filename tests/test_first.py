"""What a script says before it can do anything."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("script", ["ColdDataRetriever.py", "TestConnection.py"])
def test_a_python_without_the_libraries_is_one_readable_line(script: str) -> None:
    bare = subprocess.run(
        [sys.executable, "-S", str(ROOT / script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert bare.returncode == 3
    [line] = bare.stderr.splitlines()
    assert line.startswith("the suite's libraries are missing (jinja2, matplotlib, pandas, ")
    assert "source .venv/bin/activate" in line
