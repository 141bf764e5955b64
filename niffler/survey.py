"""Asking the PACS about many requests by C-FIND alone: one association at a time, each answer as it comes."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from niffler.agenda import Agenda, Finished
from niffler.associations import Answered, Broke, Ended, Heard
from niffler.connections import Connections
from niffler.dcm4che import Tools
from niffler.errors import GaveUpError, NifflerError
from niffler.inquiries import Inquiries, Ticket
from niffler.lookup import LookupRules, plan
from niffler.retry import ALIKE_ENDINGS, Breaker, Patience, Portion, Remedy, remedy
from niffler.settings import SystemSettings
from niffler.status import without_comments
from niffler.vocabulary import Lookup, Outcome, QueryAnswer, Request

_PASS_PAUSE_SECONDS = 2.0
_STOP_GRACE_SECONDS = 5.0
_CHECK = "check the attributes in config.json and InformationModel in system.json"
_CONNECT = "check the network and SrcAet with TestConnection.py, then start it again"


class Survey:
    """The C-FINDs for some requests of a list. What fails is asked again, up to MaxAttempts."""

    def __init__(
        self, requests: Sequence[Request], wanted: Iterable[int], rules: LookupRules, system: SystemSettings
    ) -> None:
        self._requests = requests
        self._most_matches = rules.most_matches
        self._system = system
        self._connections = Connections()
        self._agenda = Agenda(plan(requests, wanted, patient_root=rules.patient_root), system.max_attempts)
        self._inquiries = Inquiries(requests.__getitem__, rules)
        self._portion = Portion(system.queries_per_association)
        self._patience = Patience(system.give_up_minutes * 60)
        self._breaker = Breaker()
        self._resume_at = 0.0
        self._reason: NifflerError | None = None

    def stop(self, reason: NifflerError) -> None:
        """End with this reason, the first that is given; may be called by a signal handler."""
        self._reason = self._reason or reason
        self._connections.wake()

    def answers(self, tools: Tools, folder: Path, *, before_asking: Callable[[], None]) -> Iterator[tuple[int, Lookup]]:
        """Ask; yields each request (index) with what the PACS told, a failure that stands among it.

        ``before_asking`` is called before each association and may raise the reason to ask no more. ``folder`` is for
        query files. Raises the reason that it ends for, if it is not that all is answered.
        """
        with self._connections.associating(
            tools, folder, movers=0, most_moves=1, destination="", patient_root=False, most_matches=self._most_matches
        ):
            while not self._is_done():
                if self._reason is not None:
                    self._end_in_good_order()
                    raise self._reason
                self._hand_out(before_asking)
                for event in self._connections.next_events(self._longest_wait()):
                    yield from self._take_in(event)

    def _is_done(self) -> bool:
        if self._connections.are_busy or self._inquiries.open_groups or self._agenda.has_fresh_work:
            return False
        if not self._agenda.has_another_pass:
            return True
        self._agenda.begin_pass()
        self._pause(_PASS_PAUSE_SECONDS)
        return False

    def _hand_out(self, before_asking: Callable[[], None]) -> None:
        [finder] = self._connections.finders
        if finder.is_busy or time.monotonic() < self._resume_at:
            return
        before_asking()
        while self._inquiries.waiting < self._portion.now and (group := self._agenda.next_group()) is not None:
            self._inquiries.begin(group)
        if tickets := self._inquiries.take(self._portion.now):
            finder.begin(tickets)

    def _take_in(self, event: object) -> Iterator[tuple[int, Lookup]]:
        match event:
            case Answered(item=Ticket() as ticket, answer=QueryAnswer() as answer):
                self._patience.heard()
                for request, lookup in self._inquiries.answer(ticket, answer):
                    yield from self._looked_up(request, lookup)
            case Heard():
                self._patience.heard()
            case Ended():
                yield from self._ended(event)
            case Broke(association=association, error=error):
                association.is_busy = False
                if not isinstance(error, (OSError, NifflerError)):
                    raise error
                self.stop(GaveUpError(f"{error}; mend that, then start the same command again"))

    def _looked_up(self, request: int, lookup: Lookup) -> Iterator[tuple[int, Lookup]]:
        if not lookup.failure:
            self._breaker.ended("")
            self._patience.served()
            yield request, lookup
            return
        why = without_comments(lookup.failure)
        if remedy(Outcome.FAILED, lookup.status, 0) is Remedy.AGAIN_AFTER_PAUSE:
            self._trouble(why, self._patience.pause_for_shortage)
        yield from self._failed(self._agenda.lookup_failed(request, lookup.failure), why)

    def _failed(self, finished: Sequence[Finished], why: str) -> Iterator[tuple[int, Lookup]]:
        for one in finished:
            yield one.request, Lookup(self._requests[one.request], failure=one.result.detail)
            if self._breaker.ended(why):
                self.stop(GaveUpError(f"{ALIKE_ENDINGS} rows in a row failed in the same way: {why}; {_CHECK}"))

    def _ended(self, ended: Ended) -> Iterator[tuple[int, Lookup]]:
        ended.association.is_busy = False
        if self._reason is not None:
            return
        self._portion.ended(ended.served, broke=bool(ended.trouble))
        under_way = ended.under_way if isinstance(ended.under_way, Ticket) else None
        group = self._inquiries.put_back([one for one in ended.unanswered if isinstance(one, Ticket)], under_way)
        if group is not None:
            yield from self._failed(self._agenda.group_broke(group, f"C-FIND: {ended.trouble}"), ended.trouble)
        if ended.trouble:
            self._trouble(ended.trouble, self._patience.pause_for_silence)

    def _trouble(self, why: str, pause: Callable[[float], float]) -> None:
        now = time.monotonic()
        if self._patience.is_over(now):
            self.stop(GaveUpError(f"{self._system.src_aet} does not serve C-FIND: {why}; {_CONNECT}"))
        else:
            self._pause(pause(now))

    def _pause(self, seconds: float) -> None:
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    def _longest_wait(self) -> float:
        return min(1.0, max(0.0, self._resume_at - time.monotonic()) or 1.0)

    def _end_in_good_order(self) -> None:
        """Let the query under way finish for a moment."""
        [finder] = self._connections.finders
        finder.stop_after_current()
        deadline = time.monotonic() + _STOP_GRACE_SECONDS
        while finder.is_busy and time.monotonic() < deadline:
            for event in self._connections.next_events(0.2):
                if isinstance(event, (Ended, Broke)):
                    finder.is_busy = False
