"""Numbers → pictures as inline SVG whose colours and letters are those of the page around them."""

import io
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from niffler.figures import Studies
from niffler.pace import Growth, Hour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

# A list of fonts was made anew, or there is no home folder to keep it in: nothing for the log of an extraction.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

_INK, _GRID, _FIRST, _SECOND, _SHADE = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {_INK: "muted", _GRID: "line", _FIRST: "accent", _SECOND: "second", _SHADE: "shade"}
"""Colours that stand for the page's own ones, which differ by day and by night."""
_LEFT = 48
"""Room for numbers of six digits."""
_MINUTE, _HOUR = 60, 3600
_LEAST_WORK = 10 * _MINUTE
"""A few studies within a moment are no rate."""
_TIME_TICKS = {1: "1 s", 10: "10 s", _MINUTE: "1 min", 10 * _MINUTE: "10 min", _HOUR: "1 h", 10 * _HOUR: "10 h"}


@dataclass(frozen=True)
class Size:
    """A picture's width and height, in the points of the page."""

    width: int
    height: int


def prepare() -> None:
    """Read the libraries, which takes half a second, so that a picture is there sooner when it is wanted."""
    import matplotlib.dates
    import matplotlib.figure  # noqa: F401


def draw_growth(growth: Growth, nights: Sequence[tuple[datetime, datetime]], size: Size) -> str:
    """Studies and bytes over time, with the open windows shaded."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    has_sizes = bool(growth.sizes[-1])
    with _Canvas(size, "growth") as canvas:
        panels = canvas.picture.subplots(1 + has_sizes, 1, sharex=True, squeeze=False)[:, 0]
        series = [(growth.studies, "studies", _FIRST), (growth.sizes / 1e9, "GB", _SECOND)]
        for axes, (values, name, colour) in zip(panels, series, strict=False):
            _plain(axes, name)
            for opening, closing in nights:
                axes.axvspan(opening, closing, color=_SHADE, linewidth=0, zorder=0)
            axes.fill_between(growth.moments, values, color=colour, alpha=0.15, linewidth=0)
            axes.plot(growth.moments, values, color=colour, linewidth=1.8, solid_joinstyle="round")
            axes.set_ylim(bottom=0, top=float(values[-1]) * 1.08 or 1)
            axes.set_xlim(growth.moments[0], growth.moments[-1] + np.timedelta64(1, "s"))
        # Two at least: with more, its longest steps are too many for a narrow picture of some minutes, and it warns.
        locator = AutoDateLocator(minticks=2, maxticks=3 + size.width // 120)  # type: ignore[no-untyped-call]
        panels[-1].xaxis.set_major_locator(locator)
        formatter = ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
        formatter.formats = ["%Y", "%b %Y", "%-d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
        formatter.zero_formats = ["", "%Y", "%b", "%-d %b", "%H:%M", "%H:%M"]
        panels[-1].xaxis.set_major_formatter(formatter)
        return canvas.svg("studies and gigabytes over time")


def draw_hours(hours: Sequence[Hour], size: Size) -> str:
    """The rate in each hour of the day, in the order given; gigabytes, or studies where no bytes are known."""
    has_sizes = any(hour.size for hour in hours)
    rates = [
        (hour.size / 1e9 if has_sizes else hour.studies) / max(hour.worked_seconds, _LEAST_WORK) * _HOUR
        for hour in hours
    ]
    unit = "GB an hour" if has_sizes else "studies an hour"
    with _Canvas(size, "hours") as canvas:
        axes = canvas.picture.subplots()
        _plain(axes, unit)
        axes.bar(range(len(hours)), rates, width=0.72, color=_FIRST)
        every = -(-26 * len(hours) // (size.width - _LEFT))  # so that the names do not touch
        shown = range(0, len(hours), every)
        axes.set_xticks(shown, [f"{hours[index].hour}h" for index in shown])
        axes.set_xlim(-0.6, len(hours) - 0.4)
        axes.set_ylim(bottom=0)
        return canvas.svg(f"{unit} by the hour of the day")


def draw_durations(studies: Studies, size: Size) -> str:
    """How many studies took how long, on a scale on which each step is a multiple."""
    seconds = np.maximum(studies.seconds, 0.5)
    lowest, highest = np.log10(seconds.min()), np.log10(seconds.max())
    edges = np.logspace(lowest - 0.05, highest + 0.05, 25)
    with _Canvas(size, "durations") as canvas:
        axes = canvas.picture.subplots()
        _plain(axes, "studies")
        numbers, _ = np.histogram(seconds, edges)
        centres, widths = np.sqrt(edges[1:] * edges[:-1]), np.diff(edges) * 0.86
        axes.set_xscale("log")
        axes.bar(centres, numbers, width=widths, color=_SECOND)
        axes.set_xlim(edges[0], edges[-1])
        ticks = [tick for tick in _TIME_TICKS if edges[0] <= tick <= edges[-1]]
        if len(ticks) < 2:
            axes.set_xticks([edges[1], edges[-2]], [f"{edges[1]:.2g} s", f"{edges[-2]:.2g} s"])
        else:
            axes.set_xticks(ticks, [_TIME_TICKS[tick] for tick in ticks])
        axes.xaxis.set_minor_locator(_no_ticks())
        axes.set_ylim(bottom=0)
        return canvas.svg("time per study")


class _Canvas:
    """A picture under settings of its own, and its SVG made fit for a page."""

    def __init__(self, size: Size, name: str) -> None:
        import matplotlib as mpl
        from matplotlib.figure import Figure as Picture

        self._settings = mpl.rc_context(
            {
                "svg.fonttype": "none", "svg.hashsalt": f"{name}{size.width}", "font.size": 11, "text.color": _INK,
                "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK, "axes.edgecolor": _GRID,
                "grid.color": _GRID, "axes.formatter.useoffset": False, "path.simplify": True,
            }
        )  # fmt: skip
        self._settings.__enter__()
        self.picture: Picture = Picture(figsize=(size.width / 72, size.height / 72))

    def __enter__(self) -> "_Canvas":
        return self

    def __exit__(self, *error: object) -> None:
        self._settings.__exit__(None, None, None)

    def svg(self, label: str) -> str:
        text = io.StringIO()
        width, height = self.picture.get_size_inches() * 72
        gap = 42 * len(self.picture.axes) / height  # between panels, as a share of one of them
        self.picture.subplots_adjust(
            left=_LEFT / width, right=1 - 4 / width, top=1 - 26 / height, bottom=22 / height, hspace=gap
        )
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.picture.savefig(text, format="svg", transparent=True, metadata=nothing)
        return _for_page(text.getvalue(), label)


def _plain(axes: "Axes", title: str) -> None:
    """A quiet frame: a base line, a few lines across, the unit above."""
    axes.set_title(title, loc="left", fontsize=11, pad=7)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.tick_params(length=0, pad=5)
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter("{x:,.6g}")


def _no_ticks() -> "Locator":
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _for_page(svg: str, label: str) -> str:
    """Only the drawing: colours as the page's variables, its letters, and no names that could stand there twice."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r' id="[\w.]*_\d+"', "", svg)
    svg = re.sub(r" font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"font: (\d+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, name in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r"\s*\n\s*", " ", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
