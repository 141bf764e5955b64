"""The nightly window: when studies may be begun, and until when a run sleeps."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from niffler.night import Window

ACROSS_MIDNIGHT = Window(19, 7)
WITHIN_A_DAY = Window(1, 5)
_HOURS = st.integers(0, 23)
_WINDOWS = st.builds(Window, _HOURS, _HOURS)
_TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1))


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2020, 9, 21, hour, minute, second)


@pytest.mark.parametrize("time", [at(19), at(23, 59, 59), at(0), at(3, 30), at(6, 59, 59)])
def test_a_window_across_midnight_is_open_from_its_start_to_its_end(time: datetime) -> None:
    assert ACROSS_MIDNIGHT.is_open(time)


@pytest.mark.parametrize("time", [at(7), at(7, 0, 1), at(12), at(18, 59, 59)])
def test_a_window_across_midnight_is_shut_by_day(time: datetime) -> None:
    assert not ACROSS_MIDNIGHT.is_open(time)


@pytest.mark.parametrize("time", [at(1), at(3), at(4, 59, 59)])
def test_a_window_within_a_day_is_open_between_its_hours(time: datetime) -> None:
    assert WITHIN_A_DAY.is_open(time)


@pytest.mark.parametrize("time", [at(0, 59, 59), at(5), at(12), at(23)])
def test_a_window_within_a_day_is_shut_outside_of_its_hours(time: datetime) -> None:
    assert not WITHIN_A_DAY.is_open(time)


@pytest.mark.parametrize("hour", [0, 7, 23])
def test_equal_hours_mean_always(hour: int) -> None:
    assert all(Window(hour, hour).is_open(at(now, minute)) for now in range(24) for minute in (0, 59))


def test_a_window_may_begin_or_end_at_midnight() -> None:
    assert [hour for hour in range(24) if Window(0, 6).is_open(at(hour))] == [0, 1, 2, 3, 4, 5]
    assert [hour for hour in range(24) if Window(20, 0).is_open(at(hour))] == [20, 21, 22, 23]


@pytest.mark.parametrize(
    ("now", "opening"),
    [(at(7), at(19)), (at(18, 59, 59), at(19)), (at(19), at(19) + timedelta(days=1)), (at(23), at(19) + timedelta(1))],
)
def test_the_next_opening_is_the_next_time_of_the_start_hour(now: datetime, opening: datetime) -> None:
    assert ACROSS_MIDNIGHT.next_opening(now) == opening


@pytest.mark.parametrize(
    ("now", "closing"), [(at(19), at(7) + timedelta(days=1)), (at(0), at(7)), (at(6, 59, 59), at(7))]
)
def test_the_next_closing_is_the_next_time_of_the_end_hour(now: datetime, closing: datetime) -> None:
    assert ACROSS_MIDNIGHT.next_closing(now) == closing


def test_the_opening_after_the_last_day_of_a_year_is_in_the_next() -> None:
    assert WITHIN_A_DAY.next_opening(datetime(2020, 12, 31, 12)) == datetime(2021, 1, 1, 1)


@given(_WINDOWS, _TIMES)
def test_a_shut_window_stays_shut_until_its_next_opening_and_then_opens(window: Window, now: datetime) -> None:
    if window.is_open(now):
        return
    opening = window.next_opening(now)
    assert now < opening <= now + timedelta(days=1)
    assert window.is_open(opening)
    assert not window.is_open(opening - timedelta(microseconds=1))


@given(_WINDOWS, _TIMES)
def test_an_open_window_stays_open_until_its_next_closing_and_then_shuts(window: Window, now: datetime) -> None:
    if not window.is_open(now) or window.start_hour == window.end_hour:
        return
    closing = window.next_closing(now)
    assert now < closing <= now + timedelta(days=1)
    assert not window.is_open(closing)
    assert window.is_open(closing - timedelta(microseconds=1))
    assert all(window.is_open(now + (closing - now) * part / 10) for part in range(10))


@pytest.mark.parametrize(
    ("window", "now", "hours", "end"),
    [
        (Window(19, 7), datetime(2026, 1, 1, 20), 5, datetime(2026, 1, 2, 1)),
        (Window(19, 7), datetime(2026, 1, 1, 12), 5, datetime(2026, 1, 2, 0)),
        (Window(19, 7), datetime(2026, 1, 1, 20), 12, datetime(2026, 1, 2, 20)),
        (Window(1, 5), datetime(2026, 1, 1, 3), 10, datetime(2026, 1, 3, 5)),
        (Window(19, 7), datetime(2026, 1, 1, 12), 12, datetime(2026, 1, 2, 7)),
        (Window(19, 7), datetime(2026, 1, 1, 12), 12 * 36525 + 1, datetime(2126, 1, 2, 20)),
        (Window(3, 3), datetime(2026, 1, 1, 3), 48, datetime(2026, 1, 3, 3)),
    ],
)
def test_the_end_of_work_is_reckoned_in_open_windows(window: Window, now: datetime, hours: int, end: datetime) -> None:
    assert window.after_work(now, hours * 3600) == end
