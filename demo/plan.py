"""How a request will be answered: made by the PACS, changed by whoever wants another answer, then carried out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pydicom import Dataset

from demo.archive import Instance
from demo.conversation import Counts

Result = Literal["completed", "failed", "warning"]


@dataclass
class Plan:
    """How a request will be answered; for a C-ECHO that is all."""

    final_status: int | None = None
    """Where it differs from the one that follows from what happened."""
    comment: str = ""
    before_response: list[Callable[[int], None]] = field(default_factory=list)
    """Called before each response with the number of those before it; a final one counts too."""

    def prepare_response(self, number: int) -> None:
        """Do what is to be done before the response with this number, counted from 0."""
        for step in self.before_response:
            step(number)


@dataclass
class FindPlan(Plan):
    """The answer to a C-FIND."""

    matches: list[Dataset] = field(default_factory=list)


@dataclass(frozen=True)
class SubOperation:
    """One C-STORE of a C-MOVE; with ``pretended`` it is counted as that without being sent."""

    instance: Instance
    pretended: Result | None = None
    is_counted: bool = True


def _true_counts(counts: Counts) -> Counts | None:
    """The counts of a PACS in good order are those of what it did."""
    return counts


@dataclass
class MovePlan(Plan):
    """The sub-operations of a C-MOVE; what is done before a response is done before its sub-operation."""

    sub_operations: list[SubOperation] = field(default_factory=list)
    has_pending_responses: bool = True
    outlives_association: bool = False
    """Whether sub-operations go on when nobody is there any more to hear of them."""
    reported: Callable[[Counts], Counts | None] = _true_counts
    """The counts to report, from the true ones, where ``remaining`` is None in the final response."""
