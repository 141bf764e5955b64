"""The figures as one picture for the README."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from benchmarks.figures import Figure, Report

_GREY, _LIGHT, _BLUE = "#9a9a9a", "#c9c9c9", "#2f6fb0"
_COLOUR_OF_WAY = {"a": _GREY, "b": _LIGHT, "c": _BLUE}


def draw(path: Path, about: Mapping[str, object], reports: Sequence[Report]) -> None:
    """Draw an SVG: C-FIND and retrieval, the suite's own cost by the length of the list, and the receivers."""
    figures = {figure.key: figure for report in reports for figure in report.figures}
    titles = {figure.key.partition(".")[0]: report.title for report in reports for figure in report.figures}
    with mpl.rc_context({"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "benchmarks"}):
        picture = Picture(figsize=(11, 6.4), layout="constrained")
        grid = picture.subplots(2, 2)
        for axes, part in ((grid[0][0], "find"), (grid[0][1], "retrieval")):
            _draw_ways(axes, titles.get(part, ""), [one for key, one in figures.items() if key.startswith(f"{part}.")])
        _draw_own_cost(grid[1][0], figures)
        _draw_receivers(grid[1][1], figures)
        picture.supxlabel(_in_one_line(about), fontsize=8, color="#555555")
        picture.savefig(path, format="svg", metadata={"Date": None})


def _draw_ways(axes: Axes, title: str, figures: Sequence[Figure]) -> None:
    ways = [figure for figure in figures if figure.key.partition(".")[2][0] in _COLOUR_OF_WAY]
    colours = [_COLOUR_OF_WAY[figure.key.partition(".")[2][0]] for figure in ways]
    _draw_bars(axes, title, [(figure.title, figure.median) for figure in ways], colours, "{:.3g} s")


def _draw_receivers(axes: Axes, figures: Mapping[str, Figure]) -> None:
    rates = [figure for key, figure in figures.items() if key.startswith("receiver.")]
    colours = [_BLUE if ".embedded." in figure.key else _GREY for figure in rates]
    bars = [(figure.title, figure.median) for figure in rates]
    _draw_bars(axes, "Receiving CT slices, a second", bars, colours, "{:,.0f}")


def _draw_bars(axes: Axes, title: str, bars: Sequence[tuple[str, float]], colours: Sequence[str], shown: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_xticks([])
    if not bars:
        axes.set_yticks([])
        return
    drawn = axes.barh([name for name, _ in bars], [value for _, value in bars], color=list(colours))
    axes.bar_label(drawn, labels=[shown.format(value) for _, value in bars], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)


def _draw_own_cost(axes: Axes, figures: Mapping[str, Figure]) -> None:
    tasks = {"plan": ("read, check, plan", _BLUE), "resume": ("the same, resuming", _GREY)}
    bars: list[tuple[str, float]] = []
    colours: list[str] = []
    for key, figure in figures.items():
        task, _, rest = key.partition(".")
        rows, _, name = rest.partition(".")
        if task in tasks and name == "plan":
            words, colour = tasks[task]
            bars.append((f"{int(rows):,} rows: {words}", figure.median))
            colours.append(colour)
    _draw_bars(axes, "Own cost, without tools and PACS", bars, colours, "{:.3g} s")


def _in_one_line(about: Mapping[str, object]) -> str:
    machine, versions = about["machine"], about["versions"]
    assert isinstance(machine, dict)
    assert isinstance(versions, dict)
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}; {str(about['date'])[:10]}"
    )
