"""What is left to do, in which order it comes again, and what becomes of a request when its studies are decided."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from niffler.agenda import Agenda, Decided, Finished, row_result
from niffler.lookup import Group
from niffler.vocabulary import Disagreement, Lookup, Outcome, Request, RowResult, Study, StudyResult

RETRIEVED, PARTIAL, FAILED = Outcome.RETRIEVED, Outcome.PARTIAL, Outcome.FAILED
A, B, C = (Study(f"1.{number}", "P1") for number in (1, 2, 3))
REQUEST = Request(("PatientID",), ("P1",))


def agenda(*groups: Group, max_attempts: int = 3) -> Agenda:
    return Agenda(iter(groups), max_attempts)


def lookup(*studies: Study, refusals: Sequence[Disagreement] = ()) -> Lookup:
    return Lookup(REQUEST, studies, refusals=tuple(refusals))


def nothing_is_verified(_study: Study) -> StudyResult | None:
    return None


def begin(work: Agenda, request: int, *studies: Study) -> list[Finished]:
    return list(work.begin_request(request, lookup(*studies), nothing_is_verified).finished)


def good(study: Study, images: int = 3) -> StudyResult:
    return StudyResult(study, RETRIEVED, images, images)


def moved(work: Agenda, study: Study, images: int = 3) -> list[Finished]:
    """A study was retrieved, and the PACS has no more of it when it is asked again."""
    tried = work.tried(good(study, images))
    counted = work.counted(study, None)
    assert (tried.comes_again, counted.comes_again, counted.decided.finished) == (False, False, ())
    return list(tried.decided.finished)


def bad(study: Study, outcome: Outcome = FAILED, detail: str = "C-MOVE: status C000H") -> StudyResult:
    return StudyResult(study, outcome, 3, 1 if outcome is PARTIAL else 0, detail=detail, status=0xC000)


# Lookups


def test_groups_come_in_their_order_and_each_once() -> None:
    work = agenda(Group((0, 1), "patient"), Group((2,)))
    assert [work.next_group(), work.next_group(), work.next_group()] == [Group((0, 1), "patient"), Group((2,)), None]


def test_looking_whether_there_is_work_takes_none_away() -> None:
    work = agenda(Group((0,)), Group((1,)))
    assert work.has_fresh_work
    assert work.has_fresh_work
    assert [work.next_group(), work.next_group()] == [Group((0,)), Group((1,))]
    assert not work.has_fresh_work


def test_a_lookup_that_failed_comes_again_in_the_next_pass_and_not_before() -> None:
    work = agenda(Group((0,)), Group((1,)))
    work.next_group()
    assert work.lookup_failed(0, "C-FIND: status C000H") == []
    assert work.next_group() == Group((1,))
    assert work.next_group() is None
    assert (work.has_fresh_work, work.has_another_pass) == (False, True)
    work.begin_pass()
    assert (work.has_fresh_work, work.has_another_pass) == (True, False)
    assert work.next_group() == Group((0,))


@pytest.mark.parametrize("max_attempts", [1, 2, 3])
def test_a_lookup_fails_for_good_after_max_attempts(max_attempts: int) -> None:
    work = agenda(Group((0,)), max_attempts=max_attempts)
    for _ in range(max_attempts - 1):
        work.next_group()
        assert work.lookup_failed(0, "busy") == []
        work.begin_pass()
    assert work.lookup_failed(0, "still busy") == [
        Finished(0, RowResult(FAILED, attempts=max_attempts, detail="still busy"))
    ]
    assert not work.has_another_pass


def test_a_single_request_loses_an_attempt_when_its_association_breaks() -> None:
    work = agenda(Group((0,)), max_attempts=2)
    assert work.group_broke(Group((0,)), "C-FIND: A-ABORT") == []
    [finished] = work.group_broke(Group((0,)), "C-FIND: A-ABORT")
    assert finished.result == RowResult(FAILED, attempts=2, detail="C-FIND: A-ABORT")


def test_requests_that_shared_a_query_are_asked_alone_after_a_break_and_without_blame() -> None:
    work = agenda(Group((4,)), max_attempts=1)
    assert work.group_broke(Group((0, 1, 2), "patient"), "C-FIND: A-ABORT") == []
    assert [work.next_group() for _ in range(4)] == [Group((0,)), Group((1,)), Group((2,)), Group((4,))]
    assert not work.has_another_pass


def test_attempts_of_the_lookup_are_those_of_the_row_where_they_are_more() -> None:
    work = agenda()
    for _ in range(2):
        work.lookup_failed(0, "busy")
    begin(work, 0, A)
    [finished] = moved(work, A)
    assert finished.result.attempts == 2


# Studies


def test_studies_wait_in_the_order_in_which_they_were_found() -> None:
    work = agenda()
    begin(work, 0, A, B)
    begin(work, 1, C)
    assert work.studies_waiting == 3
    assert work.next_studies(2) == [A, B]
    assert work.next_studies(2) == [C]
    assert work.next_studies(2) == []


def test_studies_that_nobody_came_to_are_the_next_again_and_without_blame() -> None:
    work = agenda(max_attempts=1)
    begin(work, 0, A, B, C)
    taken = work.next_studies(2)
    work.put_back(taken)
    assert work.next_studies(3) == [A, B, C]
    assert not work.tried(good(A)).comes_again
    assert work.tried(good(B)).result.attempts == 1


def test_a_study_that_failed_comes_again_after_all_the_others() -> None:
    work = agenda()
    begin(work, 0, A, B)
    work.next_studies(1)
    tried = work.tried(bad(A))
    assert (tried.comes_again, tried.decided) == (True, Decided())
    assert work.next_studies(10) == [B]
    work.tried(good(B))
    assert (work.has_fresh_work, work.has_another_pass) == (False, True)
    work.begin_pass()
    assert work.next_studies(10) == [A]


def test_failures_can_be_taken_up_ahead_of_what_was_not_tried_yet() -> None:
    work = agenda(Group((0,)), Group((1,)), Group((2,)))
    work.next_group()
    work.next_group()
    work.lookup_failed(0, "busy")
    work.lookup_failed(1, "busy")
    begin(work, 3, A, B, C)
    work.next_studies(2)
    work.tried(bad(A))
    work.tried(bad(B))
    work.take_up_failures()
    assert [work.next_group() for _ in range(3)] == [Group((0,)), Group((1,)), Group((2,))]
    assert work.next_studies(10) == [A, B, C]
    assert not work.has_another_pass


@pytest.mark.parametrize("outcome", [FAILED, PARTIAL])
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_a_study_that_never_succeeds_is_decided_after_max_attempts(outcome: Outcome, max_attempts: int) -> None:
    work = agenda(max_attempts=max_attempts)
    begin(work, 0, A)
    for attempt in range(1, max_attempts):
        assert work.next_studies(1) == [A]
        tried = work.tried(bad(A, outcome))
        assert (tried.comes_again, tried.result.attempts) == (True, attempt)
        work.begin_pass()
    assert work.next_studies(1) == [A]
    tried = work.tried(bad(A, outcome))
    assert not tried.comes_again
    assert [one.result.outcome for one in tried.decided.finished] == [outcome]
    assert tried.decided.finished[0].result.attempts == max_attempts
    assert not work.has_another_pass


def test_a_study_that_succeeds_at_last_is_retrieved_with_all_its_attempts() -> None:
    work = agenda()
    begin(work, 0, A)
    work.tried(bad(A))
    work.begin_pass()
    [finished] = moved(work, A)
    assert finished.result == RowResult(RETRIEVED, 1, 3, 3, 2)


def test_a_request_is_finished_when_its_last_study_is_decided() -> None:
    work = agenda()
    begin(work, 0, A, B)
    assert moved(work, A) == []
    [finished] = moved(work, B)
    assert finished.request == 0
    assert [result.study.study_instance_uid for result in finished.studies] == ["1.1", "1.2"]


def test_a_study_that_two_rows_want_is_moved_once_and_finishes_both() -> None:
    work = agenda()
    begin(work, 0, A)
    begin(work, 1, A, B)
    assert work.next_studies(10) == [A, B]
    tried = work.tried(good(A))
    assert dict(tried.wanted_by) == {0: 1, 1: 2}
    assert [one.request for one in tried.decided.finished] == [0]
    assert [one.request for one in work.counted(A, None).decided.settled] == [0]
    assert [one.request for one in moved(work, B)] == [1]


def test_a_row_that_wants_a_study_already_decided_does_not_move_it_again() -> None:
    work = agenda(max_attempts=1)
    begin(work, 0, A, B)
    work.next_studies(10)
    moved(work, A)
    work.tried(bad(B))
    [finished] = begin(work, 1, A)
    assert finished.result.outcome is RETRIEVED
    [finished] = begin(work, 2, B)
    assert finished.result.outcome is FAILED
    assert work.studies_waiting == 0


def test_a_row_that_wants_a_study_that_is_to_come_again_waits_with_the_other() -> None:
    work = agenda()
    begin(work, 0, A)
    work.next_studies(1)
    work.tried(bad(A))
    assert begin(work, 1, A) == []
    assert work.studies_waiting == 0
    work.begin_pass()
    assert work.next_studies(10) == [A]
    assert [one.request for one in moved(work, A)] == [0, 1]


def test_a_study_that_has_grown_since_it_was_complete_is_moved_again() -> None:
    work = agenda()
    begin(work, 0, A)
    work.next_studies(1)
    moved(work, A, images=3)
    assert begin(work, 1, replace(A, announced_instances=5)) == []
    assert [study.study_instance_uid for study in work.next_studies(10)] == [A.study_instance_uid]
    [finished] = moved(work, A, images=5)
    assert (finished.request, finished.result.outcome, finished.result.received) == (1, RETRIEVED, 5)


def test_a_partial_study_of_which_no_more_was_announced_since_is_not_moved_again_for_another_row() -> None:
    work = agenda(max_attempts=1)
    begin(work, 0, replace(A, announced_instances=3))
    work.next_studies(1)
    work.tried(bad(A, PARTIAL))
    [finished] = begin(work, 1, replace(A, announced_instances=3))
    assert (finished.result.outcome, work.studies_waiting) == (PARTIAL, 0)


def test_a_study_of_which_more_was_announced_while_it_was_moved_is_not_complete() -> None:
    work = agenda()
    begin(work, 0, replace(A, announced_instances=3))
    work.next_studies(1)
    begin(work, 1, replace(A, announced_instances=5))
    tried = work.tried(good(A, images=3))
    assert (tried.comes_again, tried.result.outcome, tried.result.expected) == (True, PARTIAL, 5)
    assert "announced 5 instances when it was asked again, 3 are on disk" in tried.result.detail


def test_a_study_that_is_announced_as_before_or_without_a_count_has_not_grown() -> None:
    work = agenda()
    begin(work, 0, A)
    work.next_studies(1)
    moved(work, A, images=3)
    for request, announced in enumerate((None, 2, 3), 1):
        [finished] = begin(work, request, replace(A, announced_instances=announced))
        assert finished.result.outcome is RETRIEVED


def test_a_study_of_an_earlier_checkpoint_whose_images_nobody_counted_is_not_moved_again() -> None:
    work = agenda()
    old = StudyResult(A, RETRIEVED, detail="from an earlier checkpoint, not verified")
    [finished] = work.begin_request(0, lookup(replace(A, announced_instances=5)), lambda _study: old).finished
    assert finished.result.outcome is RETRIEVED


def test_a_study_that_two_rows_find_for_two_patients_is_refused_to_the_second() -> None:
    work = agenda()
    begin(work, 0, A)
    [finished] = begin(work, 1, B, replace(A, patient_id="P2"))
    assert finished.result.outcome is Outcome.REFUSED
    assert finished.result.detail == "the PACS gives study 1.1 to more than one patient; ask its team which is right"
    assert work.next_studies(10) == [A]


def test_what_is_verified_already_is_not_moved() -> None:
    work = agenda()
    verified = {A: good(A)}
    assert work.begin_request(0, lookup(A, B), verified.get) == Decided()
    assert work.next_studies(10) == [B]
    [finished] = work.begin_request(1, lookup(A), verified.get).settled
    assert finished.result == RowResult(RETRIEVED, 1, 3, 3)


def test_rows_that_are_begun_when_the_run_ends_tell_what_is_decided() -> None:
    work = agenda()
    begin(work, 0, A, B)
    begin(work, 1, C)
    work.tried(good(A))
    decided = {request: [one.study for one in studies] for request, studies in work.unfinished().items()}
    assert decided == {0: [A], 1: []}
    work.tried(good(B))
    assert list(work.unfinished()) == [1]


def test_a_row_is_finished_when_it_is_verified_and_settled_when_its_studies_are_counted_again() -> None:
    work = agenda()
    begin(work, 0, A, B)
    assert moved(work, A) == []
    tried = work.tried(good(B)).decided
    [finished] = tried.finished
    assert (finished.result, tried.settled) == (RowResult(RETRIEVED, 2, 6, 6, 1), ())
    assert work.unfinished() == {}
    counted = work.counted(B, 3).decided
    assert (counted.finished, [one.result for one in counted.settled]) == ((), [finished.result])


@pytest.mark.parametrize("announced", [None, 0, 2, 3])
def test_a_retrieved_study_of_which_the_pacs_has_no_more_is_done(announced: int | None) -> None:
    work = agenda()
    begin(work, 0, A)
    work.tried(good(A, images=3))
    counted = work.counted(A, announced)
    assert not counted.comes_again
    assert [one.result for one in counted.decided.settled] == [RowResult(RETRIEVED, 1, 3, 3, 1)]


def test_a_retrieved_study_of_which_the_pacs_has_more_now_opens_its_rows_again_and_is_moved_for_more() -> None:
    work = agenda()
    begin(work, 0, A)
    begin(work, 1, A, B)
    work.next_studies(2)
    work.tried(good(A, images=3))
    counted = work.counted(A, 5)
    assert (counted.comes_again, counted.result.outcome, counted.decided) == (
        True,
        PARTIAL,
        Decided(reopened=(0,), grown=(replace(A, announced_instances=5),)),
    )
    assert work.unfinished() == {0: (), 1: ()}
    work.begin_pass()
    assert work.next_studies(1) == [replace(A, announced_instances=5)]
    [finished] = moved(work, A, images=5)
    assert (finished.request, finished.result) == (0, RowResult(RETRIEVED, 1, 5, 5, 2))


def test_a_row_that_asks_for_a_study_whose_count_is_still_to_be_asked_waits_for_it_too() -> None:
    work = agenda()
    begin(work, 0, A)
    work.next_studies(1)
    work.tried(good(A))
    decided = work.begin_request(1, lookup(A), nothing_is_verified)
    assert ([one.request for one in decided.finished], decided.settled, work.studies_waiting) == ([1], (), 0)
    assert [one.request for one in work.counted(A, 3).decided.settled] == [0, 1]


def test_a_row_whose_study_the_pacs_does_not_count_again_stays_finished_and_is_not_settled() -> None:
    work = agenda()
    begin(work, 0, A)
    assert len(work.tried(good(A)).decided.finished) == 1
    work.not_counted(A)
    assert work.unfinished() == {}
    decided = work.begin_request(1, lookup(A), nothing_is_verified)
    assert [one.request for one in decided.settled] == [1], "asked for anew, it was looked up anew"


def test_a_study_that_grows_at_each_attempt_is_partial_in_the_end() -> None:
    work = agenda(max_attempts=2)
    begin(work, 0, A)
    for images in (3, 4):
        work.tried(good(A, images=images))
        counted = work.counted(A, images + 1)
    assert (counted.comes_again, counted.decided.reopened) == (False, (0,))
    [finished] = counted.decided.finished
    assert (finished.result.outcome, finished.result.expected, finished.result.received) == (PARTIAL, 5, 4)
    assert finished.result.detail == "the PACS announced 5 instances when it was asked again, 4 are on disk"


def test_a_study_with_the_same_counts_at_each_attempt_says_so() -> None:
    work = agenda(max_attempts=2)
    begin(work, 0, A)
    for _ in range(2):
        tried = work.tried(bad(A, PARTIAL, detail="the PACS announced 3 instances and sent 1"))
    assert tried.decided.finished[0].result.detail.endswith("sent 1; the same counts at each of 2 attempts")


@settings(deadline=None)
@given(
    wishes=st.lists(st.lists(st.sampled_from([A, B, C]), min_size=1, unique=True), min_size=1, max_size=5),
    max_attempts=st.integers(1, 3),
    chance=st.integers(0, 2**32).map(Random),
)
def test_every_request_is_finished_once_whatever_happens(
    wishes: list[list[Study]], max_attempts: int, chance: Random
) -> None:
    work = agenda(*(Group((request,)) for request in range(len(wishes))), max_attempts=max_attempts)
    attempts = {study.study_instance_uid: 0 for study in (A, B, C)}
    finished: list[Finished] = []
    while work.has_fresh_work or work.has_another_pass:
        if not work.has_fresh_work:
            work.begin_pass()
        group = work.next_group()
        if group is not None:
            [request] = group.requests
            finished += begin(work, request, *wishes[request])
        taken = work.next_studies(2)
        if taken and chance.random() < 0.3:
            work.put_back([taken.pop()])
        for study in taken:
            attempts[study.study_instance_uid] += 1
            tried = work.tried(chance.choice([good(study), bad(study)]))
            finished += tried.decided.finished
            if tried.result.outcome is RETRIEVED:
                counted = work.counted(study, chance.choice([None, 3, 4])).decided
                finished = [one for one in finished if one.request not in counted.reopened] + [*counted.finished]
    assert sorted(one.request for one in finished) == list(range(len(wishes)))
    assert work.unfinished() == {}
    assert max(attempts.values()) <= max_attempts


# The outcome of a row


@pytest.mark.parametrize(
    ("studies", "outcome"),
    [
        ([good(A)], RETRIEVED),
        ([good(A), good(B)], RETRIEVED),
        ([bad(A)], FAILED),
        ([bad(A), bad(B)], FAILED),
        ([bad(A, PARTIAL)], PARTIAL),
        ([bad(A, PARTIAL), bad(B)], PARTIAL),
        ([good(A), bad(B)], PARTIAL),
        ([good(A), bad(B, PARTIAL)], PARTIAL),
    ],
)
def test_a_row_is_retrieved_only_if_all_its_studies_are(studies: list[StudyResult], outcome: Outcome) -> None:
    result = row_result(lookup(*(one.study for one in studies)), studies, 1)
    assert result.outcome is outcome
    assert result.studies == len(studies)


def test_a_row_sums_up_its_studies() -> None:
    result = row_result(lookup(A, B), [good(A, 5), bad(B, PARTIAL)], 2)
    assert (result.studies, result.expected, result.received, result.attempts) == (2, 8, 6, 2)


def test_a_row_says_which_of_its_studies_are_not_complete_and_why() -> None:
    result = row_result(
        lookup(A, B, C), [good(A), bad(B, detail="C-MOVE: busy"), bad(C, detail="no image was sent")], 1
    )
    assert result.detail == ("2 of 3 studies are not complete; study 1.2: C-MOVE: busy; study 1.3: no image was sent")


def test_what_is_to_be_said_of_good_studies_is_said_only_where_none_is_bad() -> None:
    old = StudyResult(A, RETRIEVED, detail="from an earlier checkpoint, not verified")
    assert row_result(lookup(A), [old], 0).detail == "from an earlier checkpoint, not verified"
    assert "earlier checkpoint" not in row_result(lookup(A, B), [old, bad(B)], 1).detail


def test_a_row_of_one_study_says_why_without_its_uid() -> None:
    assert row_result(lookup(A), [bad(A, detail="C-MOVE: busy")], 1).detail == "C-MOVE: busy"


def test_matches_that_were_not_moved_are_noted_with_the_first_reason() -> None:
    refusals = [Disagreement("PatientID", "P1", "P2"), Disagreement("PatientID", "P1", "P3")]
    result = row_result(lookup(A, refusals=refusals), [good(A)], 1)
    assert result.outcome is RETRIEVED
    assert result.detail == "2 other matches were not moved: PatientID was asked as 'P1' and answered as 'P2'"
