"""What a list would retrieve: a finding for every row, the plan file, and what stands out."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from statistics import median

from niffler.files import write_csv
from niffler.forecast import Planned
from niffler.known import Known
from niffler.vocabulary import Lookup, Match, Request
from niffler.worklist import Worklist

PLAN_COLUMNS = ("Plan", "Studies", "Images", "Modalities", "Detail")
_FEW_STUDIES = 20
_TIMES_THE_MEDIAN = 10
_ONE_STUDY_EACH = ("AccessionNumber", "StudyInstanceUID")


class Found(StrEnum):
    """What a run would do with a row; the words are those of the plan file."""

    COMPLETE = "complete already"
    ONE = "one match"
    SEVERAL = "several matches"
    NONE = "no match"
    REFUSED = "refused"
    FAILED = "failed"
    INVALID = "invalid"
    NOT_ASKED = "not asked"


MATCHED = frozenset({Found.COMPLETE, Found.ONE, Found.SEVERAL})


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found for a request; ``images`` is None where the PACS did not tell the count of some study."""

    found: Found
    studies: int = 0
    images: int | None = None
    modalities: tuple[str, ...] = ()
    detail: str = ""


NOT_ASKED = Finding(Found.NOT_ASKED)


class Plan:
    """What is found out about a list: a finding for each request, and the studies that are to be retrieved."""

    worklist: Worklist
    known: Known

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.wanted: Sequence[int] = ()
        """The requests that are not complete already."""
        self.studies: dict[str, Planned] = {}
        self._patients: dict[str, str] = {}

    def note(self, request: int, lookup: Lookup, most_studies: int) -> None:
        """Take in what the PACS told about a request."""
        studies = lookup.studies
        if any(self._patients.setdefault(one.study_instance_uid, one.patient_id) != one.patient_id for one in studies):
            detail = "the PACS gives a study to more than one patient; ask its team which is right"
            self.findings[request] = Finding(Found.REFUSED, detail=detail)
            return
        self.findings[request] = _finding(lookup, most_studies)
        for study, match in zip(studies, lookup.matches, strict=True):
            known, announced = self.known.verified(study), study.announced_instances
            if known is None or 0 < known.received < (announced or 0):
                self.studies[study.study_instance_uid] = Planned(announced, _modalities(match))


def plan_csv(modified_csv: Path) -> Path:
    """Where the plan of a list belongs."""
    return modified_csv.with_name(f"{modified_csv.name}.plan.csv")


def sample(requests: Sequence[int], size: int) -> Sequence[int]:
    """So many of the requests, one from each part of the list, the same ones each time; all where the size is 0."""
    if not 0 < size < len(requests):
        return requests
    choice = Random(size)
    bounds = [number * len(requests) // size for number in range(size + 1)]
    return [requests[choice.randrange(begin, end)] for begin, end in itertools.pairwise(bounds)]


def _finding(lookup: Lookup, most_studies: int) -> Finding:
    if lookup.failure:
        return Finding(Found.FAILED, detail=lookup.failure)
    if lookup.too_many:
        return Finding(Found.REFUSED, detail=f"more than {most_studies} studies match; ask by other attributes")
    others = f"{len(lookup.refusals)} matches are not as asked: {lookup.refusals[0]}" if lookup.refusals else ""
    if not lookup.studies:
        return Finding(Found.REFUSED if others else Found.NONE, detail=others)
    counts = [study.announced_instances for study in lookup.studies]
    told = [count for count in counts if count is not None]
    modalities = {one for match in lookup.matches for one in _modalities(match)}
    return Finding(
        Found.ONE if len(lookup.studies) == 1 else Found.SEVERAL,
        len(lookup.studies),
        sum(told) if len(told) == len(counts) else None,
        tuple(sorted(modalities)),
        others,
    )


def _modalities(match: Match) -> tuple[str, ...]:
    return tuple(one for one in match.attributes.get("ModalitiesInStudy", ()) if one)


def with_suspiciously_many(requests: Sequence[Request], findings: Sequence[Finding]) -> list[int]:
    """Requests that match many more studies than the others, or several where their key should name one."""
    counts = [one.studies for one in findings if one.found in (Found.ONE, Found.SEVERAL)]
    many = max(_FEW_STUDIES, _TIMES_THE_MEDIAN * median(counts)) if counts else 0
    return [
        index
        for index, one in enumerate(findings)
        if one.found is Found.SEVERAL
        and (one.studies > many or any(keyword in requests[index].keywords for keyword in _ONE_STUDY_EACH))
    ]


def row_findings(worklist: Worklist, findings: Sequence[Finding]) -> Iterator[Finding]:
    """The finding of each row, from those of the requests."""
    for row, request in enumerate(worklist.request_of_row):
        yield findings[request] if request >= 0 else Finding(Found.INVALID, detail=worklist.faults[row])


def count(worklist: Worklist, findings: Sequence[Finding]) -> dict[Found, int]:
    """How many rows have which finding, in the order of the vocabulary."""
    counted = Counter(one.found for one in row_findings(worklist, findings))
    return {found: counted[found] for found in Found if counted[found]}


def write_plan(modified_csv: Path, worklist: Worklist, findings: Sequence[Finding]) -> None:
    """Write the plan: the columns of the input as they were, then what was found."""

    def rows() -> Iterator[Sequence[object]]:
        yield (*map(str, worklist.table.columns), *PLAN_COLUMNS)
        columns = [worklist.table.iloc[:, index].tolist() for index in range(worklist.table.shape[1])]
        for cells, one in zip(zip(*columns, strict=True), row_findings(worklist, findings), strict=True):
            images = "" if one.images is None else one.images
            yield (*cells, one.found.value, one.studies, images, " ".join(one.modalities), one.detail)

    write_csv(plan_csv(modified_csv), rows())


def lines_by(worklist: Worklist, rows: Sequence[int], key: Callable[[int], str]) -> dict[str, list[int]]:
    """The lines of some rows by a text about each, the most frequent first."""
    lines: dict[str, list[int]] = {}
    for row in rows:
        lines.setdefault(key(row), []).append(worklist.lines[row])
    return dict(sorted(lines.items(), key=lambda item: -len(item[1])))
