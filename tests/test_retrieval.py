"""An extraction from a PACS with every trouble that PACS have: what is asked, what is moved, when it ends."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.studies import WrittenStudy, generate_studies, write_study
from tests.extraction import Extraction, Finished, all_instances, from_pacs, patient_data
from tests.mail_server import Mail, MailServer
from tests.pacs import faults
from tests.pacs.journal import Request
from tests.pacs.scripted import ScriptedPacs


def patients(extraction: Extraction, studies: tuple[WrittenStudy, ...]) -> None:
    extraction.write_list("EMPI", [[study.patient_id] for study in studies])


def test_trouble_with_associations_costs_the_study_under_way_an_attempt_and_nothing_else(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 7, instances=3, size=16)
    uids = [study.study_instance_uid for study in studies]
    troubles = [
        faults.drop("move", after=2).study(uids[1]).first(),
        faults.hang("move", after=1).study(uids[2]).first(),
        faults.go_away("move", seconds=1, after=1).study(uids[3]).first(),
        faults.answer_move(0xA801).study(uids[4]).first(),
        faults.answer_move(0xC000).study(uids[5]).first(),
        faults.abort("find").first(),
        faults.reject("congestion").nth(3),
    ]
    with from_pacs(tmp_path, *troubles) as (extraction, _):
        extraction.system["RetrieveTimeoutSeconds"] = 2
        patients(extraction, studies)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert [row["Outcome"] for row in extraction.outcomes()] == ["retrieved"] * 7
        assert [row["Attempts"] for row in extraction.outcomes()[1:]] == ["2"] * 5 + ["1"]
        assert set(extraction.instances()) == all_instances(studies)
        assert "trying again in 1 s" in finished.output


class Begun:
    """A C-MOVE that waits until so many have begun, but not for ever; ``count`` is how many there were then."""

    def __init__(self, pacs: ScriptedPacs, most: int) -> None:
        self._pacs = pacs
        self._most = most
        self.count = 0

    def wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            self._pacs.wait_until(lambda pacs: len(pacs.moved()) >= self._most, 8)
        self.count = len(self._pacs.moved())


def test_no_study_is_given_to_an_association_that_is_at_a_large_one_while_another_is_free(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 6, instances=1, size=16)
    large, second, *_ = (study.study_instance_uid for study in studies)
    with from_pacs(tmp_path) as (extraction, pacs):
        begun = Begun(pacs, 6)
        pacs.script(faults.call(begun.wait, "move").study(large), faults.pause("move", seconds=3).study(second))
        extraction.system["ParallelRetrievals"] = 2
        patients(extraction, studies)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert begun.count == 6


def test_another_association_is_begun_for_what_would_wait_for_a_large_study(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 30, instances=1, size=16)
    again = [study.study_instance_uid for study in studies[:2]]
    with from_pacs(tmp_path) as (extraction, pacs):
        begun = Begun(pacs, 32)  # two fail once, after which one of them is large; all others are small
        pacs.script(
            faults.answer_move(0xC000).study(*again).first(2), faults.call(begun.wait, "move").study(*again).nth(3)
        )
        extraction.system["ParallelRetrievals"] = 2
        patients(extraction, studies)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert begun.count == 32


def test_a_move_destination_that_the_pacs_does_not_know_ends_the_run_with_what_to_do(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 3, instances=2, size=16)
    with from_pacs(tmp_path, faults.slow("move", seconds=1.0), faults.answer_move(0xA801)) as (extraction, pacs):
        patients(extraction, studies)
        finished = extraction.run()
        assert finished.exit_code == 4, finished.output
        last = finished.output.splitlines()[-1]
        assert last.startswith("ERROR:root:[EXTRACTION STOPPED]")
        assert "does not know the move destination QBNIFFLER (status A801H)" in last
        assert f"port {extraction.port}" in last
        assert extraction.words() == ["pending"] * 3
        assert len(pacs.moved()) <= 2, "one more at most is begun"


def test_only_matches_that_are_as_asked_are_moved_whatever_the_pacs_answers(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 12, instances=2, size=16)
    second = write_study(
        tmp_path / "studies", patient_id="00000007", accession_number="G0000007", study_date="20201231"
    )
    ids = [study.patient_id for study in studies]
    wrong_patient = [ids[3], studies[4].accession_number]
    rows: list[tuple[list[str], str, str]] = [
        ([ids[0], "G0000001"], "retrieved", ""),
        ([ids[1], "G0000002"], "failed", "A700H"),
        ([ids[2], "NOWHERE"], "refused", "AccessionNumber was asked as 'NOWHERE' and answered as 'G0000003'"),
        (wrong_patient, "refused", f"PatientID was asked as '{ids[3]}' and answered as '{ids[4]}'"),
        ([ids[5], "G0000006"], "retrieved", "other matches were not moved"),
        ([ids[6], "G0000007"], "retrieved", ""),
        ([ids[7], "G0000008"], "retrieved", ""),
        ([ids[8], "G0000009"], "refused", "without PatientID"),
        ([ids[9], "G0000010"], "retrieved", ""),
        ([ids[10], "G0000011"], "retrieved", ""),
        ([ids[11], "G0000011"], "not-found", ""),
        ([ids[11], ""], "invalid", "line 13: column 1 (AccessionNumber) is empty"),
        ([ids[11], "G00*"], "invalid", "line 14"),
        ([ids[0], "G0000001"], "retrieved", ""),
    ]
    script = [
        faults.repeat_matches(3).key("PatientID", ids[0]),
        faults.answer_find(0xA700, after=1).key("PatientID", ids[1]),
        faults.ignore_key("AccessionNumber").key("PatientID", ids[2]),
        faults.ignore_key("PatientID").key("PatientID", ids[3]),
        faults.ignore_key().key("PatientID", ids[5]),
        faults.pad().key("PatientID", ids[7]),
        faults.omit("PatientID").key("PatientID", ids[8]),
        faults.answer_find(0xC000).key("PatientID", ids[9]).first(),
        faults.abort("find").key("PatientID", ids[10]).first(),
    ]
    with from_pacs(tmp_path, *script) as (extraction, pacs):
        extraction.system |= {"MaxAttempts": 2, "GiveUpMinutes": 5, "SmtpHost": "127.0.0.1", "SmtpPort": 1}
        extraction.config |= {"NumberOfQueryAttributes": 2, "SendEmail": True, "YourEmail": "somebody@example.org"}
        extraction.write_list("EMPI,Accession", [row for row, _, _ in rows])
        finished = extraction.run()
        told = [
            (row["Outcome"], detail if detail in row["Detail"] else row["Detail"])
            for row, (_, _, detail) in zip(extraction.outcomes(), rows, strict=True)
        ]
        assert told == [(outcome, detail) for _, outcome, detail in rows]
        right = [studies[number] for number in (0, 5, 6, 7, 9, 10)] + [second]
        assert sorted(pacs.moved()) == sorted(study.study_instance_uid for study in right), "each once, and no other"
        assert set(extraction.instances()) == all_instances(right)
        assert extraction.outcomes()[5]["Studies"] == "2"
        assert extraction.outcomes()[1]["Attempts"] == "2"
        assert not [value for value in patient_data([*studies, second]) if value in finished.output]
        assert finished.exit_code == 1, "an unreachable mail server changes nothing"
        assert "WARNING:root:the email was not sent: the mail server 127.0.0.1:1" in finished.output


@dataclass(frozen=True)
class GaveUp:
    """A run that has given up, and what it sent."""

    extraction: Extraction
    finished: Finished
    mails: list[Mail]
    studies: tuple[WrittenStudy, ...]
    moved: list[str]
    asked: list[Request]


@pytest.fixture(scope="module")
def gave_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GaveUp]:
    """One row with an image of another study, one that fails with a patient in the comment, and rows refused alike."""
    folder = tmp_path_factory.mktemp("gave-up")
    studies = generate_studies(folder / "studies", 20, instances=2, size=16)
    with MailServer() as mail_server, from_pacs(folder) as (extraction, pacs):
        pacs.script(
            faults.send_other(studies[2].study_instance_uid).study(studies[0].study_instance_uid),
            faults.answer_move(0xC000, f"nothing for {studies[1].patient_id}").study(studies[1].study_instance_uid),
            faults.call(lambda: extraction.wait_until_it_says("line 3: failed", seconds=15), "find").nth(3),
            faults.ignore_key("PatientID"),
        )
        extraction.system |= {"MaxAttempts": 1, "QueriesPerAssociation": 5, **mail_server.settings}
        extraction.config |= {"NumberOfQueryAttributes": 2, "SendEmail": True, "YourEmail": "somebody@example.org"}
        rows = [[study.patient_id, study.accession_number] for study in studies]
        extraction.write_list(
            "EMPI,Accession", rows[:2] + [[f"X{patient}", accession] for patient, accession in rows[2:]]
        )
        finished = extraction.run()
        yield GaveUp(extraction, finished, mail_server.mails, studies, pacs.moved(), pacs.requests("find"))


def test_ten_rows_that_end_alike_stop_the_run(gave_up: GaveUp) -> None:
    assert gave_up.finished.exit_code == 4, gave_up.finished.output
    assert "10 rows in a row ended in the same way" in gave_up.finished.output.splitlines()[-1]
    words = gave_up.extraction.words()
    assert words[:12] == ["retrieved", "failed", *["refused"] * 10]
    assert words[-5:] == ["pending"] * 5
    assert gave_up.moved == [study.study_instance_uid for study in gave_up.studies[:2]]


def test_the_line_that_ends_it_names_the_reason_and_the_setting_to_check(gave_up: GaveUp) -> None:
    last = gave_up.finished.output.splitlines()[-1]
    assert "(refused for PatientID); the rest is pending" in last
    assert "check FirstAttr and FirstIndex in config.json" in last


def test_images_of_another_study_count_for_no_row(gave_up: GaveUp) -> None:
    assert gave_up.extraction.outcomes()[0]["Received"] == "2"
    assert "1 instances that were not asked for" in gave_up.finished.output


def test_a_run_that_gives_up_sends_an_email(gave_up: GaveUp) -> None:
    [mail] = gave_up.mails
    assert "[EXTRACTION STOPPED]" in mail.message["Subject"]
    refused = gave_up.extraction.words().count("refused")
    assert f"20 rows: retrieved 1, failed 1, refused {refused}, pending {18 - refused}" in mail.text
    assert "10 rows in a row ended in the same way" in mail.text
    for body in (mail.text, mail.html):
        assert "C-MOVE: status C000H, unable to process" in body
        assert "failed: line 3" in body or "unable to process (line 3)" in body
        assert "the PACS answered with another PatientID" in body


def test_an_association_carries_no_more_queries_than_the_settings_allow(gave_up: GaveUp) -> None:
    assert max(request.position for request in gave_up.asked) <= 5


@pytest.mark.parametrize("where", ["log", "email"])
def test_no_patient_is_named_when_a_run_gives_up(gave_up: GaveUp, where: str) -> None:
    text = gave_up.finished.output if where == "log" else gave_up.mails[0].text + gave_up.mails[0].html
    values = patient_data(gave_up.studies)
    assert [line for line in text.splitlines() if any(value in line for value in values)] == []
