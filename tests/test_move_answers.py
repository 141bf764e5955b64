"""What counts as retrieved: one list, and a C-MOVE that ends differently for every row."""

from dataclasses import dataclass
from pathlib import Path

from demo.studies import generate_studies
from tests.extraction import all_instances, from_pacs, patient_data, read_csv
from tests.pacs import faults
from tests.pacs.fault import Fault

LYING_COMMENT = "completed=99, status=0H"


@dataclass(frozen=True)
class Case:
    """What the PACS does when a study of three images is moved, and what is to come of its row."""

    name: str
    fault: Fault | None
    outcome: str
    received: int
    detail: str = ""


def _answered(status: int, outcome: str = "failed", received: int = 0, *, with_counts: bool = False) -> Case:
    fault = faults.answer_move(status, LYING_COMMENT, after=received, with_counts=with_counts)
    return Case(f"{status:04X}H after {received} images", fault, outcome, received, f"{status:04X}H")


GOOD = Case("in good order", None, "retrieved", 3)
CASES = (
    GOOD,
    *map(_answered, (0xA700, 0xA701, 0xA702, 0x0213)),
    GOOD,
    *map(_answered, (0xA801, 0xA900, 0xB000, 0xC000, 0xC512)),
    GOOD,
    *map(_answered, (0x0110, 0x0122, 0x0124, 0x0211, 0xFE00)),
    GOOD,
    _answered(0xB000, "partial", 2, with_counts=True),
    _answered(0xA702, "partial", 1, with_counts=True),
    _answered(0xC000, "partial", 2, with_counts=True),
    Case("one fewer, counted as sent", faults.withhold(1), "partial", 2, "2 are on disk"),
    Case("nothing sent, counted as sent", faults.withhold(3), "failed", 0, "0 are on disk"),
    Case("success with nothing sent", faults.send_nothing(), "failed", 0, "no image was sent"),
    Case("one failed", faults.fail_instances(1), "partial", 2, "1 of 3 failed"),
    Case("one twice for another", faults.repeat_one_for_another(), "partial", 2, "2 are on disk"),
    Case("more announced than there is", faults.announce(99), "partial", 3, "announced 99"),
    GOOD,
    Case("everything twice", faults.send_twice(is_counted=True), "retrieved", 3),
    Case("no counts", faults.no_counts(), "retrieved", 3),
    Case("no pending responses", faults.no_pending_responses(), "retrieved", 3),
    Case("fewer announced than there is", faults.announce(1), "retrieved", 3, "announced 1"),
    Case("none announced", faults.announce(0), "retrieved", 3),
    Case("nothing announced", faults.omit("NumberOfStudyRelatedInstances"), "retrieved", 3),
    Case("success with a comment", faults.comment_move(LYING_COMMENT), "retrieved", 3),
)


def test_what_the_pacs_does_not_complete_is_not_retrieved_until_the_unfinished_rows_are_given_again(
    tmp_path: Path,
) -> None:
    studies = generate_studies(tmp_path / "studies", len(CASES), instances=3, size=16)
    rows = list(zip(CASES, studies, strict=True))
    script = [case.fault.study(study.study_instance_uid) for case, study in rows if case.fault is not None]
    with from_pacs(tmp_path, *script) as (extraction, pacs):
        extraction.system |= {"MaxAttempts": 1, "GiveUpMinutes": 5}
        extraction.config["FirstIndex"] = 1
        extraction.write_list("Remark,EMPI", [[case.name, study.patient_id] for case, study in rows])
        finished = extraction.run()
        assert finished.exit_code == 1, finished.output
        for row, case in zip(extraction.outcomes(), CASES, strict=True):
            assert (row["Outcome"], int(row["Received"])) == (case.outcome, case.received), row
            assert case.detail in row["Detail"]
        bad = {study.study_instance_uid for case, study in rows if case.outcome != "retrieved"}
        assert sorted(pacs.moved()) == sorted(study.study_instance_uid for study in studies)
        assert not [entry for entry in extraction.checkpoint() if any(uid in entry for uid in bad)]
        assert not [value for value in patient_data(studies) if value in finished.output]

        pacs.script()
        unfinished = extraction.state(".unfinished.csv")
        finished = extraction.run("--CsvFile", str(unfinished))
        assert finished.exit_code == 0, finished.output
        assert set(pacs.moved()[len(studies) :]) == bad
        outcomes = unfinished.with_name(f"{unfinished.stem}_mod.csv.outcomes.csv")
        again = read_csv(outcomes)
        header, _, _ = outcomes.read_text().partition("\n")
        assert header == "Remark,EMPI,Outcome,Studies,Expected,Received,Attempts,Detail"
        assert [(row["Outcome"], row["Detail"]) for row in again] == [("retrieved", "")] * len(bad)
        assert set(extraction.instances()) == all_instances(studies)


def test_a_pacs_that_aborts_every_association_after_two_requests_is_worn_down_by_two_at_once(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 8, instances=2, size=16, studies_per_patient=8)
    with from_pacs(tmp_path, faults.abort_after_requests(2)) as (extraction, pacs):
        extraction.system |= {"ParallelRetrievals": 2, "MaxAttempts": 5}
        extraction.write_list("EMPI", [[studies[0].patient_id]])
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        [row] = extraction.outcomes()
        assert (row["Outcome"], row["Studies"], row["Received"]) == ("retrieved", "8", "16")
        assert set(extraction.instances()) == all_instances(studies)
        associations = {request.association for request in pacs.requests("move")}
        assert max(request.position for request in pacs.requests("move")) == 3
        assert len(associations) >= 4


def test_the_associations_that_a_pacs_accepts_are_used_on_while_it_rejects_others(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 30, instances=1, size=16)
    with from_pacs(tmp_path) as (extraction, pacs):
        many = faults.reject("too many associations").when(lambda _: pacs.open_associations > 2)
        pacs.script(many, faults.slow("move", seconds=0.1))
        extraction.system |= {"ParallelRetrievals": 4, "GiveUpMinutes": 5}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert "A-ASSOCIATE-RJ" in finished.output
        assert sorted(pacs.moved()) == sorted(study.study_instance_uid for study in studies)
        assert len({request.association for request in pacs.requests("move")}) <= 5
