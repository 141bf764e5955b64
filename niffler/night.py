"""The nightly window: the hours of the day in which studies may be retrieved."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Window:
    """From ``start_hour`` to ``end_hour``, local wall clock time, across midnight where the end is the smaller.

    With equal hours it is always open. Only what the clock shows counts, so a clock that jumps, for daylight saving or
    otherwise, opens and shuts it as it shows.
    """

    start_hour: int
    end_hour: int

    def is_open(self, now: datetime) -> bool:
        """Whether the window is open."""
        if self.start_hour == self.end_hour:
            return True
        if self.start_hour < self.end_hour:
            return self.start_hour <= now.hour < self.end_hour
        return now.hour >= self.start_hour or now.hour < self.end_hour

    def next_opening(self, now: datetime) -> datetime:
        """When the clock next shows the start hour."""
        return _next(self.start_hour, now)

    def next_closing(self, now: datetime) -> datetime:
        """When the clock next shows the end hour."""
        return _next(self.end_hour, now)

    def between(self, begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """When it was open from one moment to another, each time from its opening to its closing."""
        if self.start_hour == self.end_hour:
            return [(begin, end)]
        nights = []
        opening = begin if self.is_open(begin) else self.next_opening(begin)
        while opening < end:
            nights.append((opening, min(self.next_closing(opening), end)))
            opening = self.next_opening(opening)
        return nights

    def after_work(self, now: datetime, seconds: float) -> datetime:
        """When so many seconds of work will be done, if only open windows are worked in."""
        if self.start_hour == self.end_hour:
            return now + timedelta(seconds=seconds)
        night = timedelta(hours=(self.end_hour - self.start_hour) % 24)
        nights, left = divmod(timedelta(seconds=seconds), night)
        if nights and not left:
            nights, left = nights - 1, night
        return self._after_a_night(now, left) + timedelta(days=nights)

    def _after_a_night(self, now: datetime, left: timedelta) -> datetime:
        while True:
            begin = now if self.is_open(now) else self.next_opening(now)
            end = self.next_closing(begin)
            if begin + left <= end:
                return begin + left
            left -= end - begin
            now = end


def in_local_time(moment: datetime) -> str:
    """A moment as the log says it: date, time, and the zone, which in a container is often not the hospital's."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M %Z}"


def in_iso_time(moment: datetime) -> str:
    """A moment for a machine to read: ISO 8601 to the second, with the distance to UTC."""
    return moment.astimezone().isoformat(timespec="seconds")


def _next(hour: int, now: datetime) -> datetime:
    today = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)
