"""The script as its user sees it: what it says, what it writes, whom it tells, and its exit codes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.studies import WrittenStudy, generate_studies, write_study
from tests.extraction import Extraction, Finished, all_instances, from_pacs, patient_data, tools_running
from tests.mail_server import Mail, MailServer
from tests.pacs import faults

EARLIER = "INFO:root:the end of an earlier run\n"
LINE = re.compile(r"(INFO|WARNING|ERROR):root:\S.*")
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}"


@dataclass(frozen=True)
class Completed:
    """A run to the end: six patients with a study each, one with three, one that is unknown, and one named again."""

    extraction: Extraction
    finished: Finished
    studies: tuple[WrittenStudy, ...]
    mails: list[Mail]
    moved: list[str]


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Completed]:
    folder = tmp_path_factory.mktemp("completed")
    single = generate_studies(folder / "studies", 6, instances=3, size=16)
    three = tuple(
        write_study(folder / "studies", patient_id="00A7", accession_number=f"T000{number}", instances_per_series=2)
        for number in range(3)
    )
    with MailServer() as mail_server, from_pacs(folder) as (extraction, pacs):
        extraction.system = dict(mail_server.settings)
        extraction.config = {"SendEmail": True, "YourEmail": "somebody@example.org", "FirstIndex": 1}
        rows = [["remark, first", study.patient_id] for study in single]
        extraction.write_list("Remark,EMPI", [*rows, ["", "00A7"], ["", "NOBODY"], ["again", single[0].patient_id]])
        (extraction.folder / "niffler1.log").write_text(EARLIER)
        finished = extraction.run()
        yield Completed(extraction, finished, single + three, mail_server.mails, pacs.moved())


def test_every_row_has_its_answer_and_every_image_is_there(completed: Completed) -> None:
    extraction = completed.extraction
    assert completed.finished.exit_code == 0, completed.finished.output
    rows = extraction.outcomes()
    assert [row["Outcome"] for row in rows] == ["retrieved"] * 7 + ["not-found", "retrieved"]
    assert (rows[6]["Studies"], rows[6]["Expected"], rows[6]["Received"]) == ("3", "6", "6")
    assert rows[0]["Remark"] == "remark, first"
    assert set(extraction.instances()) == all_instances(completed.studies)
    assert sorted(completed.moved) == sorted(study.study_instance_uid for study in completed.studies)


def test_the_pickle_lists_patients_and_their_studies_as_niffler_does(completed: Completed) -> None:
    entries = completed.extraction.checkpoint()
    assert set(entries) == {study.patient_id for study in completed.studies} | {
        f"{study.patient_id},{study.study_instance_uid}" for study in completed.studies
    }
    assert len(entries) == len(set(entries))
    assert not completed.extraction.state(".pickle.journal").exists()


def test_the_log_is_appended_to_and_standard_output_says_the_same(completed: Completed) -> None:
    assert completed.extraction.log == EARLIER + completed.finished.output
    assert [line for line in completed.finished.output.splitlines() if not LINE.fullmatch(line)] == []


def test_the_log_has_a_line_for_every_row_then_a_summary_then_the_end(completed: Completed) -> None:
    lines = completed.finished.output.splitlines()
    told = {match[1]: line for line in lines if (match := re.match(r"INFO:root:line (\d+): ", line))}
    assert list(map(int, sorted(told, key=int))) == list(range(2, 11))
    assert "INFO:root:line 8: retrieved, 3 studies, 6 of 6 images" in lines
    assert "INFO:root:line 9: not-found" in lines
    summary = lines.index("INFO:root:9 rows: retrieved 8, not-found 1")
    assert lines[summary + 1].startswith("INFO:root:24 images, ")
    ended = (
        rf"INFO:root:\[EXTRACTION COMPLETE\] {MOMENT}: Niffler Extraction to {completed.extraction.storage} Completes"
    )
    assert re.fullmatch(rf"{ended}\. Terminating the completed storescp process\.", lines[-1])


def test_the_email_tells_counts_and_where_the_files_are_and_how_long_it_took(completed: Completed) -> None:
    [mail] = completed.mails
    assert mail.recipients == ("somebody@example.org",)
    assert "[EXTRACTION COMPLETE]" in mail.message["Subject"]
    assert "9 rows: retrieved 8, not-found 1" in mail.text
    assert str(completed.extraction.storage) in mail.text
    assert str(completed.extraction.state(".outcomes.csv")) in mail.text
    assert re.search(r"it took \d+ (s|min)", mail.text)


def test_neither_the_log_nor_the_email_names_a_patient(completed: Completed) -> None:
    values = patient_data(completed.studies)
    assert not [
        value
        for value in values
        if value in completed.extraction.log + completed.mails[0].text + completed.mails[0].html
    ]


def test_all_faults_of_the_settings_are_told_at_once_in_a_line_each_and_nothing_is_started(tmp_path: Path) -> None:
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.write_list("EMPI", [["1"]])
        extraction.source = "no address"
        extraction.system = {"StartHuor": 19, "EndHour": 24}
        extraction.config = {"FirstAttr": "Accession", "FilePath": "{00100020}.dcm"}
        finished = extraction.run("--NumberOfQueryAttributes", "4", "--CsvFiel", "x.csv")
        assert finished.exit_code == 2
        told = finished.output.splitlines()
        for file, key, remedy in (
            ("command line", "CsvFiel", "CsvFile"),
            ("command line", "NumberOfQueryAttributes", "3"),
            ("config.json", "FirstAttr", "AccessionNumber"),
            ("config.json", "FilePath", "{00080018}"),
            ("system.json", "SrcAet", "no address"),
            ("system.json", "EndHour", "23"),
            ("system.json", "StartHuor", "StartHour"),
        ):
            [line] = [line for line in told if line.startswith(f"{file}: ") and key in line]
            assert remedy in line
        assert len(told) == 7
        assert sorted(path.name for path in extraction.folder.iterdir() if path.suffix != ".json") == [
            "list.csv", "output.txt",
        ]  # fmt: skip
        assert pacs.requests() == []


@pytest.mark.parametrize(
    ("system", "content", "exit_code", "said"),
    [
        ({}, "EMPI;Accession\n1;2\n", 2, "list.csv: the columns are separated by semicolons"),
        ({}, "PK\x03\x04", 2, "list.csv: is a spreadsheet"),
        ({"DCM4CHEBin": "/nowhere/bin"}, "EMPI\n1\n", 3, "/nowhere/bin/storescp does not exist; set DCM4CHEBin"),
        ({"MinFreeDiskGB": 1e9}, "EMPI\n1\n", 4, "the disk is full"),
    ],
    ids=["semicolons", "spreadsheet", "no DCM4CHE", "no room"],
)
def test_what_stands_in_the_way_is_said_in_one_line(
    tmp_path: Path, system: dict[str, object], content: str, exit_code: int, said: str
) -> None:
    extraction = Extraction(tmp_path / "work", system=system)
    extraction.list_file.write_text(content)
    finished = extraction.run()
    assert finished.exit_code == exit_code, finished.output
    errors = [line for line in finished.output.splitlines() if not line.startswith("INFO:root:")]
    assert len(errors) == 1, finished.output
    assert errors[0].startswith("ERROR:root:")
    assert said in errors[0]
    assert tools_running(extraction.port) == []


def test_a_pacs_that_never_answers_is_given_up_and_its_rows_are_pending(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path / "work", system={"GiveUpMinutes": 0.05})
    extraction.config = {"SendEmail": True, "YourEmail": "test@test.test"}
    extraction.write_list("EMPI", [["1"], ["2"]])
    finished = extraction.run()
    assert finished.exit_code == 4, finished.output
    assert extraction.words() == ["pending", "pending"]
    assert re.match(rf"ERROR:root:\[EXTRACTION STOPPED\] {MOMENT}: {extraction.source} has not answered for",
                    finished.output.splitlines()[-1])  # fmt: skip
    assert "TestConnection.py" in finished.output
    assert "WARNING:root:YourEmail is still the placeholder: no email is sent" in finished.output
    assert tools_running(extraction.port) == []


def test_a_pacs_that_goes_away_is_given_up_with_what_it_gave_and_the_rest_comes_later(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 4, instances=2, size=16)
    with from_pacs(tmp_path, faults.go_away("move", seconds=3600).nth(3)) as (extraction, pacs):
        extraction.system = {"GiveUpMinutes": 0.03}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        finished = extraction.run()
        assert finished.exit_code == 4, finished.output
        assert extraction.words() == ["retrieved", "retrieved", "pending", "pending"]
        assert len(extraction.checkpoint()) == 2
        assert len(pacs.moved()) == 3
