"""Asking again how many instances a study has after it was moved: images arrive at a PACS while it sends."""

import itertools
from collections import Counter, deque
from collections.abc import Sequence

from niffler.inquiries import Inquiries, Ticket
from niffler.lookup import Group, LookupRules
from niffler.vocabulary import FindKind, Lookup, QueryAnswer, Request, Study

STUDIES_IN_A_LIST = 100


class Recounts:
    """The studies whose count is to be asked again, up to a hundred with one C-FIND."""

    def __init__(self, rules: LookupRules) -> None:
        self._patient_root = rules.patient_root
        self._studies: dict[int, Study] = {}
        self._numbers = itertools.count()
        self._attempts: Counter[str] = Counter()
        self._waiting: deque[int] = deque()
        self._inquiries = Inquiries(self._request, rules)

    @property
    def waiting(self) -> int:
        """How many studies nobody has begun to ask about."""
        return len(self._waiting)

    @property
    def are_open(self) -> bool:
        """Whether any study has no answer yet."""
        return bool(self._waiting or self._inquiries.open_groups)

    def add(self, study: Study) -> None:
        """Have the count of a study asked again."""
        number = next(self._numbers)
        self._studies[number] = study
        self._waiting.append(number)

    def failed(self, study: Study, most_attempts: int) -> bool:
        """The PACS gave no answer about a study; returns whether it is asked again, which it is up to so many times."""
        uid = study.study_instance_uid
        self._attempts[uid] += 1
        if self._attempts[uid] >= most_attempts:
            del self._attempts[uid]
            return False
        self.add(study)
        return True

    def begin(self) -> None:
        """Begin to ask about all that wait, in lists."""
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(STUDIES_IN_A_LIST, len(self._waiting)))]
            if by_list := tuple(number for number in some if not self._names_patient(number)):
                self._inquiries.begin(Group(by_list, "uid-list"))
            for number in some:
                if self._names_patient(number):
                    self._inquiries.begin(Group((number,)))

    def take(self, most: int, kind: FindKind | None = None) -> list[Ticket]:
        """The next queries, of one kind, or of the kind that is given."""
        return self._inquiries.take(most, kind)

    def asked(self, ticket: Ticket) -> bool:
        """Whether a query is one of these."""
        return ticket.asker is self._inquiries

    def answer(self, ticket: Ticket, answer: QueryAnswer) -> list[tuple[Study, Lookup]]:
        """Take in an answer; returns studies of which the PACS has told, each with what."""
        return [(self._studies.pop(number), lookup) for number, lookup in self._inquiries.answer(ticket, answer)]

    def put_back(self, unanswered: Sequence[Ticket], under_way: Ticket | None) -> list[Study]:
        """Ask these again after an association ended; returns the study at whose query it broke, if it was for one."""
        group = self._inquiries.put_back(unanswered, under_way)
        if group is None:
            return []
        if len(group.requests) == 1:
            return [self._studies.pop(group.requests[0])]
        for number in group.requests:
            self._inquiries.begin(Group((number,)))
        return []

    def _names_patient(self, number: int) -> bool:
        """Whether a STUDY query has to name the patient: that of the PatientRoot model does, PS3.4 C.6.1."""
        return self._patient_root and bool(self._studies[number].patient_id)

    def _request(self, number: int) -> Request:
        study = self._studies[number]
        if self._names_patient(number):
            return Request(("PatientID", "StudyInstanceUID"), (study.patient_id, study.study_instance_uid))
        return Request(("StudyInstanceUID",), (study.study_instance_uid,))
