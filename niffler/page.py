"""Figures and pictures → one page of HTML that needs nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from niffler.figures import Figures, Problem
from niffler.pace import Pace
from niffler.progress import in_bytes, in_hours
from niffler.vocabulary import ANSWERED, Outcome

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_MEANINGS = {
    Outcome.RETRIEVED: "all images are here",
    Outcome.FOUND: "listed in cfind-output.csv",
    Outcome.NOT_FOUND: "the PACS has no such study",
    Outcome.PARTIAL: "some images are missing",
    Outcome.FAILED: "the PACS answered with an error",
    Outcome.REFUSED: "not as asked, so not moved",
    Outcome.INVALID: "cannot be asked for",
    Outcome.PENDING: "not done yet",
}


@dataclass(frozen=True)
class Setting:
    """One key of the settings and its value."""

    key: str
    value: str
    is_default: bool


@dataclass(frozen=True)
class About:
    """What a page says besides its numbers."""

    title: str
    state: str
    """In a word or two: complete, stopped, running."""
    ending: str
    times: str
    estimated_end: str
    where: str
    """Which lines are meant, and where the details stand."""
    settings: tuple[Setting, ...]
    note_on_settings: str
    versions: Mapping[str, str]
    footer: str


@dataclass(frozen=True)
class Chart:
    """A picture in two widths, as SVG."""

    title: str
    note: str
    wide: str
    narrow: str


@dataclass(frozen=True)
class _Tile:
    name: str
    value: str
    note: str = ""


def page_html(about: About, figures: Figures, pace: Pace | None, charts: tuple[Chart, ...]) -> str:
    """The page."""
    from markupsafe import Markup

    shown = [Chart(chart.title, chart.note, Markup(chart.wide), Markup(chart.narrow)) for chart in charts]
    return templates().get_template("report.html").render(
        about=about, figures=figures, tiles=_tiles(about, figures, pace), charts=shown, meanings=_MEANINGS,
        number=in_number, places=places,
    )  # fmt: skip


def in_number(number: int) -> str:
    """A number with its thousands apart."""
    return f"{number:,}"


def in_percent(part: int, whole: int) -> str:
    """A share that says 100 % or 0 % only where it is that."""
    if not whole or part in (0, whole):
        return "100 %" if part == whole else "0 %"
    return f"{min(max(100 * part / whole, 0.1), 99.9):.1f} %"


def places(problem: Problem) -> str:
    """Where the rows of a problem are: the first of them, and how many more there are."""
    shown = [example.place for example in problem.examples]
    if len(shown) > 1 and all(place.startswith(("line ", "row ")) for place in shown):
        shown = [
            f"{shown[0].partition(' ')[0]}s {shown[0].partition(' ')[2]}",
            *(one.partition(" ")[2] for one in shown[1:]),
        ]
    more = problem.rows - len(shown)
    return ", ".join(shown) + (f" and {in_number(more)} more" if more else "")


def _tiles(about: About, figures: Figures, pace: Pace | None) -> list[_Tile]:
    answered = sum(rows for outcome, rows in figures.counts.items() if outcome in ANSWERED)
    tiles = [
        _Tile(
            "Rows answered", in_percent(answered, figures.rows), f"{in_number(answered)} of {in_number(figures.rows)}"
        )
    ]
    if pace is not None:
        tiles.append(_Tile("Studies", in_number(len(figures.studies)), "verified complete"))
        tiles.append(_Tile("Images", in_number(figures.instances)))
        hours = pace.worked_seconds / 3600
        if figures.size:
            tiles.append(_Tile("Data", in_bytes(figures.size), f"{in_bytes(round(figures.size / hours))} an hour"))
        tiles.append(
            _Tile("At work", in_hours(pace.worked_seconds), f"{len(figures.studies) / hours:,.0f} studies an hour")
        )
    if about.estimated_end:
        tiles.append(_Tile("Estimated end", about.estimated_end))
    return tiles


def templates() -> "Environment":
    """The HTML around what is told; whatever is put into it is text."""
    # Imported here, as an extraction needs it when it is asked for a page and not while it starts.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
