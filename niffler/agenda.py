"""What is left to ask and to move, how often it was tried, and what came of each request; no clock, no threads."""

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from niffler.lookup import Group
from niffler.vocabulary import Lookup, Outcome, RowResult, Study, StudyResult


@dataclass
class _Open:
    """A request whose studies are being retrieved."""

    lookup: Lookup
    results: dict[str, StudyResult] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    uncounted: set[str] = field(default_factory=set)
    is_finished: bool = False
    never_settles: bool = False


@dataclass(frozen=True)
class Finished:
    """A request that has its result; ``studies`` are those that were looked up and moved in this run."""

    request: int
    result: RowResult
    studies: tuple[StudyResult, ...] = ()


@dataclass(frozen=True)
class Decided:
    """What is known of requests now.

    ``finished`` have their result. Of the ``settled`` ones every retrieved study was counted again, too; ``reopened``
    are those that were finished when the PACS turned out to have more of a study. ``grown`` are studies that were
    verified, with what the PACS announces of them now.
    """

    finished: tuple[Finished, ...] = ()
    settled: tuple[Finished, ...] = ()
    reopened: tuple[int, ...] = ()
    grown: tuple[Study, ...] = ()


@dataclass(frozen=True)
class Tried:
    """What an attempt to move a study, or asking for its count again, led to.

    ``wanted_by`` are the requests that wait for the study, each with how many studies it has in all.
    """

    result: StudyResult
    comes_again: bool
    wanted_by: Mapping[int, int] = field(default_factory=dict)
    decided: Decided = field(default_factory=Decided)


class Agenda:
    """The work of a run. Requests and studies that failed come again in the next pass, up to MaxAttempts."""

    def __init__(self, groups: Iterator[Group], max_attempts: int) -> None:
        self._fresh_groups = groups
        self._max_attempts = max_attempts
        self._put_back_groups: deque[Group] = deque()
        self._groups_again: list[Group] = []
        self._studies: deque[Study] = deque()
        self._studies_again: list[Study] = []
        self._open: dict[int, _Open] = {}
        self._waiting_for: dict[str, list[int]] = {}
        self._done: dict[str, StudyResult] = {}
        self._to_be_counted: dict[str, StudyResult] = {}
        self._counts_of_partial: dict[str, set[tuple[int, int]]] = {}
        self._patient_of: dict[str, str] = {}
        self._announced: dict[str, int] = {}
        self._lookup_attempts: dict[int, int] = {}
        self._move_attempts: dict[str, int] = {}

    # Lookups

    def next_group(self) -> Group | None:
        """The next requests to look up in this pass."""
        if self._put_back_groups:
            return self._put_back_groups.popleft()
        return next(self._fresh_groups, None)

    def group_broke(self, group: Group, detail: str) -> list[Finished]:
        """The association broke while this group was asked about: it loses an attempt, alone if it is one request."""
        if len(group.requests) > 1:
            self._put_back_groups.extend(Group((request,)) for request in group.requests)
            return []
        [request] = group.requests
        return self.lookup_failed(request, detail)

    def lookup_failed(self, request: int, detail: str) -> list[Finished]:
        """A request was not answered; it comes again, or has failed for good."""
        attempts = self._lookup_attempts[request] = self._lookup_attempts.get(request, 0) + 1
        if attempts < self._max_attempts:
            self._groups_again.append(Group((request,)))
            return []
        return [Finished(request, RowResult(Outcome.FAILED, attempts=attempts, detail=detail))]

    # Studies

    def begin_request(self, request: int, lookup: Lookup, verified: Callable[[Study], StudyResult | None]) -> Decided:
        """The studies of a request are known: those that are not ``verified`` already wait to be moved."""
        shared = next((study for study in lookup.studies if self._is_of_another_patient(study)), None)
        if shared is not None:
            uid = shared.study_instance_uid
            detail = f"the PACS gives study {uid} to more than one patient; ask its team which is right"
            return Decided((Finished(request, RowResult(Outcome.REFUSED, attempts=1, detail=detail)),))
        entry = self._open[request] = _Open(lookup)
        grown: list[Study] = []
        for study in lookup.studies:
            uid = study.study_instance_uid
            self._announced[uid] = max(self._announced.get(uid, 0), study.announced_instances or 0)
            result = self._done.get(uid) or self._to_be_counted.get(uid) or verified(study)
            if result is not None and not self._has_grown(result):
                entry.results[uid] = result
                if uid in self._to_be_counted:
                    entry.uncounted.add(uid)
                    self._waiting_for[uid].append(request)
                continue
            if result is not None:
                grown.append(replace(study, announced_instances=self._announced[uid]))
            entry.missing.add(uid)
            waiting = self._waiting_for.setdefault(uid, [])
            if not waiting:
                self._studies.append(study)
            waiting.append(request)
        return replace(self._decide([request]), grown=tuple(grown))

    @property
    def studies_waiting(self) -> int:
        """How many studies can be moved in this pass."""
        return len(self._studies)

    def next_studies(self, most: int) -> list[Study]:
        """The next studies to move."""
        return [self._studies.popleft() for _ in range(min(most, len(self._studies)))]

    def wanting(self, study: Study) -> Sequence[int]:
        """The requests that wait for a study."""
        return self._waiting_for.get(study.study_instance_uid, ())

    def put_back(self, studies: Sequence[Study]) -> None:
        """Studies that nobody came to: they are the next again."""
        self._studies.extendleft(reversed(studies))

    def tried(self, result: StudyResult) -> Tried:
        """An attempt has its verdict: it stands, or the study comes again; one that stands is to be ``counted``."""
        uid = result.study.study_instance_uid
        attempts = self._move_attempts[uid] = self._move_attempts.get(uid, 0) + 1
        result = self._as_announced(replace(result, attempts=attempts))
        if self._comes_again(result):
            return Tried(result, comes_again=True)
        result = self._with_counts_of_all_attempts(result)
        requests = list(self._waiting_for.get(uid, ()))
        if result.outcome is not Outcome.RETRIEVED:
            self._waiting_for.pop(uid, None)
        wanted_by = {request: len(self._open[request].lookup.studies) for request in requests}
        for request in requests:
            entry = self._open[request]
            entry.missing.discard(uid)
            entry.results[uid] = result
            if result.outcome is Outcome.RETRIEVED:
                entry.uncounted.add(uid)
        if result.outcome is Outcome.RETRIEVED:
            self._to_be_counted[uid] = result
        else:
            self._done[uid] = result
        return Tried(result, comes_again=False, wanted_by=wanted_by, decided=self._decide(requests))

    def counted(self, study: Study, announced: int | None) -> Tried:
        """The PACS was asked again how many instances a retrieved study has: it is done, or comes again for more."""
        uid = study.study_instance_uid
        self._announced[uid] = max(self._announced.get(uid, 0), announced or 0)
        result = self._as_announced(self._to_be_counted.pop(uid))
        result = replace(result, study=replace(study, announced_instances=self._announced[uid] or None))
        requests = list(self._waiting_for.get(uid, ()))
        for request in requests:
            self._open[request].uncounted.discard(uid)
        has_grown = result.outcome is not Outcome.RETRIEVED
        reopened = Decided(reopened=self._reopen(uid, requests), grown=(result.study,)) if has_grown else Decided()
        if self._comes_again(result):
            return Tried(result, comes_again=True, decided=reopened)
        self._done[uid] = result
        for request in self._waiting_for.pop(uid, ()):
            self._open[request].missing.discard(uid)
            self._open[request].results[uid] = result
        decided = self._decide(requests)
        return Tried(
            result, comes_again=False, decided=replace(reopened, finished=decided.finished, settled=decided.settled)
        )

    def not_counted(self, study: Study) -> None:
        """The PACS does not say how many instances a retrieved study has now: this run settles none of its rows."""
        uid = study.study_instance_uid
        self._done[uid] = self._to_be_counted.pop(uid)
        requests = self._waiting_for.pop(uid, [])
        for request in requests:
            self._open[request].uncounted.discard(uid)
            self._open[request].never_settles = True
        self._decide(requests)

    def _reopen(self, uid: str, requests: Sequence[int]) -> tuple[int, ...]:
        """Take a study out of the results of its requests; returns those that were finished with it."""
        reopened = []
        for request in requests:
            entry = self._open[request]
            entry.results.pop(uid, None)
            entry.missing.add(uid)
            if entry.is_finished:
                entry.is_finished = False
                reopened.append(request)
        return tuple(reopened)

    def _comes_again(self, result: StudyResult) -> bool:
        """Put a study that was not retrieved on the list of the next pass, if it has an attempt left."""
        uid = result.study.study_instance_uid
        if result.outcome is Outcome.PARTIAL:
            self._counts_of_partial.setdefault(uid, set()).add((result.expected, result.received))
        if result.outcome is Outcome.RETRIEVED or result.attempts >= self._max_attempts:
            return False
        self._studies_again.append(result.study)
        return True

    def _as_announced(self, result: StudyResult) -> StudyResult:
        """A verdict in the light of the highest count that the PACS has announced."""
        if result.outcome is not Outcome.RETRIEVED or not self._has_grown(result):
            return result
        announced = self._announced[result.study.study_instance_uid]
        detail = f"the PACS announced {announced} instances when it was asked again, {result.received} are on disk"
        return replace(result, outcome=Outcome.PARTIAL, expected=announced, detail=detail)

    def _with_counts_of_all_attempts(self, result: StudyResult) -> StudyResult:
        counts = self._counts_of_partial.pop(result.study.study_instance_uid, set())
        if result.outcome is not Outcome.PARTIAL or result.attempts == 1 or len(counts) > 1:
            return result
        return replace(result, detail=f"{result.detail}; the same counts at each of {result.attempts} attempts")

    # Passes

    @property
    def has_fresh_work(self) -> bool:
        """Whether there is something to look up or to move in this pass."""
        if not self._put_back_groups:
            self._put_back_groups.extend(itertools.islice(self._fresh_groups, 1))
        return bool(self._put_back_groups or self._studies)

    @property
    def has_another_pass(self) -> bool:
        """Whether something failed that is to be tried again."""
        return bool(self._groups_again or self._studies_again)

    def begin_pass(self) -> None:
        """Take up what failed before."""
        self._put_back_groups.extend(self._groups_again)
        self._studies.extend(self._studies_again)
        self._groups_again, self._studies_again = [], []

    def take_up_failures(self) -> None:
        """Make what failed before the next work, ahead of what was not tried yet."""
        self._put_back_groups.extendleft(reversed(self._groups_again))
        self._studies.extendleft(reversed(self._studies_again))
        self._groups_again, self._studies_again = [], []

    @property
    def decided(self) -> Collection[StudyResult]:
        """The studies whose result stands, or that were found to be complete already."""
        return self._done.values()

    def unfinished(self) -> dict[int, tuple[StudyResult, ...]]:
        """Requests whose studies are not all decided, with what is decided; for a run that ends early."""
        return {
            request: tuple(entry.results.values()) for request, entry in self._open.items() if not entry.is_finished
        }

    def _is_of_another_patient(self, study: Study) -> bool:
        return self._patient_of.setdefault(study.study_instance_uid, study.patient_id) != study.patient_id

    def _has_grown(self, result: StudyResult) -> bool:
        """Whether the PACS has announced more since; an earlier Niffler's entries say nothing of counts."""
        known = result.received if result.outcome is Outcome.RETRIEVED else result.expected
        return result.received > 0 and known < self._announced.get(result.study.study_instance_uid, 0)

    def _decide(self, requests: Sequence[int]) -> Decided:
        """Of these requests those that are finished by now, and those of which nothing is left to ask."""
        finished, settled = [], []
        for request in requests:
            entry = self._open[request]
            if entry.missing:
                continue
            studies = tuple(entry.results[study.study_instance_uid] for study in entry.lookup.studies)
            attempts = max(self._lookup_attempts.get(request, 0), *(study.attempts for study in studies))
            one = Finished(request, row_result(entry.lookup, studies, attempts), studies)
            if not entry.is_finished:
                finished.append(one)
                entry.is_finished = True
            if not entry.uncounted:
                if not entry.never_settles:
                    settled.append(one)
                del self._open[request]
        return Decided(tuple(finished), tuple(settled))


def row_result(lookup: Lookup, studies: Sequence[StudyResult], attempts: int) -> RowResult:
    """The outcome of a row from those of its studies."""
    bad = [study for study in studies if study.outcome is not Outcome.RETRIEVED]
    if not bad:
        outcome = Outcome.RETRIEVED
    elif len(bad) == len(studies) and all(study.outcome is Outcome.FAILED for study in bad):
        outcome = Outcome.FAILED
    else:
        outcome = Outcome.PARTIAL
    told = [
        f"study {study.study.study_instance_uid}: {study.detail}" if len(studies) > 1 else study.detail
        for study in (bad or studies)
        if study.detail
    ]
    if bad and len(studies) > 1:
        told.insert(0, f"{len(bad)} of {len(studies)} studies are not complete")
    if lookup.refusals:
        told.append(f"{len(lookup.refusals)} other matches were not moved: {lookup.refusals[0]}")
    return RowResult(
        outcome,
        studies=len(studies),
        expected=sum(study.expected for study in studies),
        received=sum(study.received for study in studies),
        attempts=attempts,
        detail="; ".join(dict.fromkeys(told)),
    )
