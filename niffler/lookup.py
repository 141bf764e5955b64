"""Requests → the C-FIND queries that answer them, and the answers → studies that may be moved."""

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from niffler.keywords import Level, level_of
from niffler.matching import STUDY_LEVEL_NAME, disagreement, is_uid
from niffler.status import in_words
from niffler.vocabulary import Disagreement, FindKind, Lookup, Match, Query, QueryAnswer, QueryLevel, Request, Study

Inquiry = Generator[list[Query], list[QueryAnswer], list[Lookup]]
"""Questions about some requests: yields queries, is sent an answer to each, returns what they told."""

ALWAYS_RETURNED = ("PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDate", "NumberOfStudyRelatedInstances")
_UIDS_IN_A_LIST = 100
_UIDS_IN_THE_FIRST_LIST = 10
"""Few, so that the first images of a long list come soon."""
_ROWS_WORTH_A_PATIENT_QUERY = 3
_LONGEST_COUNT = 12
"""Digits of an Integer String, PS3.5 6.2."""
_SURELY_NOT_CUT_OFF = 100
_CANCELLED = 0xFE00


@dataclass
class Shortcuts:
    """Which shared queries the PACS has answered well so far; one that it answers badly is not used again."""

    uid_lists: bool = True
    patients: bool = True

    def forget(self, kind: str) -> None:
        """Ask no more shared queries of this kind."""
        if kind == "uid-list":
            self.uid_lists = False
        else:
            self.patients = False


@dataclass(frozen=True)
class Group:
    """Requests that one query may answer: a single one, a list of studies, or rows of one patient."""

    requests: tuple[int, ...]
    kind: str = "single"


@dataclass(frozen=True)
class LookupRules:
    """How this run asks: the model, what is to be returned, how many studies a row may have."""

    patient_root: bool
    return_keywords: tuple[str, ...]
    most_studies: int | None
    most_matches: int = 1000
    """A query is cancelled after so many matches."""


def plan(requests: Sequence[Request], wanted: Iterable[int], *, patient_root: bool) -> Iterator[Group]:
    """Group the wanted requests (indexes), in the order in which they come.

    Rows that name a StudyInstanceUID are asked as lists (PS3.4 C.2.2.2.2), three or more of one patient by the
    patient. In the PatientRoot model a STUDY query names one patient (PS3.4 C.6.1), so there lists are not for rows
    with a PatientID.
    """
    order = list(wanted)
    if not order:
        return
    keywords = requests[order[0]].keywords
    study_level = all(_is_study_level(keyword) for keyword in keywords)
    uid_at = _position(keywords, "StudyInstanceUID")
    patient_at = _position(keywords, "PatientID")
    if study_level and uid_at is not None and not (patient_root and patient_at is not None):
        plain = [index for index in order if is_uid(requests[index].values[uid_at])]
        if len(plain) == len(order):
            first = _UIDS_IN_THE_FIRST_LIST if len(order) > _UIDS_IN_A_LIST else len(order)
            yield Group(tuple(order[:first]), "uid-list")
            for start in range(first, len(order), _UIDS_IN_A_LIST):
                yield Group(tuple(order[start : start + _UIDS_IN_A_LIST]), "uid-list")
            return
    if study_level and patient_at is not None and len(keywords) > 1:
        of_patient: dict[str, list[int]] = {}
        for index in order:
            of_patient.setdefault(requests[index].values[patient_at], []).append(index)
        for patient, indexes in of_patient.items():
            if len(indexes) >= _ROWS_WORTH_A_PATIENT_QUERY and not set(patient) & set("*?\\"):
                yield Group(tuple(indexes), "patient")
            else:
                yield from (Group((index,)) for index in indexes)
        return
    yield from (Group((index,)) for index in order)


def inquire(group: Sequence[Request], kind: str, shortcuts: Shortcuts, rules: LookupRules) -> Inquiry:
    """Find the studies of a group of requests; a row that a shared query leaves open is asked about by itself."""
    told: dict[Request, Lookup] = {}
    shared = _shared_query(group, kind, shortcuts, rules)
    works, may_be_cut_off = True, False
    if shared is not None:
        [answer] = yield [shared]
        works = answer.final.status == 0
        may_be_cut_off = kind == "patient" and _may_be_cut_off(len(answer.matches))
        if works and not may_be_cut_off:
            # What disagrees with one row of the group is asked for by another.
            told = {
                request: replace(lookup, refusals=())
                for request, part in zip(group, _parts(group, kind, answer), strict=True)
                if (lookup := _agreeing(request, part, rules)).studies
            }
    open_requests = [request for request in group if request not in told]
    alone: list[Lookup] = []
    if open_requests:
        alone = yield from _together([_inquire_alone(request, rules) for request in open_requests])
    if shared is not None and (not works or (not may_be_cut_off and any(lookup.studies for lookup in alone))):
        shortcuts.forget(kind)
    told.update(zip(open_requests, alone, strict=True))
    return [told[request] for request in group]


def _parts(group: Sequence[Request], kind: str, answer: QueryAnswer) -> Iterator[QueryAnswer]:
    """What of an answer may concern each request: of a list of studies, the matches that name its study."""
    if kind != "uid-list":
        yield from itertools.repeat(answer, len(group))
        return
    named: dict[str, list[Match]] = {}
    for match in answer.matches:
        for uid in match.attributes.get("StudyInstanceUID", ()):
            named.setdefault(uid.strip(" \0"), []).append(match)
    for request in group:
        yield replace(answer, matches=tuple(named.get(request.keys["StudyInstanceUID"], ())))


def _may_be_cut_off(matches: int) -> bool:
    """Whether a PACS may have sent so many because it sends no more; such limits are round numbers."""
    return matches >= _SURELY_NOT_CUT_OFF or (matches > 0 and (matches % 10 == 0 or matches % 25 == 0))


def _shared_query(group: Sequence[Request], kind: str, shortcuts: Shortcuts, rules: LookupRules) -> Query | None:
    if len(group) == 1 or kind == "single":
        return None
    if kind == "uid-list":
        uids = dict.fromkeys(request.keys["StudyInstanceUID"] for request in group)
        return _study_query({"StudyInstanceUID": "\\".join(uids)}, group[0], rules) if shortcuts.uid_lists else None
    return _study_query({"PatientID": group[0].keys["PatientID"]}, group[0], rules) if shortcuts.patients else None


def _inquire_alone(request: Request, rules: LookupRules) -> Generator[list[Query], list[QueryAnswer], Lookup]:
    rules = replace(rules, patient_root=rules.patient_root and "PatientID" in request.keywords)
    study_keys = {keyword: value for keyword, value in request.keys.items() if _is_study_level(keyword)}
    if set(study_keys) == {"Modality"} and len(request.keywords) > 1:
        study_keys = {}  # as a key of studies it would match most of an archive
    series_keys = {keyword: value for keyword, value in request.keys.items() if keyword not in study_keys}
    if not series_keys:
        [answer] = yield [_study_query(study_keys, request, rules)]
        return _agreeing(request, answer, rules)
    if "Modality" in study_keys:
        series_keys["Modality"] = study_keys["Modality"]
    if study_keys:
        [answer] = yield [_study_query(study_keys, request, rules)]
        candidates = _agreeing(Request(tuple(study_keys), tuple(study_keys.values())), answer, rules)
        if candidates.failure or not candidates.studies:
            return replace(candidates, request=request)
        return (yield from _with_series(request, candidates, series_keys, rules))
    return (yield from _by_series_alone(request, series_keys, rules))


def _with_series(
    request: Request, candidates: Lookup, series_keys: dict[str, str], rules: LookupRules
) -> Generator[list[Query], list[QueryAnswer], Lookup]:
    """Of the candidate studies those that contain a series with these keys.

    A SERIES query may name only unique keys of the levels above it (PS3.4 C.4.1.2.1), so it is one per study.
    """
    answers = yield [
        Query(
            FindKind(QueryLevel.SERIES, patient_root=rules.patient_root and bool(study.patient_id)),
            {**_unique_keys(study, rules), **series_keys},
            ("SeriesInstanceUID",),
        )
        for study in candidates.studies
    ]
    studies: list[Study] = []
    matches: list[Match] = []
    refusals = list(candidates.refusals)
    for study, match, answer in zip(candidates.studies, candidates.matches, answers, strict=True):
        if answer.final.status != 0:
            return _failed(request, answer)
        wanted = {"StudyInstanceUID": study.study_instance_uid, **series_keys}
        disagreements = [disagreement(wanted, series) for series in answer.matches]
        if any(found is None for found in disagreements):
            studies.append(study)
            matches.append(match)
        else:
            refusals += [found for found in disagreements if found is not None]
    return Lookup(request, tuple(studies), tuple(matches), tuple(refusals))


def _by_series_alone(
    request: Request, series_keys: dict[str, str], rules: LookupRules
) -> Generator[list[Query], list[QueryAnswer], Lookup]:
    """Studies found by one relational SERIES query (PS3.4 C.4.1.3.2.1), then looked up by their UID."""
    kind = FindKind(QueryLevel.SERIES, relational=True)
    [answer] = yield [Query(kind, series_keys, ("StudyInstanceUID", "SeriesInstanceUID"))]
    if answer.final.status != 0:
        return _failed(request, answer)
    refusals: list[Disagreement] = []
    uids: dict[str, None] = {}
    for series in answer.matches:
        uid = series.first("StudyInstanceUID")
        found = disagreement(series_keys, series) or _unusable(series)
        if found is None:
            uids[uid] = None
        else:
            refusals.append(found)
    if rules.most_studies is not None and len(uids) > rules.most_studies:
        return Lookup(request, too_many=True)
    wanted = [Request(("StudyInstanceUID",), (uid,)) for uid in uids]
    lookups = []
    if wanted:
        alone = replace(rules, patient_root=False)
        answers = yield [_study_query(study.keys, request, alone) for study in wanted]
        lookups = [_agreeing(study, answer, alone) for study, answer in zip(wanted, answers, strict=True)]
    for lookup in lookups:
        if lookup.failure:
            return replace(lookup, request=request)
    return Lookup(
        request,
        tuple(study for lookup in lookups for study in lookup.studies),
        tuple(match for lookup in lookups for match in lookup.matches),
        (*refusals, *(refusal for lookup in lookups for refusal in lookup.refusals)),
    )


def _together(
    inquiries: Sequence[Generator[list[Query], list[QueryAnswer], Lookup]],
) -> Generator[list[Query], list[QueryAnswer], list[Lookup]]:
    """Carry on several inquiries side by side, so that their queries share an association."""
    told: dict[int, Lookup] = {}
    asking = {position: next(inquiry) for position, inquiry in enumerate(inquiries)}
    while asking:
        answers = iter((yield [query for queries in asking.values() for query in queries]))
        still_asking = {}
        for position, queries in asking.items():
            try:
                still_asking[position] = inquiries[position].send([next(answers) for _ in queries])
            except StopIteration as end:
                told[position] = end.value
        asking = still_asking
    return [told[position] for position in range(len(inquiries))]


def _agreeing(request: Request, answer: QueryAnswer, rules: LookupRules) -> Lookup:
    """The studies of a STUDY level answer whose every asked key is as asked, each once."""
    wanted = {STUDY_LEVEL_NAME.get(keyword, keyword): value for keyword, value in request.keys.items()}
    studies: dict[str, Study] = {}
    matches: dict[str, Match] = {}
    refusals: list[Disagreement] = []
    for match in answer.matches:
        uid = match.first("StudyInstanceUID")
        found = disagreement(wanted, match) or _unusable(match)
        if found is not None:
            refusals.append(found)
            continue
        study = Study(uid, match.first("PatientID"), match.first("AccessionNumber"), _announced(match))
        known = studies.get(uid)
        if known is not None and known.patient_id != study.patient_id:
            refusals.append(Disagreement("PatientID", known.patient_id, study.patient_id))
        elif known is None or (study.announced_instances or 0) > (known.announced_instances or 0):
            studies[uid] = study
            matches[uid] = match
    was_cut = answer.final.status == _CANCELLED and len(answer.matches) > rules.most_matches
    if was_cut or (rules.most_studies is not None and len(studies) > rules.most_studies):
        if not studies and refusals:
            return Lookup(request, refusals=tuple(refusals[:1]))
        return Lookup(request, too_many=True)
    if answer.final.status != 0:
        return _failed(request, answer)
    return Lookup(request, tuple(studies.values()), tuple(matches.values()), tuple(refusals))


def _failed(request: Request, answer: QueryAnswer) -> Lookup:
    words = in_words(answer.final.status, answer.final.comment)
    return Lookup(request, failure=f"C-FIND: {words}", status=answer.final.status)


def _unusable(match: Match) -> Disagreement | None:
    """Why a match does not name one study of one patient."""
    uids = match.attributes.get("StudyInstanceUID", ())
    if len(uids) != 1 or not is_uid(uids[0]):
        return Disagreement("StudyInstanceUID", "one UID", "\\".join(uids))
    patients = match.attributes.get("PatientID", ())
    return Disagreement("PatientID", "one value", "\\".join(patients)) if len(patients) > 1 else None


def _announced(match: Match) -> int | None:
    text = match.first("NumberOfStudyRelatedInstances")
    # Zero is what some archives answer when they have not counted.
    return (int(text) or None) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_COUNT else None


def _study_query(keys: dict[str, str], request: Request, rules: LookupRules) -> Query:
    asked = {STUDY_LEVEL_NAME.get(keyword, keyword): value for keyword, value in keys.items()}
    returned = [STUDY_LEVEL_NAME.get(keyword, keyword) for keyword in request.keywords if _is_study_level(keyword)]
    return Query(
        FindKind(QueryLevel.STUDY, patient_root=rules.patient_root and "PatientID" in keys),
        asked,
        tuple(dict.fromkeys((*ALWAYS_RETURNED, *returned, *rules.return_keywords))),
    )


def _unique_keys(study: Study, rules: LookupRules) -> dict[str, str]:
    if rules.patient_root and study.patient_id:
        return {"PatientID": study.patient_id, "StudyInstanceUID": study.study_instance_uid}
    return {"StudyInstanceUID": study.study_instance_uid}


def _is_study_level(keyword: str) -> bool:
    return keyword in STUDY_LEVEL_NAME or level_of(keyword) is Level.STUDY


def _position(keywords: Sequence[str], keyword: str) -> int | None:
    return keywords.index(keyword) if keyword in keywords else None
