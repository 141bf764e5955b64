"""Which queries a request leads to, which matches are what was asked for, and what is known in the end."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from niffler.inquiries import Inquiries, Ticket
from niffler.lookup import ALWAYS_RETURNED, Group, LookupRules, Shortcuts, inquire, plan
from niffler.matching import disagreement, is_uid
from niffler.vocabulary import (
    Disagreement,
    FindKind,
    Lookup,
    Match,
    Query,
    QueryAnswer,
    QueryLevel,
    Request,
    Response,
    Study,
)

STUDY_ROOT = LookupRules(patient_root=False, return_keywords=(), most_studies=1000)
PATIENT_ROOT = LookupRules(patient_root=True, return_keywords=(), most_studies=1000)
STUDY = FindKind(QueryLevel.STUDY)
JANUARY = "20200101-20200131"


def request(**keys: str) -> Request:
    return Request(tuple(keys), tuple(keys.values()))


def match(**attributes: str | tuple[str, ...]) -> Match:
    return Match({name: (value,) if isinstance(value, str) else value for name, value in attributes.items()})


def study_match(uid: str = "1.2.3", **attributes: str | tuple[str, ...]) -> Match:
    return match(StudyInstanceUID=uid, **{"PatientID": "P1", **attributes})


def answer(*matches: Match, status: int = 0, comment: str = "") -> QueryAnswer:
    return QueryAnswer(matches, Response(1, status, comment=comment))


def converse(
    requests: Sequence[Request],
    *rounds: Sequence[QueryAnswer],
    kind: str = "single",
    rules: LookupRules = STUDY_ROOT,
    shortcuts: Shortcuts | None = None,
) -> tuple[list[list[Query]], list[Lookup]]:
    """Answer an inquiry round by round; returns what it asked in each, and what it told in the end."""
    inquiry = inquire(requests, kind, shortcuts or Shortcuts(), rules)
    asked = [next(inquiry), *(inquiry.send(list(answers)) for answers in rounds[:-1])]
    with pytest.raises(StopIteration) as end:
        inquiry.send(list(rounds[-1]))
    told: list[Lookup] = end.value.value
    return asked, told


def look_up(wanted: Request, *matches: Match, rules: LookupRules = STUDY_ROOT) -> Lookup:
    """What one request is told when its only query is answered by these matches."""
    _, [lookup] = converse([wanted], [answer(*matches)], rules=rules)
    return lookup


def uids(lookup: Lookup) -> list[str]:
    return [study.study_instance_uid for study in lookup.studies]


# Whether a match is what was asked for


@pytest.mark.parametrize(
    ("keyword", "asked", "answered"),
    [
        ("PatientID", "00001234", "00001234"),
        ("PatientID", "00001234", "00001234   "),
        ("AccessionNumber", "A1", "A1\0"),
        ("AccessionNumber", "A1", "  A1 "),
        ("StudyInstanceUID", "1.2.3", "1.2.3\0"),
        ("StudyDate", "20200115", "20200115"),
        ("StudyDate", "20200115", "2020.01.15"),
        ("StudyDate", JANUARY, "20200101"),
        ("StudyDate", JANUARY, "20200131"),
        ("StudyDate", JANUARY, "20200115 "),
        ("ModalitiesInStudy", "CT", ("MR", "CT")),
        ("PatientName", "DOE^JANE", "Doe^Jane"),
        ("PatientName", "müller^jürgen", "MÜLLER^JÜRGEN"),
        ("PatientName", "Doe^Jane", "Doe^Jane^^^"),
        ("PatientName", "Doe^Jane", "Doe ^ Jane "),
        ("PatientName", "Yamada^Tarou", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("PatientName", "山田^太郎", "Yamada^Tarou=山田^太郎"),
        ("NumberOfStudyRelatedInstances", "3", "03"),
        ("PatientWeight", "70", "70.0"),
        ("StudyTime", "101500", "101500.000000"),
        ("StudyTime", "101500.5", "101500.500"),
        ("StudyInstanceUID", "1.2\\1.3", "1.3"),
        ("PatientID", "P*", "P1"),
        ("PatientID", "P?", "P1"),
        ("PatientName", "doe*", "Doe^Jane"),
        ("StudyDescription", "CT [1]*", "CT [1] head"),
    ],
)
def test_a_value_that_is_as_asked_agrees(keyword: str, asked: str, answered: str | tuple[str, ...]) -> None:
    assert disagreement({keyword: asked}, match(**{keyword: answered})) is None


@pytest.mark.parametrize(
    ("keyword", "asked", "answered"),
    [
        ("PatientID", "00001234", "1234"),
        ("PatientID", "1234", "00001234"),
        ("PatientID", "p1", "P1"),
        ("PatientID", "P1", ""),
        ("PatientID", "P1", "   "),
        ("PatientID", "P1", ()),
        ("PatientID", "P1", "P1X"),
        ("AccessionNumber", "a1", "A1"),
        ("StudyDescription", "Head", "HEAD"),
        ("StudyDate", "20200115", "20200116"),
        ("StudyDate", JANUARY, "20191231"),
        ("StudyDate", JANUARY, "20200201"),
        ("StudyDate", JANUARY, ""),
        ("StudyDate", JANUARY, "2020011"),
        ("StudyDate", JANUARY, "20200115x"),
        ("ModalitiesInStudy", "CT", ("MR", "CTX")),
        ("ModalitiesInStudy", "CT", "ct"),
        ("PatientName", "Doe^Jane", "Doe^John"),
        ("PatientName", "Doe", "Doe^Jane"),
        ("StudyInstanceUID", "1.2.3", "1.2.30"),
        ("StudyInstanceUID", "1.2\\1.3", "1.4"),
        ("NumberOfStudyRelatedInstances", "3", "30"),
        ("StudyTime", "101500", "101501"),
        ("StudyTime", "101500.5", "101500"),
        ("PatientID", "P*", "Q1"),
        ("PatientID", "P?", "P12"),
        ("PatientID", "[PQ]*", "P1"),
    ],
)
def test_a_value_that_is_not_as_asked_disagrees(keyword: str, asked: str, answered: str | tuple[str, ...]) -> None:
    found = disagreement({keyword: asked}, match(**{keyword: answered}))
    assert found is not None
    assert (found.keyword, found.asked) == (keyword, asked)


def test_a_key_that_does_not_come_back_disagrees() -> None:
    assert disagreement({"AccessionNumber": "A1"}, match(PatientID="P1")) == Disagreement("AccessionNumber", "A1", "")


def test_every_key_has_to_agree() -> None:
    keys = {"PatientID": "P1", "AccessionNumber": "A1", "StudyDate": "20200115"}
    assert disagreement(keys, match(PatientID="P1", AccessionNumber="A1", StudyDate="20200115")) is None
    for keyword in keys:
        wrong = {**keys, keyword: "19990101"}
        found = disagreement(keys, match(**wrong))
        assert found == Disagreement(keyword, keys[keyword], "19990101")


def test_a_disagreement_names_the_key_and_both_values() -> None:
    assert str(Disagreement("PatientID", "P1", "P2")) == "PatientID was asked as 'P1' and answered as 'P2'"
    assert "without PatientID" in str(Disagreement("PatientID", "P1", ""))


PLAIN = st.text("ABCabc019 -_.", min_size=1, max_size=6).map(str.strip).filter(bool)


@settings(deadline=None)
@given(asked=PLAIN, answered=PLAIN, keyword=st.sampled_from(["PatientID", "AccessionNumber", "StudyDescription"]))
def test_no_plain_value_agrees_with_another(asked: str, answered: str, keyword: str) -> None:
    agrees = disagreement({keyword: asked}, match(**{keyword: answered})) is None
    assert agrees is (asked == answered)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("1.2.3", True),
        ("", False),
        ("1.2\\1.3", False),
        ("1.2.*", False),
        ("1.?", False),
        ("1" * 65, False),
        ("\N{ARABIC-INDIC DIGIT ONE}", False),
    ],
)
def test_a_uid_to_be_moved_is_one_uid_and_no_pattern(text: str, is_one: bool) -> None:
    assert is_uid(text) is is_one


# One request, one query


def test_a_request_is_asked_at_study_level_with_its_keys() -> None:
    wanted = request(PatientID="P1", AccessionNumber="A1", StudyDate=JANUARY)
    [[query]], _ = converse([wanted], [answer()])
    assert query.kind == STUDY
    assert dict(query.keys) == {"PatientID": "P1", "AccessionNumber": "A1", "StudyDate": JANUARY}


@pytest.mark.parametrize(
    "rules", [STUDY_ROOT, PATIENT_ROOT, LookupRules(False, ("StudyDescription", "PatientID"), None)]
)
def test_what_a_study_needs_is_always_returned_and_what_a_run_wants_with_it(rules: LookupRules) -> None:
    [[query]], _ = converse([request(PatientID="P1", StudyDescription="CT")], [answer()], rules=rules)
    assert {*ALWAYS_RETURNED, "StudyDescription", *rules.return_keywords} <= set(query.return_keywords)
    assert len(set(query.return_keywords)) == len(query.return_keywords)
    assert set(ALWAYS_RETURNED) == {
        "PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDate", "NumberOfStudyRelatedInstances",
    }  # fmt: skip


def test_a_request_with_a_patient_is_asked_in_the_model_of_the_settings() -> None:
    for rules in (STUDY_ROOT, PATIENT_ROOT):
        [[query]], _ = converse([request(PatientID="P1")], [answer()], rules=rules)
        assert query.kind == FindKind(QueryLevel.STUDY, patient_root=rules.patient_root)


@pytest.mark.parametrize(
    "wanted",
    [request(AccessionNumber="A1"), request(StudyDate=JANUARY), request(PatientName="Doe^J"), request(Modality="CT")],
)
def test_a_request_without_a_patient_is_asked_in_the_study_root_model(wanted: Request) -> None:
    [[query]], _ = converse([wanted], [answer()], rules=PATIENT_ROOT)
    assert query.kind == STUDY


def test_modality_is_asked_as_modalities_in_study() -> None:
    wanted = request(PatientID="P1", Modality="CT")
    [[query]], [lookup] = converse([wanted], [answer(study_match(ModalitiesInStudy=("MR", "CT")))])
    assert dict(query.keys) == {"PatientID": "P1", "ModalitiesInStudy": "CT"}
    assert "ModalitiesInStudy" in query.return_keywords
    assert "Modality" not in query.return_keywords
    assert uids(lookup) == ["1.2.3"]


def test_a_study_without_that_modality_is_refused() -> None:
    lookup = look_up(request(PatientID="P1", Modality="CT"), study_match(ModalitiesInStudy=("MR", "SR")))
    assert lookup.studies == ()
    assert lookup.refusals == (Disagreement("ModalitiesInStudy", "CT", "MR\\SR"),)


def test_a_study_is_told_with_what_a_move_needs() -> None:
    found = study_match(PatientID="P1", AccessionNumber="A1", NumberOfStudyRelatedInstances="12")
    lookup = look_up(request(PatientID="P1"), found)
    assert lookup.studies == (Study("1.2.3", "P1", "A1", 12),)
    assert lookup.matches == (found,)
    assert (lookup.refusals, lookup.too_many, lookup.failure) == ((), False, "")


@pytest.mark.parametrize("count", ["0", "", "many", "-1", "1.5", "²", "9" * 5000])
def test_a_count_that_is_zero_or_no_number_announces_nothing(count: str) -> None:
    lookup = look_up(request(PatientID="P1"), study_match(NumberOfStudyRelatedInstances=count))
    assert lookup.studies[0].announced_instances is None


def test_all_studies_of_a_patient_are_found_in_their_order() -> None:
    lookup = look_up(request(PatientID="P1"), study_match("1.3"), study_match("1.1"), study_match("1.2"))
    assert uids(lookup) == ["1.3", "1.1", "1.2"]


def test_no_match_is_neither_a_study_nor_a_refusal() -> None:
    lookup = look_up(request(PatientID="P1"))
    assert lookup == Lookup(request(PatientID="P1"))


def test_a_study_that_is_answered_twice_is_one_study() -> None:
    lookup = look_up(request(PatientID="P1"), *[study_match("1.1")] * 3, study_match("1.2"))
    assert uids(lookup) == ["1.1", "1.2"]
    assert len(lookup.matches) == 2


def test_a_study_that_is_answered_twice_has_the_higher_count() -> None:
    matches = [study_match(NumberOfStudyRelatedInstances=count) for count in ("", "3", "5", "4")]
    assert [study.announced_instances for study in look_up(request(PatientID="P1"), *matches).studies] == [5]


def test_a_study_that_is_answered_for_two_patients_is_noted() -> None:
    matches = [study_match(PatientID=patient, AccessionNumber="A1") for patient in ("P1", "P2")]
    lookup = look_up(request(AccessionNumber="A1"), *matches)
    assert [study.patient_id for study in lookup.studies] == ["P1"]
    assert lookup.refusals == (Disagreement("PatientID", "P1", "P2"),)


def test_of_an_ignored_key_only_what_agrees_is_found_and_the_others_are_noted() -> None:
    archive = [study_match(f"1.{number}", AccessionNumber=f"A{number}") for number in range(5)]
    lookup = look_up(request(AccessionNumber="A3"), *archive)
    assert uids(lookup) == ["1.3"]
    assert len(lookup.refusals) == 4
    assert lookup.refusals[0] == Disagreement("AccessionNumber", "A3", "A0")


def test_where_no_match_agrees_the_key_and_both_values_are_told() -> None:
    lookup = look_up(request(PatientID="P1", AccessionNumber="A1"), study_match(PatientID="P2", AccessionNumber="A1"))
    assert lookup.studies == ()
    assert str(lookup.refusals[0]) == "PatientID was asked as 'P1' and answered as 'P2'"


def test_an_accession_of_another_patient_is_refused() -> None:
    lookup = look_up(
        request(PatientID="00001234", AccessionNumber="A1"), study_match(PatientID="1234", AccessionNumber="A1")
    )
    assert (lookup.studies, lookup.refusals[0].keyword) == ((), "PatientID")


@pytest.mark.parametrize("uid", ["", "1.2\\1.3", "1.*", "x"])
def test_a_match_without_one_usable_study_uid_is_refused(uid: str) -> None:
    lookup = look_up(request(PatientID="P1"), study_match(uid))
    assert lookup.studies == ()
    assert lookup.refusals[0].keyword == "StudyInstanceUID"


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "PatientID"])
def test_a_match_with_several_studies_or_patients_is_refused(keyword: str) -> None:
    one: dict[str, str | tuple[str, ...]] = {"StudyInstanceUID": "1.2", "PatientID": "P1", "AccessionNumber": "A1"}
    lookup = look_up(request(AccessionNumber="A1"), match(**{**one, keyword: ("1.2", "1.3")}))
    assert lookup.studies == ()
    assert [refusal.keyword for refusal in lookup.refusals] == [keyword]


def test_a_month_takes_the_studies_of_that_month_alone() -> None:
    days = ["20191231", "20200101", "20200131", "20200201"]
    lookup = look_up(
        request(PatientID="P1", StudyDate=JANUARY), *[study_match(f"1.{day}", StudyDate=day) for day in days]
    )
    assert uids(lookup) == ["1.20200101", "1.20200131"]
    assert len(lookup.refusals) == 2


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0x0122, 0xB000])
def test_a_status_that_is_no_success_is_a_failure_whatever_came_before(status: int) -> None:
    wanted = request(PatientID="P1")
    _, [lookup] = converse([wanted], [answer(study_match(), status=status, comment="busy")])
    assert lookup.studies == ()
    assert lookup.status == status
    assert lookup.failure.startswith(f"C-FIND: status {status:04X}H")
    assert "busy" in lookup.failure


# MaxStudiesPerRow

TWO_AT_MOST = LookupRules(patient_root=False, return_keywords=(), most_studies=2)


def test_a_row_with_as_many_studies_as_it_may_have_is_found() -> None:
    assert uids(look_up(request(PatientID="P1"), study_match("1.1"), study_match("1.2"), rules=TWO_AT_MOST)) == [
        "1.1",
        "1.2",
    ]


def test_a_row_with_more_studies_than_it_may_have_has_none() -> None:
    lookup = look_up(request(PatientID="P1"), *[study_match(f"1.{n}") for n in range(3)], rules=TWO_AT_MOST)
    assert lookup.too_many
    assert lookup.studies == ()


def test_without_a_limit_all_studies_are_found() -> None:
    rules = LookupRules(patient_root=False, return_keywords=(), most_studies=None)
    assert (
        len(look_up(request(PatientID="P1"), *[study_match(f"1.{n}") for n in range(3000)], rules=rules).studies)
        == 3000
    )


def test_a_query_that_was_cancelled_is_too_many_where_something_agrees() -> None:
    archive = [study_match(f"1.{number}", PatientID=f"P{number}") for number in range(1001)]
    _, [lookup] = converse([request(PatientID="P1")], [answer(*archive, status=0xFE00)])
    assert (lookup.too_many, lookup.studies) == (True, ())


def test_a_query_that_was_cancelled_is_a_refusal_where_nothing_agrees() -> None:
    archive = [study_match(f"1.{number}", PatientID=f"X{number}") for number in range(1001)]
    _, [lookup] = converse([request(PatientID="P1")], [answer(*archive, status=0xFE00)])
    assert not lookup.too_many
    assert lookup.refusals == (Disagreement("PatientID", "P1", "X0"),)


def test_a_query_that_the_pacs_cancelled_by_itself_is_a_failure() -> None:
    _, [lookup] = converse([request(PatientID="P1")], [answer(study_match(), status=0xFE00)])
    assert (lookup.too_many, lookup.studies, lookup.status) == (False, (), 0xFE00)


def test_more_matches_than_a_row_may_have_are_a_refusal_where_nothing_agrees() -> None:
    archive = [study_match(f"1.{number}", PatientID=f"X{number}") for number in range(5)]
    lookup = look_up(request(PatientID="P1"), *archive, rules=TWO_AT_MOST)
    assert not lookup.too_many
    assert lookup.studies == ()
    assert lookup.refusals[0].keyword == "PatientID"


# Keywords of the series level


def series_match(uid: str = "1.2.3", **attributes: str) -> Match:
    return match(StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1", **attributes)


def test_a_series_keyword_is_asked_once_per_study_that_the_other_keys_found() -> None:
    wanted = request(PatientID="P1", SeriesDescription="Axial")
    studies = answer(study_match("1.1"), study_match("1.2"))
    asked, [lookup] = converse([wanted], [studies], [answer(series_match("1.1", SeriesDescription="Axial")), answer()])
    [[first], second] = asked
    assert (first.kind, dict(first.keys)) == (STUDY, {"PatientID": "P1"})
    assert [query.kind for query in second] == [FindKind(QueryLevel.SERIES)] * 2
    # PS3.4 C.4.1.2.1: of the levels above only the unique key.
    assert [dict(query.keys) for query in second] == [
        {"StudyInstanceUID": uid, "SeriesDescription": "Axial"} for uid in ("1.1", "1.2")
    ]
    assert uids(lookup) == ["1.1"]
    assert lookup.matches == (study_match("1.1"),)
    assert lookup.request == wanted


def test_in_the_patient_root_model_the_series_query_names_the_patient_too() -> None:
    wanted = request(PatientID="P1", SeriesDescription="Axial")
    asked, [lookup] = converse(
        [wanted], [answer(study_match())], [answer(series_match(SeriesDescription="Axial"))], rules=PATIENT_ROOT
    )
    [query] = asked[1]
    assert query.kind == FindKind(QueryLevel.SERIES, patient_root=True)
    assert dict(query.keys) == {"PatientID": "P1", "StudyInstanceUID": "1.2.3", "SeriesDescription": "Axial"}
    assert uids(lookup) == ["1.2.3"]


def test_modality_beside_a_series_keyword_is_asked_at_both_levels() -> None:
    wanted = request(PatientID="P1", Modality="CT", BodyPartExamined="CHEST")
    found = series_match(Modality="CT", BodyPartExamined="CHEST")
    asked, [lookup] = converse([wanted], [answer(study_match(ModalitiesInStudy="CT"))], [answer(found)])
    assert dict(asked[0][0].keys) == {"PatientID": "P1", "ModalitiesInStudy": "CT"}
    assert dict(asked[1][0].keys) == {"StudyInstanceUID": "1.2.3", "Modality": "CT", "BodyPartExamined": "CHEST"}
    assert uids(lookup) == ["1.2.3"]


@pytest.mark.parametrize(
    "series",
    [
        series_match(SeriesDescription="Coronal"),
        series_match(),
        series_match("1.2.4", SeriesDescription="Axial"),
        match(SeriesInstanceUID="1.2.3.1", SeriesDescription="Axial"),
    ],
)
def test_a_series_that_is_not_as_asked_selects_no_study(series: Match) -> None:
    wanted = request(PatientID="P1", SeriesDescription="Axial")
    _, [lookup] = converse([wanted], [answer(study_match())], [answer(series)])
    assert lookup.studies == ()
    assert lookup.refusals


def test_where_the_study_keys_find_nothing_no_series_is_asked_for() -> None:
    wanted = request(AccessionNumber="A1", SeriesDescription="Axial")
    asked, [lookup] = converse([wanted], [answer(study_match(AccessionNumber="A2"))])
    assert len(asked) == 1
    assert lookup.request == wanted
    assert lookup.refusals[0].keyword == "AccessionNumber"


def test_a_row_of_series_keywords_alone_is_one_relational_query_then_its_studies() -> None:
    wanted = request(SeriesDescription="Axial", BodyPartExamined="CHEST")
    keys = {"SeriesDescription": "Axial", "BodyPartExamined": "CHEST"}
    series = [series_match(uid, **keys) for uid in ("1.1", "1.1", "1.2")]
    other = series_match("1.3", SeriesDescription="Axial", BodyPartExamined="HEAD")
    asked, [lookup] = converse(
        [wanted],
        [answer(*series, other)],
        [answer(study_match("1.1")), answer(study_match("1.2", PatientID="P2"))],
        rules=PATIENT_ROOT,
    )
    [[first], second] = asked
    assert first.kind == FindKind(QueryLevel.SERIES, relational=True)
    assert dict(first.keys) == keys
    assert "StudyInstanceUID" in first.return_keywords
    assert [(query.kind, dict(query.keys)) for query in second] == [
        (STUDY, {"StudyInstanceUID": uid}) for uid in ("1.1", "1.2")
    ]
    assert lookup.studies == (Study("1.1", "P1"), Study("1.2", "P2"))
    assert lookup.refusals == (Disagreement("BodyPartExamined", "CHEST", "HEAD"),)


def test_a_series_instance_uid_finds_its_study() -> None:
    wanted = request(SeriesInstanceUID="1.2.3.1")
    asked, [lookup] = converse([wanted], [answer(series_match())], [answer(study_match())])
    assert dict(asked[0][0].keys) == {"SeriesInstanceUID": "1.2.3.1"}
    assert uids(lookup) == ["1.2.3"]


def test_series_keywords_that_find_more_studies_than_a_row_may_have_find_none() -> None:
    wanted = request(SeriesDescription="Axial")
    series = [series_match(f"1.{number}", SeriesDescription="Axial") for number in range(3)]
    _, [lookup] = converse([wanted], [answer(*series)], rules=TWO_AT_MOST)
    assert (lookup.too_many, lookup.studies) == (True, ())


def test_many_series_of_few_studies_are_not_too_many() -> None:
    wanted = request(SeriesDescription="Axial")
    series = [series_match("1.1", SeriesDescription="Axial")] * 5
    _, [lookup] = converse([wanted], [answer(*series)], [answer(study_match("1.1"))], rules=TWO_AT_MOST)
    assert uids(lookup) == ["1.1"]


def test_a_failure_at_series_level_fails_the_row() -> None:
    alone, below_study = request(SeriesDescription="A"), request(PatientID="P1", SeriesDescription="A")
    conversations: list[tuple[Request, list[list[QueryAnswer]]]] = [
        (alone, [[answer(status=0xC000)]]),
        (alone, [[answer(series_match(SeriesDescription="A"))], [answer(status=0xC000)]]),
        (below_study, [[answer(study_match())], [answer(status=0xC000)]]),
    ]
    for wanted, rounds in conversations:
        _, [lookup] = converse([wanted], *rounds)
        assert (lookup.request, lookup.status, lookup.studies) == (wanted, 0xC000, ())


# Requests that share a query


def test_rows_that_name_a_study_are_asked_in_lists_of_a_hundred_after_a_first_of_ten() -> None:
    requests = [request(StudyInstanceUID=f"1.{number}") for number in range(250)]
    groups = list(plan(requests, range(250), patient_root=False))
    assert [(group.kind, len(group.requests)) for group in groups] == [
        ("uid-list", 10), ("uid-list", 100), ("uid-list", 100), ("uid-list", 40),
    ]  # fmt: skip
    assert [index for group in groups for index in group.requests] == list(range(250))


def test_only_wanted_requests_are_planned() -> None:
    requests = [request(StudyInstanceUID=f"1.{number}") for number in range(5)]
    assert list(plan(requests, [3, 1], patient_root=False)) == [Group((3, 1), "uid-list")]
    assert list(plan(requests, [], patient_root=False)) == []


def test_in_the_patient_root_model_a_list_is_for_rows_without_a_patient() -> None:
    with_patient = [request(PatientID=f"P{number}", StudyInstanceUID=f"1.{number}") for number in range(4)]
    assert {group.kind for group in plan(with_patient, range(4), patient_root=False)} == {"uid-list"}
    assert {group.kind for group in plan(with_patient, range(4), patient_root=True)} == {"single"}
    without = [request(StudyInstanceUID=f"1.{number}") for number in range(4)]
    assert {group.kind for group in plan(without, range(4), patient_root=True)} == {"uid-list"}


def test_rows_with_wildcards_or_series_keywords_are_asked_one_by_one() -> None:
    for requests in (
        [request(StudyInstanceUID=uid) for uid in ("1.1", "1.2\\1.3")],
        [request(StudyInstanceUID=f"1.{number}", SeriesDescription="A") for number in range(3)],
        [request(PatientID="P*", AccessionNumber=f"A{number}") for number in range(3)],
        [request(PatientID="P1", SeriesDescription=f"A{number}") for number in range(3)],
        [request(PatientID=f"P{number}") for number in range(3)],
    ):
        groups = list(plan(requests, range(len(requests)), patient_root=False))
        assert groups == [Group((index,)) for index in range(len(requests))]


def test_three_rows_of_one_patient_share_a_query_and_two_do_not() -> None:
    rows = [("P1", "A0"), ("P2", "A1"), ("P1", "A2"), ("P2", "A3"), ("P1", "A4")]
    requests = [request(PatientID=patient, AccessionNumber=accession) for patient, accession in rows]
    assert list(plan(requests, range(5), patient_root=True)) == [Group((0, 2, 4), "patient"), Group((1,)), Group((3,))]


UID_ROWS = [request(StudyInstanceUID=uid) for uid in ("1.1", "1.2", "1.3")]
PATIENT_ROWS = [request(PatientID="P1", AccessionNumber=accession) for accession in ("A1", "A2", "A3")]


def test_a_list_of_studies_is_one_query_and_each_row_gets_its_own() -> None:
    asked, told = converse(
        UID_ROWS, [answer(study_match("1.3"), study_match("1.1"), study_match("1.2"))], kind="uid-list"
    )
    [[query]] = asked
    assert dict(query.keys) == {"StudyInstanceUID": "1.1\\1.2\\1.3"}
    assert [uids(lookup) for lookup in told] == [["1.1"], ["1.2"], ["1.3"]]
    assert [lookup.request for lookup in told] == UID_ROWS
    assert [lookup.refusals for lookup in told] == [(), (), ()], "the studies of other rows are no refusals"


def test_a_study_that_the_list_did_not_find_is_asked_for_by_itself() -> None:
    shortcuts = Shortcuts()
    asked, told = converse(
        UID_ROWS, [answer(study_match("1.1"), study_match("1.3"))], [answer()], kind="uid-list", shortcuts=shortcuts
    )
    assert [dict(query.keys) for query in asked[1]] == [{"StudyInstanceUID": "1.2"}]
    assert [uids(lookup) for lookup in told] == [["1.1"], [], ["1.3"]]
    assert shortcuts == Shortcuts(), "the list told the truth"


def test_other_keys_of_a_row_in_a_list_are_checked_too() -> None:
    rows = [request(StudyInstanceUID=uid, PatientID=patient) for uid, patient in (("1.1", "P1"), ("1.2", "P2"))]
    shared = answer(study_match("1.1", PatientID="P1"), study_match("1.2", PatientID="P9"))
    _, told = converse(rows, [shared], [answer(study_match("1.2", PatientID="P9"))], kind="uid-list")
    assert [uids(lookup) for lookup in told] == [["1.1"], []]
    assert told[1].refusals == (Disagreement("PatientID", "P2", "P9"),)


def test_rows_of_one_patient_share_a_query_by_the_patient() -> None:
    shared = answer(*[study_match(f"1.{n}", AccessionNumber=f"A{n}") for n in (1, 2, 3, 4)])
    asked, told = converse(PATIENT_ROWS, [shared], kind="patient", rules=PATIENT_ROOT)
    [[query]] = asked
    assert dict(query.keys) == {"PatientID": "P1"}
    assert query.kind == FindKind(QueryLevel.STUDY, patient_root=True)
    assert [uids(lookup) for lookup in told] == [["1.1"], ["1.2"], ["1.3"]]


def test_studies_of_another_patient_in_a_shared_answer_are_not_taken() -> None:
    shared = answer(*[study_match(f"1.{n}", PatientID="P2", AccessionNumber=f"A{n}") for n in (1, 2, 3)])
    _, told = converse(PATIENT_ROWS, [shared], [answer(), answer(), answer()], kind="patient")
    assert [lookup.studies for lookup in told] == [(), (), ()]


@pytest.mark.parametrize(("kind", "rows"), [("uid-list", UID_ROWS), ("patient", PATIENT_ROWS)])
def test_a_shared_query_that_is_answered_badly_is_asked_row_by_row_and_not_used_again(
    kind: str, rows: list[Request]
) -> None:
    alone = [answer(study_match(f"1.{n}", AccessionNumber=f"A{n}")) for n in (1, 2, 3)]
    badly = {
        "a failure": answer(status=0xA900),
        "a failure after matches": answer(study_match("1.1", AccessionNumber="A1"), status=0xC000),
        "a match that the row's own query finds is missing": answer(study_match("1.1", AccessionNumber="A1")),
    }
    for name, bad in badly.items():
        shortcuts = Shortcuts()
        missing = alone[1:] if name.startswith("a match") else alone
        asked, told = converse(rows, [bad], missing, kind=kind, shortcuts=shortcuts)
        assert [uids(lookup) for lookup in told] == [["1.1"], ["1.2"], ["1.3"]], name
        assert shortcuts == Shortcuts(uid_lists=kind != "uid-list", patients=kind != "patient"), name
        assert all(len(query.keys) == len(rows[0].keywords) for query in asked[1]), name
        again, _ = converse(rows, alone, kind=kind, shortcuts=shortcuts)
        assert len(again[0]) == 3, f"{name}: the next group is asked row by row at once"


def test_a_shared_query_that_fails_is_not_used_again_although_the_rows_find_nothing_either() -> None:
    shortcuts = Shortcuts()
    _, told = converse(UID_ROWS, [answer(status=0xC000)], [answer()] * 3, kind="uid-list", shortcuts=shortcuts)
    assert [lookup.studies for lookup in told] == [(), (), ()]
    assert not shortcuts.uid_lists


@pytest.mark.parametrize("matches", [100, 101, 25, 50, 10])
def test_as_many_matches_for_one_patient_as_a_pacs_may_be_limited_to_are_not_relied_on(matches: int) -> None:
    shared = answer(*[study_match(f"1.{n}", AccessionNumber=f"A{n}") for n in range(matches)])
    alone = [answer(study_match(f"1.{n}", AccessionNumber=f"A{n}")) for n in (1, 2, 3)]
    asked, told = converse(PATIENT_ROWS, [shared], alone, kind="patient")
    assert len(asked[1]) == 3
    assert [uids(lookup) for lookup in told] == [["1.1"], ["1.2"], ["1.3"]]


def test_series_queries_of_several_rows_are_asked_side_by_side() -> None:
    rows = [request(PatientID=patient, SeriesDescription="A") for patient in ("P1", "P2")]
    asked, told = converse(
        rows,
        [answer(study_match("1.1")), answer(study_match("1.2", PatientID="P2"), study_match("1.3", PatientID="P2"))],
        [
            answer(series_match("1.1", SeriesDescription="A")),
            answer(),
            answer(series_match("1.3", SeriesDescription="A")),
        ],
    )
    assert [len(queries) for queries in asked] == [2, 3]
    assert [uids(lookup) for lookup in told] == [["1.1"], ["1.3"]]


# Many inquiries over few associations


def keys_of(tickets: Sequence[Ticket]) -> list[dict[str, str]]:
    return [dict(ticket.query.keys) for ticket in tickets]


def test_queries_are_handed_out_in_their_order_and_no_more_than_wanted() -> None:
    requests = [request(AccessionNumber=f"A{number}") for number in range(3)]
    inquiries = Inquiries(requests.__getitem__, STUDY_ROOT)
    for index in range(3):
        inquiries.begin(Group((index,)))
    assert (inquiries.waiting, inquiries.open_groups, inquiries.open_requests) == (3, 3, 3)
    assert keys_of(inquiries.take(2)) == [{"AccessionNumber": "A0"}, {"AccessionNumber": "A1"}]
    assert keys_of(inquiries.take(2)) == [{"AccessionNumber": "A2"}]
    assert inquiries.take(2) == []


def test_one_association_is_given_queries_of_one_kind() -> None:
    requests = [request(SeriesInstanceUID=f"1.{number}") for number in range(2)]
    requests[1:1] = [request(PatientID=f"P{number}") for number in range(3)]
    inquiries = Inquiries(requests.__getitem__, STUDY_ROOT)
    for index in range(5):
        inquiries.begin(Group((index,)))
    assert keys_of(inquiries.take(1)) == [{"SeriesInstanceUID": "1.0"}]
    assert keys_of(inquiries.take(2)) == [{"PatientID": "P0"}, {"PatientID": "P1"}]
    assert keys_of(inquiries.take(10)) == [{"PatientID": "P2"}]
    assert keys_of(inquiries.take(10)) == [{"SeriesInstanceUID": "1.1"}]


def test_a_query_of_another_kind_keeps_its_place() -> None:
    requests = [
        request(PatientID="P0"),
        request(SeriesInstanceUID="1.1"),
        *(request(PatientID=f"P{n}") for n in (1, 2)),
    ]
    inquiries = Inquiries(requests.__getitem__, STUDY_ROOT)
    for index in range(4):
        inquiries.begin(Group((index,)))
    assert keys_of(inquiries.take(2)) == [{"PatientID": "P0"}, {"PatientID": "P1"}]
    assert keys_of(inquiries.take(2)) == [{"SeriesInstanceUID": "1.1"}], "it is not overtaken by what came after it"


def test_an_answer_goes_to_the_request_it_belongs_to_in_whatever_order_answers_come() -> None:
    requests = [request(PatientID="P1"), request(PatientID="P2")]
    inquiries = Inquiries(requests.__getitem__, STUDY_ROOT)
    for index in range(2):
        inquiries.begin(Group((index,)))
    first, second = inquiries.take(2)
    [(index, lookup)] = inquiries.answer(second, answer(study_match("1.2", PatientID="P2")))
    assert (index, uids(lookup)) == (1, ["1.2"])
    [(index, lookup)] = inquiries.answer(first, answer(study_match("1.1")))
    assert (index, uids(lookup)) == (0, ["1.1"])
    assert (inquiries.open_groups, inquiries.open_requests) == (0, 0)


def test_a_group_is_told_when_its_last_query_is_answered() -> None:
    inquiries = Inquiries([request(PatientID="P1", SeriesDescription="A")].__getitem__, STUDY_ROOT)
    inquiries.begin(Group((0,)))
    [studies] = inquiries.take(10)
    assert inquiries.answer(studies, answer(study_match("1.1"), study_match("1.2"))) == []
    first, second = inquiries.take(10)
    assert inquiries.answer(second, answer(series_match("1.2", SeriesDescription="A"))) == []
    [(index, lookup)] = inquiries.answer(first, answer())
    assert (index, uids(lookup)) == (0, ["1.2"])


def test_a_group_is_told_by_the_indexes_of_its_requests() -> None:
    requests = [request(PatientID="X", AccessionNumber="A0"), *PATIENT_ROWS]
    inquiries = Inquiries(requests.__getitem__, STUDY_ROOT)
    inquiries.begin(Group((1, 2, 3), "patient"))
    assert inquiries.open_requests == 3
    [ticket] = inquiries.take(10)
    shared = answer(*[study_match(f"1.{n}", AccessionNumber=f"A{n}") for n in (1, 2, 3)])
    assert [(index, uids(lookup)) for index, lookup in inquiries.answer(ticket, shared)] == [
        (1, ["1.1"]), (2, ["1.2"]), (3, ["1.3"]),
    ]  # fmt: skip


def test_queries_that_nobody_came_to_are_the_next_again() -> None:
    inquiries = Inquiries([request(PatientID=f"P{number}") for number in range(4)].__getitem__, STUDY_ROOT)
    for index in range(4):
        inquiries.begin(Group((index,)))
    taken = inquiries.take(3)
    assert inquiries.put_back(taken[1:], None) is None
    assert keys_of(inquiries.take(10)) == [{"PatientID": "P1"}, {"PatientID": "P2"}, {"PatientID": "P3"}]
    assert inquiries.open_groups == 4


def test_the_inquiry_that_an_association_broke_at_is_given_up_and_the_others_are_not() -> None:
    inquiries = Inquiries([request(PatientID=f"P{number}") for number in range(3)].__getitem__, STUDY_ROOT)
    for index in range(3):
        inquiries.begin(Group((index,)))
    taken = inquiries.take(3)
    assert inquiries.put_back(taken, taken[0]) == Group((0,))
    assert keys_of(inquiries.take(10)) == [{"PatientID": "P1"}, {"PatientID": "P2"}]
    assert inquiries.open_groups == 2


def test_a_shared_query_that_broke_the_association_is_not_asked_again() -> None:
    requests = [*PATIENT_ROWS, *[request(PatientID="P2", AccessionNumber=f"B{number}") for number in range(3)]]
    inquiries = Inquiries(requests.__getitem__, STUDY_ROOT)
    inquiries.begin(Group((0, 1, 2), "patient"))
    taken = inquiries.take(10)
    assert inquiries.put_back(taken, taken[0]) == Group((0, 1, 2), "patient")
    assert (inquiries.waiting, inquiries.open_requests) == (0, 0)
    inquiries.begin(Group((3, 4, 5), "patient"))
    assert keys_of(inquiries.take(10)) == [{"PatientID": "P2", "AccessionNumber": f"B{number}"} for number in range(3)]


# Found by looking for ways to be wrong


def test_copies_of_one_study_are_not_too_many() -> None:
    lookup = look_up(request(PatientID="P1"), study_match(), study_match(), study_match(), rules=TWO_AT_MOST)
    assert (lookup.too_many, uids(lookup)) == (False, ["1.2.3"])


def test_a_list_that_is_answered_with_nothing_is_not_asked_again_where_rows_alone_are_found() -> None:
    shortcuts = Shortcuts()
    rows = [request(StudyInstanceUID="1.1"), request(StudyInstanceUID="1.2")]
    alone = [answer(study_match("1.1")), answer(study_match("1.2"))]
    converse(rows, [answer()], alone, kind="uid-list", shortcuts=shortcuts)
    assert not shortcuts.uid_lists


def test_a_row_without_a_patient_looks_for_its_series_in_the_study_root_too() -> None:
    wanted = request(AccessionNumber="A1", SeriesDescription="lung")
    studies = [answer(study_match("1.1", AccessionNumber="A1"))]
    series = [answer(match(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", SeriesDescription="lung"))]
    asked, _ = converse([wanted], studies, series, rules=PATIENT_ROOT)
    assert [query.kind.patient_root for queries in asked for query in queries] == [False, False]


def test_a_modality_and_a_key_of_a_series_are_asked_of_series_alone() -> None:
    wanted = request(Modality="CT", BodyPartExamined="CHEST")
    series = match(
        StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", PatientID="P1", Modality="CT", BodyPartExamined="CHEST"
    )
    asked, [lookup] = converse([wanted], [answer(series)], [answer(study_match("1.1"))])
    assert dict(asked[0][0].keys) == {"Modality": "CT", "BodyPartExamined": "CHEST"}
    assert asked[0][0].kind == FindKind(QueryLevel.SERIES, relational=True)
    assert uids(lookup) == ["1.1"]
