"""The report page of a list: which of its files it is made from, what it says in words, which pictures it has."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from niffler.checkpoint import ledger_of
from niffler.drawing import Size, draw_durations, draw_growth, draw_hours
from niffler.errors import WrongInputError
from niffler.figures import Figures, Source, read_figures
from niffler.files import write_atomically
from niffler.head import Head, Run
from niffler.night import Window
from niffler.outcomes import outcomes_csv
from niffler.pace import Hour, Pace, growth_of, pace_of
from niffler.page import About, Chart, Setting, page_html
from niffler.progress import in_hours
from niffler.settings import Mode, Settings
from niffler.settings_told import SYSTEM, is_default
from niffler.shards import titled
from niffler.worklist import lines_of_rows

LEAST_STUDIES = 8
"""Fewer make no picture."""
WIDE, HALF, NARROW = 990, 480, 330
_FULL_HOUR = 3600.0


def report_html(modified: Path) -> Path:
    """The page of a list."""
    return modified.with_name(f"{modified.name}.report.html")


def figures_of(settings: Settings, lines: Sequence[int] | None, ledgers: Sequence[Path] = ()) -> Figures:
    """The numbers of the list; ``lines`` are those of its rows, None where they have to be read.

    ``ledgers`` are those of its shards, where it has none itself.
    """
    modified = settings.modified_csv
    if lines is None and settings.shard is None:
        with contextlib.suppress(WrongInputError):
            lines = lines_of_rows(settings.csv_file)
    source = Source(
        name=settings.csv_file.name,
        outcomes=outcomes_csv(modified),
        ledger=ledger_of(modified) if settings.mode is Mode.RETRIEVE and not ledgers else None,
        lines=lines or (),
        identifying=[attribute.index for attribute in settings.attributes] if settings.report_identifiers else (),
    )
    return read_figures([source], ledgers)


def write_page(
    settings: Settings, head: Head, figures: Figures, *, as_of: datetime, is_running: bool, estimated_end: str = "",
    note_on_settings: str = "", state: tuple[str, str] | None = None,
) -> None:  # fmt: skip
    """Draw what there is to draw and write the page beside the list; ``state`` is that of the last run, or as given."""
    modified = settings.modified_csv
    pace = pace_of(figures.studies)
    in_short, ending = state or _state(head.runs, is_running=is_running)
    about = About(
        title=titled(settings.csv_file.name, settings.shard),
        state=in_short,
        ending=ending,
        times=_times(head.runs, as_of),
        estimated_end=estimated_end,
        where=f"Lines are those of {settings.csv_file.name}; identifiers and details of these rows stand in "
        f"{outcomes_csv(modified).name}.",
        settings=_settings(head.settings),
        note_on_settings=note_on_settings,
        versions=head.versions,
        footer=f"Written {as_of:%Y-%m-%d %H:%M}. List {head.list_file}"
        + (f", SHA-256 {head.list_sha256}." if head.list_sha256 else "."),
    )
    charts = _charts(figures, pace, head.settings) if pace and len(figures.studies) >= LEAST_STUDIES else ()
    write_atomically(report_html(modified), page_html(about, figures, pace, charts))


def _state(runs: Sequence[Run], *, is_running: bool) -> tuple[str, str]:
    if not runs:
        return "As the outcomes file has it", ""
    last = runs[-1]
    if last.ended is None:
        return ("Running", "") if is_running else ("Not ended", "it still runs, or it was killed")
    return ("Complete", "") if last.exit_code in (0, 1) else ("Stopped", last.ending)


def _times(runs: Sequence[Run], as_of: datetime) -> str:
    if not runs:
        return f"as of {as_of:%Y-%m-%d %H:%M}"
    times = f"started {_moment(runs[0].started)}"
    if len(runs) > 1:
        times += f", {len(runs)} runs, the last since {_moment(runs[-1].started)}"
    return f"{times}, {f'ended {_moment(ended)}' if (ended := runs[-1].ended) else f'as of {as_of:%Y-%m-%d %H:%M}'}"


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")


def _settings(told: Mapping[str, Mapping[str, Any]]) -> tuple[Setting, ...]:
    return tuple(
        Setting(key, value if isinstance(value, str) else json.dumps(value), is_default(key, value))
        for keys in told.values()
        for key, value in keys.items()
    )


def _charts(figures: Figures, pace: Pace, told: Mapping[str, Mapping[str, Any]]) -> tuple[Chart, ...]:
    """Growth over time; the rate by the hour, once there was an hour of work; the time per study."""
    system = told.get(SYSTEM, {})
    growth = growth_of(figures.studies)
    window = None
    if system.get("NightlyOnly") and system.get("StartHour") != system.get("EndHour"):
        window = Window(int(system["StartHour"]), int(system["EndHour"]))
    begin, end = growth.moments[0].item(), growth.moments[-1].item()
    nights = window.between(begin, end) if window else []
    note = "open windows are shaded" if nights else ""
    charts = [
        Chart(
            "Studies and data over time", note,
            draw_growth(growth, nights, Size(WIDE, 330)), draw_growth(growth, nights, Size(NARROW, 300)),
        )
    ]  # fmt: skip
    if pace.worked_seconds >= _FULL_HOUR:
        hours = _in_order(pace.hours, window)
        pictures = [draw_hours(hours, Size(width, 220)) for width in (HALF, NARROW)]
        charts.append(Chart("Rate by the hour of the day", "while there was work", *pictures))
    note = (
        f"half of them within {_seconds(pace.median_seconds)}, nine of ten within {_seconds(pace.slow_seconds)}; "
        f"the longest took {_seconds(pace.longest_seconds)}"
    )
    pictures = [draw_durations(figures.studies, Size(width, 220)) for width in (HALF, NARROW)]
    charts.append(Chart("Time per study", note, *pictures))
    return tuple(charts)


def _in_order(hours: Sequence[Hour], window: Window | None) -> list[Hour]:
    """The hours of the night from its beginning, with others only where there was work in them."""
    if window is None:
        return list(hours)
    from_evening = [hours[(window.start_hour + number) % 24] for number in range(24)]
    length = (window.end_hour - window.start_hour) % 24
    worked = [number for number, hour in enumerate(from_evening) if hour.studies]
    return from_evening[: max([length, *(number + 1 for number in worked)])]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else in_hours(seconds)
