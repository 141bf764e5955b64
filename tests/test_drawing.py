"""The pictures of the report: one for every length of a run, and nothing is said on the side."""

import os
import subprocess
import sys
import warnings
from datetime import datetime, timedelta

import numpy as np
import pytest

from niffler.drawing import Size, draw_growth
from niffler.pace import Growth
from tests.extraction import ROOT

SECONDS = [1, 45, 119, 121, 160, 179, 3_600, 7_100, 7_300, 90_000, 180_000, 4_000_000, 9_000_000, 70_000_000]


@pytest.mark.parametrize("width", [330, 990])
@pytest.mark.parametrize("seconds", SECONDS)
def test_a_run_of_any_length_is_drawn_without_a_warning(seconds: int, width: int) -> None:
    start = np.datetime64("2026-03-01T19:00:00")
    moments = start + (np.linspace(0, seconds, 20)).astype("timedelta64[s]")
    growth = Growth(moments.astype("datetime64[us]"), np.arange(20), np.arange(20) * 1_000_000)
    night = (datetime(2026, 3, 1, 19), datetime(2026, 3, 1, 19) + timedelta(seconds=seconds))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = draw_growth(growth, [night], Size(width, 220))
    assert drawn.startswith("<svg")
    assert drawn.count("<text") >= 3, "times stand below it"


def test_nothing_is_said_where_no_home_folder_can_be_written() -> None:
    code = (
        "import logging\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "from tests.test_drawing import test_a_run_of_any_length_is_drawn_without_a_warning as draw\n"
        "draw(3600, 330)\n"
    )
    places = ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in places} | {"HOME": os.devnull}
    drawn = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert (drawn.stdout, drawn.stderr) == ("", "")
