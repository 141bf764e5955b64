"""The short form of the report: an email as text and as HTML."""

from collections.abc import Sequence

from niffler.figures import Figures
from niffler.page import in_number, places, templates

_MOST_PROBLEMS = 12


def brief_text(lines: Sequence[str], figures: Figures | None) -> str:
    """The lines, then the problems by reason, each with what to do."""
    told = list(lines)
    if figures is not None and figures.problems:
        told += ["", "To look at:"]
        for problem in figures.problems[:_MOST_PROBLEMS]:
            told.append(
                f"- {problem.outcome.value} {in_number(problem.rows)}: {problem.reason.text} ({places(problem)})"
            )
            told.append(f"  {problem.reason.remedy}")
        if (more := len(figures.problems) - _MOST_PROBLEMS) > 0:
            told.append(f"and {more} other reasons; see the report")
    return "\n".join(told) + "\n"


def brief_html(title: str, lines: Sequence[str], figures: Figures | None) -> str:
    """The same as a mail program shows it; nothing in it is fetched."""
    problems = figures.problems[:_MOST_PROBLEMS] if figures else ()
    return templates().get_template("email.html").render(
        title=title, lines=lines, figures=figures, problems=problems, number=in_number, places=places,
        more=len(figures.problems) - len(problems) if figures else 0,
    )  # fmt: skip
