"""The plain values that cross between the rooms: requests, matches, studies, responses, outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of a row; the words are those of the outcomes file."""

    RETRIEVED = "retrieved"
    FOUND = "found"
    NOT_FOUND = "not-found"
    PARTIAL = "partial"
    FAILED = "failed"
    REFUSED = "refused"
    INVALID = "invalid"
    PENDING = "pending"


ANSWERED = frozenset({Outcome.RETRIEVED, Outcome.FOUND, Outcome.NOT_FOUND})
"""Outcomes that answer the row's question; all others need somebody to look."""


class QueryLevel(StrEnum):
    """Query/Retrieve Level (0008,0052) of a C-FIND, PS3.4 C.3."""

    STUDY = "STUDY"
    SERIES = "SERIES"


@dataclass(frozen=True, slots=True)
class Request:
    """What one or more rows ask for: DICOM keywords and, in the same order, the values a match must carry.

    Dates are YYYYMMDD, months a range YYYYMMDD-YYYYMMDD.
    """

    keywords: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def keys(self) -> dict[str, str]:
        """The match keys as keyword → value."""
        return dict(zip(self.keywords, self.values, strict=True))

    def __str__(self) -> str:
        return ", ".join(f"{keyword} {value}" for keyword, value in self.keys.items())


@dataclass(frozen=True, slots=True)
class Match:
    """One pending C-FIND response (PS3.4 C.4.1.1.4): keyword → its values, each without padding."""

    attributes: Mapping[str, tuple[str, ...]]

    def first(self, keyword: str) -> str:
        """The first value of an attribute, or nothing where it is absent or empty."""
        values = self.attributes.get(keyword, ())
        return values[0] if values else ""


@dataclass(frozen=True, slots=True)
class Study:
    """A study that the PACS announced and whose keys were checked against the request."""

    study_instance_uid: str
    patient_id: str
    accession_number: str = ""
    announced_instances: int | None = None
    """NumberOfStudyRelatedInstances (0020,1208), where the PACS gave one that is not zero."""


@dataclass(frozen=True, slots=True)
class Response:
    """A C-FIND or C-MOVE response as the tool printed it; counts are absent where the PACS sent none."""

    message_id: int
    status: int
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    comment: str = ""

    @property
    def is_pending(self) -> bool:
        """Whether another response follows (PS3.7 C.1.1)."""
        return self.status in (0xFF00, 0xFF01)


@dataclass(frozen=True, slots=True)
class FindKind:
    """What the C-FINDs of one association have in common: the level, and what is negotiated (PS3.4 C.5)."""

    level: QueryLevel = QueryLevel.STUDY
    relational: bool = False
    patient_root: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One C-FIND identifier: the match keys and the attributes to be returned."""

    kind: FindKind
    keys: Mapping[str, str]
    return_keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The whole answer to one query: its matches, and the final response that closed them."""

    matches: tuple[Match, ...]
    final: Response


@dataclass(frozen=True, slots=True)
class Ending:
    """How a findscu or movescu process ended.

    ``trouble`` says in one line why the association failed or broke; it is empty when every request was
    answered or when the tool was asked to stop. ``under_way`` is the message ID of the request that the PACS had
    been sent and had not answered.
    """

    trouble: str = ""
    under_way: int | None = None


@dataclass(frozen=True, slots=True)
class StudyResult:
    """What became of one study after its last attempt."""

    study: Study
    outcome: Outcome
    expected: int = 0
    received: int = 0
    attempts: int = 0
    detail: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one request, for each row that asked for it."""

    outcome: Outcome
    studies: int = 0
    expected: int = 0
    received: int = 0
    attempts: int = 0
    detail: str = ""


PENDING = RowResult(Outcome.PENDING, detail="not come to yet")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Why a match is not what was asked for: the key, the value asked and the value answered."""

    keyword: str
    asked: str
    answered: str

    def __str__(self) -> str:
        if not self.answered:
            return f"the PACS answered without {self.keyword}, which was asked as '{self.asked}'"
        return f"{self.keyword} was asked as '{self.asked}' and answered as '{self.answered}'"


@dataclass(frozen=True, slots=True)
class Lookup:
    """What C-FIND told about one request.

    ``refusals`` are matches that do not agree with the request and are therefore never moved; ``too_many`` says
    that more studies agree than a row may have; ``failure`` is a final response that was not a success.
    """

    request: Request
    studies: tuple[Study, ...] = ()
    matches: tuple[Match, ...] = ()
    refusals: tuple[Disagreement, ...] = ()
    too_many: bool = False
    failure: str = ""
    status: int | None = None
