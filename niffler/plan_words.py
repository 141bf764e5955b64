"""The plan of a dry run as a person reads it; no value of a patient."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from niffler import findings, forecast
from niffler.findings import MATCHED, Found, Plan
from niffler.forecast import Measured
from niffler.night import Window, in_local_time
from niffler.progress import in_bytes, in_hours
from niffler.settings import Mode, Settings
from niffler.status import without_comments
from niffler.storage import free_bytes
from niffler.worklist import without_value

_LINES_SHOWN = 6


def in_words(settings: Settings, plan: Plan, rate: Measured | None) -> Iterator[str]:
    """The plan as a person reads it; no value of a patient."""
    worklist, rows = plan.worklist, list(findings.row_findings(plan.worklist, plan.findings))
    yield f"The plan, each row in {findings.plan_csv(settings.modified_csv)}:"
    for found, count in findings.count(worklist, plan.findings).items():
        of_these = [row for row, one in enumerate(rows) if one.found is found]
        names_lines = found not in MATCHED | {Found.INVALID, Found.NOT_ASKED, Found.FAILED}
        yield f"{count:7}  {found.value}" + (_lines([worklist.lines[row] for row in of_these]) if names_lines else "")
        if found in (Found.INVALID, Found.FAILED):
            reasons = findings.lines_by(
                worklist, of_these, lambda row: without_value(without_comments(rows[row].detail))
            )
            yield from (f"{len(lines):14}  {reason}{_lines(lines)}" for reason, lines in reasons.items())
    many = set(findings.with_suspiciously_many(worklist.requests, plan.findings))
    if many:
        lines = [line for line, request in zip(worklist.lines, worklist.request_of_row, strict=True) if request in many]
        yield f"{len(lines):7}  of these match suspiciously many studies{_lines(lines)}: is that the right key?"
    if settings.mode is Mode.RETRIEVE and plan.studies:
        yield from _work_in_words(settings, plan, rate)


def _work_in_words(settings: Settings, plan: Plan, rate: Measured | None) -> Iterator[str]:
    """What there is to retrieve, how long that takes, and whether it fits."""
    studies = list(plan.studies.values())
    asked = sum(plan.findings[index].found is not Found.NOT_ASKED for index in plan.wanted)
    scale = len(plan.wanted) / asked
    images = forecast.images_of(studies)
    untold = sum(study.images is None for study in studies)
    yield f"To retrieve: {len(studies)} studies, {images:.0f} images" + (
        f" ({untold} studies without a count have as many as the others)" if untold else ""
    )
    modalities = Counter(one for study in studies for one in study.modalities).most_common()
    if modalities:
        yield "  modalities: " + ", ".join(f"{name} in {count} studies" for name, count in modalities)
    if scale > 1:
        yield (f"  for all {len(plan.wanted)} rows about {len(studies) * scale:.0f} studies, {images * scale:.0f} "
               f"images, as {asked} were asked")  # fmt: skip
    if rate is None:
        yield "Time: not known before something was retrieved to a list in this folder"
    else:
        yield _time_in_words(settings, rate, rate.seconds_for(images * scale))
    if settings.receives_here:
        needed, free = forecast.bytes_of(studies, rate) * scale, free_bytes(settings.storage_folder)
        by = (f"by the mean size of {rate.images} images here" if rate and rate.size
              else "a rough estimate, by what is usual for these modalities")  # fmt: skip
        fits = needed <= free - settings.system.min_free_disk_gb * 1e9
        yield f"Disk: about {in_bytes(round(needed))} ({by}), {in_bytes(free)} are free" + (
            "" if fits else ": that does NOT FIT; make room or split the list"
        )


def _time_in_words(settings: Settings, rate: Measured, seconds: float) -> str:
    system = settings.system
    measured = f"{rate.images} images in {in_hours(rate.seconds)} of work, until {rate.until.replace('T', ' ')}"
    took = f"Time: about {in_hours(seconds)} at the rate last measured here ({measured})"
    window, now = Window(system.start_hour, system.end_hour), datetime.now()
    if not system.nightly_only:
        return f"{took}; started now until {in_local_time(now + timedelta(seconds=seconds))}"
    end = in_local_time(window.after_work(now, seconds))
    nights = forecast.nights(seconds, window)
    return f"{took}, {f'{nights:.1f} nights' if nights > 1 else 'less than a night'}; started now until {end}"


def _lines(lines: Sequence[int]) -> str:
    """Where the rows stand in the CSV, the first of them."""
    shown = ", ".join(map(str, lines[:_LINES_SHOWN])) + (", ..." if len(lines) > _LINES_SHOWN else "")
    return f" (line{'s' if len(lines) > 1 else ''} {shown})"
