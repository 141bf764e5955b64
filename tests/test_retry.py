"""When something is tried again, how long the run pauses, and when it gives up."""

import itertools

import pytest

from niffler.retry import ALIKE_ENDINGS, FIRST_CONTACT_SECONDS, Breaker, Patience, Portion, Remedy, remedy
from niffler.vocabulary import ANSWERED, Outcome

HOUR = 3600.0


# What an outcome calls for


@pytest.mark.parametrize("outcome", [*sorted(ANSWERED), Outcome.REFUSED, Outcome.INVALID, Outcome.PENDING])
def test_an_answer_stands(outcome: Outcome) -> None:
    assert remedy(outcome, 0, 0) is Remedy.NONE
    assert remedy(outcome, 0xA700, 0) is Remedy.NONE


@pytest.mark.parametrize("outcome", [Outcome.PARTIAL, Outcome.FAILED])
@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA702, 0x0213])
def test_a_pacs_short_of_resources_is_given_a_pause(outcome: Outcome, status: int) -> None:
    assert remedy(outcome, status, 0) is Remedy.AGAIN_AFTER_PAUSE
    assert remedy(outcome, status, 2) is Remedy.AGAIN_AFTER_PAUSE


def test_a_pacs_that_could_send_no_image_at_all_is_given_a_pause() -> None:
    assert remedy(Outcome.FAILED, 0xB000, 0) is Remedy.AGAIN_AFTER_PAUSE
    assert remedy(Outcome.PARTIAL, 0xB000, 2) is Remedy.AGAIN


@pytest.mark.parametrize("status", [0, 0xA801, 0xA900, 0xC000, 0xC5FF, 0xFE00, 0x0110, 0x0122, None])
def test_every_other_failure_is_tried_again_without_a_pause(status: int | None) -> None:
    assert remedy(Outcome.FAILED, status, 0) is Remedy.AGAIN
    assert remedy(Outcome.PARTIAL, status, 1) is Remedy.AGAIN


# How long to wait


def test_pauses_start_at_one_second_and_double_to_sixty() -> None:
    patience = Patience(HOUR)
    patience.heard()
    assert [patience.pause_for_silence(0) for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    shortage = Patience(HOUR)
    assert [shortage.pause_for_shortage(0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_any_response_resets_the_pauses_and_the_clock() -> None:
    patience = Patience(HOUR)
    patience.heard()
    for now in range(5):
        patience.pause_for_silence(float(now))
    assert patience.silent_seconds(100) == 100
    patience.heard()
    assert patience.silent_seconds(100) == 0
    assert patience.pause_for_silence(5000) == 1
    assert not patience.is_over(5000 + HOUR - 1)
    assert patience.is_over(5000 + HOUR)


def test_a_pacs_that_answered_once_is_waited_for_as_long_as_the_settings_say() -> None:
    patience = Patience(HOUR)
    patience.heard()
    patience.pause_for_silence(100)
    assert not patience.is_over(100 + HOUR - 1)
    assert patience.is_over(100 + HOUR)


def test_at_the_first_contact_two_minutes_are_enough() -> None:
    patience = Patience(HOUR)
    patience.pause_for_silence(100)
    assert FIRST_CONTACT_SECONDS == 120
    assert not patience.is_over(219)
    assert patience.is_over(220)


def test_a_shorter_setting_counts_at_the_first_contact_too() -> None:
    patience = Patience(12)
    patience.pause_for_silence(100)
    assert not patience.is_over(111)
    assert patience.is_over(112)


def test_no_pause_is_longer_than_what_is_left() -> None:
    patience = Patience(HOUR)
    now = 0.0
    pauses = []
    while not patience.is_over(now):
        pauses.append(patience.pause_for_silence(now))
        now += pauses[-1]
    assert sum(pauses) == FIRST_CONTACT_SECONDS
    assert now == FIRST_CONTACT_SECONDS


def test_without_trouble_it_is_never_over() -> None:
    patience = Patience(0)
    assert not patience.is_over(1e9)
    assert patience.silent_seconds(1e9) == 0
    patience.heard()
    patience.served()
    assert not patience.is_over(1e9)


def test_a_pacs_that_answers_only_that_it_is_busy_is_given_up_too() -> None:
    patience = Patience(HOUR)
    for now in range(0, 3600, 60):
        patience.heard()
        assert not patience.is_over(now)
        patience.pause_for_shortage(now)
    patience.heard()
    assert patience.is_over(HOUR)


def test_a_busy_pacs_that_serves_again_has_all_the_time_again() -> None:
    patience = Patience(HOUR)
    patience.heard()
    patience.pause_for_shortage(0)
    patience.pause_for_shortage(1)
    patience.served()
    assert not patience.is_over(2 * HOUR)
    assert patience.pause_for_shortage(2 * HOUR) == 1


def test_time_in_which_the_window_was_shut_does_not_count() -> None:
    patience = Patience(HOUR)
    patience.heard()
    patience.pause_for_silence(0)
    patience.pause_for_shortage(0)
    patience.was_not_needed(12 * HOUR)
    assert not patience.is_over(13 * HOUR - 1)
    assert patience.is_over(13 * HOUR)
    Patience(HOUR).was_not_needed(HOUR)


# Endings alike


def test_ten_endings_alike_in_a_row_stop_the_run() -> None:
    breaker = Breaker()
    assert ALIKE_ENDINGS == 10
    assert [breaker.ended("C-MOVE: status C000H") for _ in range(10)] == [False] * 9 + [True]


def test_a_good_ending_or_another_kind_begins_the_count_anew() -> None:
    for other in ("", "C-MOVE: status A900H"):
        breaker = Breaker()
        endings = [*["same"] * 9, other, *["same"] * 9]
        assert not any(breaker.ended(kind) for kind in endings)
        assert breaker.ended("same")


def test_good_endings_never_stop_the_run() -> None:
    breaker = Breaker()
    assert not any(breaker.ended(kind) for kind in itertools.repeat("", 100))


def test_endings_of_many_kinds_do_not_stop_the_run() -> None:
    breaker = Breaker()
    assert not any(breaker.ended(kind) for kind in itertools.islice(itertools.cycle(["a", "b"]), 100))


# How many requests an association is given


def test_an_association_is_given_all_that_it_may_have_until_one_breaks() -> None:
    portion = Portion(20)
    for _ in range(30):
        assert portion.now == 20
        portion.ended(20, broke=False)


def test_after_a_break_the_next_is_given_what_the_last_one_served() -> None:
    portion = Portion(20)
    portion.ended(5, broke=True)
    assert portion.now == 5
    portion.ended(8, broke=True)
    assert portion.now == 5, "never more than before"
    portion.ended(1, broke=True)
    assert portion.now == 1


def test_an_association_that_served_nothing_says_nothing_about_how_many_it_serves() -> None:
    portion = Portion(20)
    portion.ended(0, broke=True)
    assert portion.now == 20


def test_ten_associations_in_good_order_double_what_the_next_is_given() -> None:
    portion = Portion(20)
    portion.ended(4, broke=True)
    given = []
    for _ in range(40):
        given.append(portion.now)
        portion.ended(portion.now, broke=False)
    assert given == [4] * 10 + [8] * 10 + [16] * 10 + [20] * 10


def test_a_break_begins_the_count_of_good_ones_anew() -> None:
    portion = Portion(20)
    portion.ended(4, broke=True)
    for _ in range(9):
        portion.ended(4, broke=False)
    portion.ended(0, broke=True)
    for _ in range(9):
        portion.ended(4, broke=False)
    assert portion.now == 4
    portion.ended(4, broke=False)
    assert portion.now == 8
