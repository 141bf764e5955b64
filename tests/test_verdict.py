"""What the final C-MOVE response and the files on disk say together about a study."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from niffler.arrivals import Received
from niffler.verdict import awaits_more, deliveries_told, judge
from niffler.vocabulary import Outcome, Response, Study, StudyResult

RETRIEVED, PARTIAL, FAILED = Outcome.RETRIEVED, Outcome.PARTIAL, Outcome.FAILED
FAILURES = (0xA700, 0xA701, 0xA702, 0xA801, 0xA900, 0xC000, 0xC5FF, 0xFE00, 0x0110, 0x0122, 0x0124, 0x0213, 0x0001)


def study(announced: int | None = None) -> Study:
    return Study("1.2.3", "P1", announced_instances=announced)


def response(
    status: int, completed: int | None = None, failed: int | None = None, warning: int | None = None, comment: str = ""
) -> Response:
    return Response(1, status, None, completed, failed, warning, comment)


def on_disk(instances: int, deliveries: int | None = None, other_patient: int = 0) -> Received:
    return Received(instances, 100 * instances, instances if deliveries is None else deliveries, other_patient)


# The receiver is ours: the files decide, too


@pytest.mark.parametrize(
    ("announced", "answered", "received", "outcome"),
    [
        (3, response(0, 3, 0, 0), on_disk(3), RETRIEVED),
        (None, response(0, 3, 0, 0), on_disk(3), RETRIEVED),
        (3, response(0, 2, 0, 1), on_disk(3), RETRIEVED),
        (3, response(0xB000, 2, 0, 1), on_disk(3), RETRIEVED),
        (3, response(0xB000, 0, 0, 3), on_disk(3), RETRIEVED),
        (3, response(0xB000, 3, 0, 0), on_disk(3), PARTIAL),
        (3, response(0xB000), on_disk(3), PARTIAL),
        (3, response(0xB000, 2, 1, 0), on_disk(2), PARTIAL),
        (3, response(0xB000, 0, 3, 0), on_disk(0), FAILED),
        (3, response(0xB000, 0, 0, 0), on_disk(0), FAILED),
        (3, response(0, 2, 1, 0), on_disk(2), PARTIAL),
        (2, response(0, 2, 1, 0), on_disk(2), PARTIAL),
        (3, response(0, 2, 0, 0), on_disk(2), PARTIAL),
        (3, response(0, 1, 0, 1), on_disk(2), PARTIAL),
        (3, response(0, 3, 0, 0), on_disk(2), PARTIAL),
        (None, response(0, 3, 0, 0), on_disk(2), PARTIAL),
        (3, response(0, 3, 0, 0), on_disk(0), FAILED),
        (3, response(0, 0, 0, 0), on_disk(0), FAILED),
        (None, response(0, 0, 0, 0), on_disk(0), FAILED),
        (None, response(0), on_disk(0), FAILED),
        (3, response(0), on_disk(3), RETRIEVED),
        (3, response(0), on_disk(2), PARTIAL),
        (3, response(0), on_disk(0), FAILED),
        # One image was sent twice and another not at all: what was counted arrived, but not what was announced.
        (3, response(0, 3, 0, 0), on_disk(2, deliveries=3), PARTIAL),
        (3, response(0, 6, 0, 0), on_disk(3, deliveries=6), RETRIEVED),
        # Without an announcement only the counts tell what there is, and one that was sent twice may hide another.
        (None, response(0, 6, 0, 0), on_disk(3, deliveries=6), PARTIAL),
        (None, replace(response(0, 3, 0, 0), remaining=2), on_disk(3), PARTIAL),
        (3, replace(response(0, 3, 0, 0), remaining=2), on_disk(3), RETRIEVED),
        (None, response(0), on_disk(2), RETRIEVED),
        # Some were on disk from an earlier attempt, and the PACS sends what is new only.
        (3, response(0, 3, 0, 0), on_disk(3, deliveries=1), RETRIEVED),
        (3, response(0, 3, 0, 0), on_disk(0, other_patient=3), FAILED),
    ],
)
def test_a_study_is_retrieved_if_status_counts_and_files_all_say_so(
    announced: int | None, answered: Response, received: Received, outcome: Outcome
) -> None:
    assert judge(study(announced), answered, received).outcome is outcome


@pytest.mark.parametrize("status", FAILURES)
def test_a_failure_status_is_never_retrieved_whatever_is_on_disk(status: int) -> None:
    assert judge(study(3), response(status, 3, 0, 0), on_disk(3)).outcome is PARTIAL
    assert judge(study(3), response(status), on_disk(0)).outcome is FAILED


def test_new_images_that_came_while_the_study_was_moved_are_no_fault() -> None:
    result = judge(study(3), response(0, 5, 0, 0), on_disk(5))
    assert (result.outcome, result.expected, result.received) == (RETRIEVED, 5, 5)
    assert result.detail == "the PACS announced 3"


@pytest.mark.parametrize(
    ("announced", "answered", "received", "expected"),
    [
        (3, response(0, 3, 0, 0), 3, 3),
        (None, response(0, 3, 0, 0), 3, 3),
        (5, response(0xB000, 2, 1, 0), 2, 5),
        (None, response(0xB000, 2, 1, 0), 2, 3),
        (3, response(0xC000), 0, 3),
        (None, response(0xC000), 0, 0),
        (None, response(0), 2, 2),
    ],
)
def test_expected_is_what_was_announced_or_counted_whichever_is_more(
    announced: int | None, answered: Response, received: int, expected: int
) -> None:
    result = judge(study(announced), answered, on_disk(received))
    assert (result.expected, result.received) == (expected, received)


@pytest.mark.parametrize(
    ("announced", "answered", "received", "told"),
    [
        (3, response(0xA702, 0, 3, 0), on_disk(0), ["A702H", "out of resources", "3 of 3 failed"]),
        (3, response(0xC001, comment="disk 7 is gone"), on_disk(0), ["C001H", "disk 7 is gone"]),
        (3, response(0xB000, 2, 1, 0), on_disk(2), ["B000H", "some images failed", "1 of 3 failed"]),
        (3, response(0, 2, 1, 0), on_disk(2), ["1 of 3 failed"]),
        (3, response(0, 0, 0, 0), on_disk(0), ["success", "no image was sent"]),
        (3, response(0, 2, 0, 0), on_disk(2), ["announced 3", "sent 2"]),
        (3, response(0, 3, 0, 0), on_disk(2), ["announced 3", "2 are on disk"]),
        (None, response(0, 3, 0, 0), on_disk(2), ["counted 3", "of this study arrived"]),
        (3, response(0, 3, 0, 0), on_disk(1, other_patient=2), ["1 are on disk", "2 carry another PatientID"]),
    ],
)
def test_a_bad_verdict_says_why(announced: int | None, answered: Response, received: Received, told: list[str]) -> None:
    result = judge(study(announced), answered, received)
    assert result.outcome is not RETRIEVED
    assert [piece for piece in told if piece not in result.detail] == []


def test_a_good_verdict_of_our_own_receiver_needs_no_words() -> None:
    assert judge(study(3), response(0, 3, 0, 0), on_disk(3)) == StudyResult(study(3), RETRIEVED, 3, 3, status=0)


def test_a_study_that_nobody_counted_is_retrieved_and_says_so() -> None:
    assert judge(study(), response(0), on_disk(2)).detail == "the PACS gave no count"


@pytest.mark.parametrize(
    ("announced", "answered", "received", "awaits"),
    [
        (3, response(0, 3, 0, 0), on_disk(2), True),
        (3, response(0, 3, 0, 0), on_disk(3), False),
        (3, response(0, 2, 0, 1), on_disk(2), True),
        (3, response(0, 6, 0, 0), on_disk(3, deliveries=5), True),
        (3, response(0, 6, 0, 0), on_disk(3, deliveries=6), False),
        (3, response(0xB000, 2, 1, 0), on_disk(1), True),
        (3, response(0xB000, 2, 1, 0), on_disk(2), False),
        (3, response(0xC000), on_disk(0), False),
        (3, response(0, 0, 0, 0), on_disk(0), False),
        (3, response(0), on_disk(2), True),
        (3, response(0), on_disk(3), False),
        (None, response(0), on_disk(3), True),
    ],
)
def test_images_are_awaited_until_as_many_came_as_were_counted_or_announced(
    announced: int | None, answered: Response, received: Received, awaits: bool
) -> None:
    assert awaits_more(study(announced), answered, received) is awaits


@settings(deadline=None)
@given(
    announced=st.none() | st.integers(1, 4),
    status=st.sampled_from((0, 0, 0xB000, *FAILURES)),
    completed=st.integers(0, 4),
    failed=st.none() | st.integers(0, 4),
    warning=st.none() | st.integers(0, 4),
    instances=st.integers(0, 4),
    again=st.integers(0, 3),
)
def test_whatever_the_pacs_counts_retrieved_means_complete(
    announced: int | None,
    status: int,
    completed: int,
    failed: int | None,
    warning: int | None,
    instances: int,
    again: int,
) -> None:
    answered = response(status, completed, failed, warning)
    result = judge(study(announced), answered, on_disk(instances, instances + again))
    if result.outcome is RETRIEVED:
        assert status in (0, 0xB000)
        assert not failed
        assert completed + (warning or 0) >= max(announced or 0, 1)
        assert instances >= (announced or 0)
        assert instances + again >= completed + (warning or 0)
        assert announced or instances >= completed + (warning or 0)
        assert result.expected == result.received == instances
    else:
        assert result.outcome is (PARTIAL if instances else FAILED)
        assert result.detail


# Another machine receives: only the counts can be looked at


@pytest.mark.parametrize(
    ("announced", "answered", "outcome"),
    [
        (3, response(0, 3, 0, 0), RETRIEVED),
        (None, response(0, 3, 0, 0), RETRIEVED),
        (3, response(0xB000, 2, 0, 1), RETRIEVED),
        (3, response(0, 2, 0, 0), PARTIAL),
        (3, response(0xB000, 2, 1, 0), PARTIAL),
        (3, response(0, 0, 0, 0), FAILED),
        (3, response(0xA801), FAILED),
        # Without counts nothing is known, and what is not known is not retrieved.
        (3, response(0), FAILED),
    ],
)
def test_where_another_machine_receives_the_counts_decide(
    announced: int | None, answered: Response, outcome: Outcome
) -> None:
    result = judge(study(announced), answered, None)
    assert result.outcome is outcome
    assert result.detail.startswith("received by another AE")
    assert result.received == deliveries_told(answered)


def test_deliveries_are_what_was_completed_with_or_without_a_warning() -> None:
    assert deliveries_told(response(0, 2, 5, 1)) == 3
    assert deliveries_told(response(0)) == 0
