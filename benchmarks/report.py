"""Figures as a table for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.figures import Check, Figure, Report


def print_about(about: Mapping[str, object]) -> None:
    """Print what the figures belong to."""
    for name, value in about.items():
        if isinstance(value, Mapping):
            print(f"{name}: " + ", ".join(f"{key} {one}" for key, one in value.items()))
        else:
            print(f"{name}: {value}")


def print_report(report: Report) -> None:
    """Print the table of one part."""
    titles = [figure.title for figure in report.figures] + [check.title for check in report.checks]
    width = max(map(len, titles))
    print(f"\n{report.title}")
    for figure in report.figures:
        print(f"  {figure.title:<{width}}  {_shown(figure.median):>8} {figure.unit:<8} {_spread(figure)}".rstrip())
    for check in report.checks:
        print(f"  {check.title:<{width}}  {_shown(check.value):>8} {check.unit:<8} {_verdict(check)}".rstrip())
    for note in report.notes:
        print(f"  {note}")


def write_json(path: Path, about: Mapping[str, object], reports: Sequence[Report]) -> None:
    """Write everything; medians and verdicts stand beside the values."""
    parts = [
        {
            "title": report.title,
            "figures": [{**asdict(figure), "median": figure.median} for figure in report.figures],
            "checks": [{**asdict(check), "is_met": check.is_met} for check in report.checks],
            "notes": list(report.notes),
        }
        for report in reports
    ]
    path.write_text(json.dumps({**about, "parts": parts}, indent=2) + "\n", encoding="utf-8")


def _spread(figure: Figure) -> str:
    if len(figure.values) == 1:
        return ""
    return f"({_shown(min(figure.values))} to {_shown(max(figure.values))})"


def _verdict(check: Check) -> str:
    if check.is_met is None:
        return ""
    wanted = f"at least {check.at_least:g}" if check.at_least is not None else f"at most {check.at_most:g}"
    return f"{wanted}: {'yes' if check.is_met else 'NO'}"


def _shown(value: float) -> str:
    """Three digits that count, none of them after the point of a large number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
