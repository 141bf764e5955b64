"""Debian's Chromium without a window: how a page comes out, and what the browser has to complain of."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")

# A window is never narrower than 500 points, so the page is measured inside of frames.
_FRAME = '<iframe src="{page}" style="border: 0; width: {width}px; height: 3000px"></iframe>'
_MEASURE = """
<script>
addEventListener("load", () => {
  const told = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, root = page.documentElement
    const style = (one) => page.defaultView.getComputedStyle(one)
    const shown = (name) => [...page.querySelectorAll(name)].some((one) => style(one).display != "none")
    return {
      width: root.clientWidth, scroll_width: root.scrollWidth, text: page.body.innerText,
      background: style(page.body).backgroundColor, ink: style(page.body).color,
      drawn: [...page.querySelectorAll("svg path")].map((one) => style(one).fill),
      wide: shown(".wide"), narrow: shown(".narrow"),
      loaded: page.defaultView.performance.getEntriesByType("resource").map((one) => one.name),
    }
  })
  document.body.innerHTML = "<pre id=told></pre>"
  document.getElementById("told").textContent = JSON.stringify(told)
})
</script>
"""


@dataclass(frozen=True)
class Seen:
    """A page in a frame."""

    width: int
    scroll_width: int
    text: str
    background: str
    ink: str
    drawn: Sequence[str]
    """The colours in which the pictures are filled."""
    wide: bool
    narrow: bool
    loaded: Sequence[str]
    """The addresses of what the page fetched besides itself."""


def look_at(page: Path, widths: Sequence[int], *, dark: bool = False) -> tuple[list[Seen], list[str]]:
    """Show a page in each of these widths; also returns what the browser complained of."""
    frames = page.with_name("frames.html")
    shown = "".join(_FRAME.format(page=page.name, width=width) for width in widths)
    frames.write_text(f"<!DOCTYPE html><body>{shown}{_MEASURE}</body>")
    document, complaints = load(frames, "--allow-file-access-from-files", dark=dark)
    found = re.search(r'<pre id="told">(.*)</pre>', document, re.DOTALL)
    assert found, document
    return [Seen(**told) for told in json.loads(unescape(found.group(1)))], complaints


def load(page: Path, *options: str, dark: bool = False) -> tuple[str, list[str]]:
    """The document as the browser has it in the end, and what it complained of."""
    assert CHROMIUM is not None
    called = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
            f"--user-data-dir={page.parent / 'browser'}", "--enable-logging=stderr", "--window-size=1800,1000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", *options, "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "HOME": str(page.parent)},
    )  # fmt: skip
    return called.stdout, [line for line in called.stderr.splitlines() if "CONSOLE" in line]
