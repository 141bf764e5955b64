"""The inquiries under way: which queries are to be asked next, and which requests have their answer."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from niffler.lookup import Group, Inquiry, LookupRules, Shortcuts, inquire
from niffler.vocabulary import FindKind, Lookup, Query, QueryAnswer, Request


@dataclass(eq=False)
class _UnderWay:
    group: Group
    inquiry: Inquiry
    answers: list[QueryAnswer | None]

    @property
    def missing(self) -> bool:
        return any(answer is None for answer in self.answers)


@dataclass(frozen=True, eq=False)
class Ticket:
    """A query to be asked, and the place its answer belongs to."""

    query: Query
    inquiry: _UnderWay
    position: int
    asker: "Inquiries"

    @property
    def requests(self) -> Sequence[int]:
        """The requests that it is asked for."""
        return self.inquiry.group.requests


class Inquiries:
    """Carries on many inquiries side by side, so that their queries share associations."""

    def __init__(self, request_of: Callable[[int], Request], rules: LookupRules) -> None:
        self._request_of = request_of
        self._rules = rules
        self._shortcuts = Shortcuts()
        self._waiting: deque[Ticket] = deque()
        self._count = 0
        self._open_requests = 0

    @property
    def waiting(self) -> int:
        """How many queries wait to be asked."""
        return len(self._waiting)

    @property
    def open_groups(self) -> int:
        """How many inquiries are not at their end."""
        return self._count

    @property
    def open_requests(self) -> int:
        """How many requests they are about."""
        return self._open_requests

    def begin(self, group: Group) -> None:
        """Begin to ask about a group of requests."""
        requests = [self._request_of(index) for index in group.requests]
        inquiry = inquire(requests, group.kind, self._shortcuts, self._rules)
        self._count += 1
        self._open_requests += len(requests)
        self._ask(_UnderWay(group, inquiry, []), next(inquiry))

    def take(self, most: int, kind: FindKind | None = None) -> list[Ticket]:
        """The next queries, of one kind as one association needs them; of which one may be given."""
        taken: list[Ticket] = []
        kept: list[Ticket] = []
        while self._waiting and len(taken) < most:
            ticket = self._waiting.popleft()
            kind = kind or ticket.query.kind
            (taken if ticket.query.kind == kind else kept).append(ticket)
        self._waiting.extendleft(reversed(kept))
        return taken

    def answer(self, ticket: Ticket, answer: QueryAnswer) -> list[tuple[int, Lookup]]:
        """Take in an answer; returns what is now known, by request."""
        inquiry = ticket.inquiry
        inquiry.answers[ticket.position] = answer
        if inquiry.missing:
            return []
        try:
            self._ask(inquiry, inquiry.inquiry.send([one for one in inquiry.answers if one is not None]))
        except StopIteration as end:
            self._close(inquiry)
            return list(zip(inquiry.group.requests, end.value, strict=True))
        return []

    def put_back(self, unanswered: Sequence[Ticket], under_way: Ticket | None) -> Group | None:
        """Ask those of these queries again that were asked here, before any other, after an association ended.

        The inquiry that it broke at is given up: its group is returned, to be begun anew. A query for several
        requests is not tried again; what it was for is asked one by one.
        """
        blamed = under_way.inquiry if under_way is not None and under_way.asker is self else None
        self._waiting.extendleft(ticket for ticket in reversed(unanswered) if ticket.asker is self)
        if blamed is None:
            return None
        self._waiting = deque(ticket for ticket in self._waiting if ticket.inquiry is not blamed)
        self._close(blamed)
        if len(blamed.group.requests) > 1:
            self._shortcuts.forget(blamed.group.kind)
        return blamed.group

    def _close(self, inquiry: _UnderWay) -> None:
        self._count -= 1
        self._open_requests -= len(inquiry.group.requests)

    def _ask(self, inquiry: _UnderWay, queries: list[Query]) -> None:
        inquiry.answers = [None] * len(queries)
        self._waiting.extend(Ticket(query, inquiry, position, self) for position, query in enumerate(queries))
