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


@dataclass(frozen=True)
class Finished:
    """A request that has its result; ``studies`` are those that were looked up and moved in this run."""

    request: int
    result: RowResult
    studies: tuple[StudyResult, ...] = ()


@dataclass(frozen=True)
class Tried:
    """What an attempt to move a study led to.

    ``wanted_by`` are the requests that wait for the study, each with how many studies it has in all; ``finished``
    those of them that have their result with it.
    """

    result: StudyResult
    comes_again: bool
    wanted_by: Mapping[int, int] = field(default_factory=dict)
    finished: tuple[Finished, ...] = ()


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

    def begin_request(
        self, request: int, lookup: Lookup, verified: Callable[[Study], StudyResult | None]
    ) -> list[Finished]:
        """The studies of a request are known: those that are not ``verified`` already wait to be moved."""
        shared = next((study for study in lookup.studies if self._is_of_another_patient(study)), None)
        if shared is not None:
            detail = f"the PACS gives study {shared.study_instance_uid} to more than one patient"
            return [Finished(request, RowResult(Outcome.REFUSED, attempts=1, detail=detail))]
        entry = self._open[request] = _Open(lookup)
        for study in lookup.studies:
            uid = study.study_instance_uid
            self._announced[uid] = max(self._announced.get(uid, 0), study.announced_instances or 0)
            result = self._done.get(uid) or verified(study)
            if result is not None and not self._has_grown(result):
                entry.results[uid] = result
                continue
            entry.missing.add(uid)
            waiting = self._waiting_for.setdefault(uid, [])
            if not waiting:
                self._studies.append(study)
            waiting.append(request)
        return self._finish([request])

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

    def tried(self, result: StudyResult) -> "Tried":
        """An attempt has its verdict: it stands, or the study comes again."""
        study = result.study
        uid = study.study_instance_uid
        attempts = self._move_attempts[uid] = self._move_attempts.get(uid, 0) + 1
        if result.outcome is Outcome.RETRIEVED and self._has_grown(result):
            announced = self._announced[uid]
            detail = f"the PACS announced {announced} instances when it was asked again, {result.received} are on disk"
            result = replace(result, outcome=Outcome.PARTIAL, expected=announced, detail=detail)
        result = replace(result, attempts=attempts)
        if result.outcome is not Outcome.RETRIEVED and attempts < self._max_attempts:
            self._studies_again.append(study)
            return Tried(result, comes_again=True)
        self._done[uid] = result
        requests = self._waiting_for.pop(uid, [])
        wanted_by = {request: len(self._open[request].lookup.studies) for request in requests}
        for request in requests:
            self._open[request].missing.discard(uid)
            self._open[request].results[uid] = result
        return Tried(result, comes_again=False, wanted_by=wanted_by, finished=tuple(self._finish(requests)))

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
        return {request: tuple(entry.results.values()) for request, entry in self._open.items()}

    def _is_of_another_patient(self, study: Study) -> bool:
        return self._patient_of.setdefault(study.study_instance_uid, study.patient_id) != study.patient_id

    def _has_grown(self, result: StudyResult) -> bool:
        """Whether the PACS has announced more since; an earlier Niffler's entries say nothing of counts."""
        return 0 < result.received < self._announced.get(result.study.study_instance_uid, 0)

    def _finish(self, requests: Sequence[int]) -> list[Finished]:
        finished = []
        for request in requests:
            entry = self._open[request]
            if entry.missing:
                continue
            del self._open[request]
            studies = tuple(entry.results[study.study_instance_uid] for study in entry.lookup.studies)
            attempts = max(self._lookup_attempts.get(request, 0), *(study.attempts for study in studies))
            finished.append(Finished(request, row_result(entry.lookup, studies, attempts), studies))
        return finished


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
