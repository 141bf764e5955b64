"""The report page: its numbers are those of the files, it names no patient, and any browser shows it by itself."""

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from demo.studies import generate_studies
from niffler.errors import WrongInputError
from niffler.figures import Source, Studies, read_figures
from niffler.ledger import Record, header_line, record_lines
from niffler.night import Window
from niffler.pace import growth_of, pace_of
from niffler.page import in_percent
from niffler.reasons import Reason
from niffler.vocabulary import Outcome
from niffler.worklist import OUTCOME_COLUMNS
from tests.browser import load, look_at, needs_chromium
from tests.extraction import ROOT, Extraction, from_pacs, patient_data
from tests.pacs import faults

WIDTHS = (360, 1280)
EVENING = datetime(2026, 3, 1, 19, 0)
DETAILS = {
    "not-found": "",
    "partial": "C-MOVE: status B000H, some images failed, 1 of 9 failed (the PACS says: SECRET Doe)",
    "failed": "C-MOVE: A-ABORT[source: 0]",
    "refused": "2 matches, none as asked: PatientID was asked as 'SECRET' and answered as 'SECRET2'",
    "invalid": "line 9: PatientID 'SECRET*' holds a DICOM wildcard or list separator (* ? \\); set AllowWildcards",
    "pending": "not come to yet",
}
HOSTILE = "</td><script>document.title='run'</script>'\"&{{ 7*7 }}"


def written(folder: Path, rows: int = 120) -> Extraction:
    """The files of an extraction over two nights that nobody ran: every seventh row has no good answer."""
    extraction = Extraction(folder, system={"NightlyOnly": True, "DCM4CHEBin": "/nowhere"})
    extraction.config = {"StorageFolder": "/proc/nowhere", "NumberOfQueryAttributes": 2}
    words = [list(DETAILS)[row // 7 % len(DETAILS)] if row % 7 == 3 else "retrieved" for row in range(rows)]
    keys = [[f"SECRET{row}", HOSTILE if row == 3 else f"SECRETA{row}"] for row in range(rows)]
    extraction.write_list("PatientID,AccessionNumber", keys)
    records = []
    with extraction.state(".outcomes.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["PatientID", "AccessionNumber", *OUTCOME_COLUMNS])
        for row, (key, word) in enumerate(zip(keys, words, strict=True)):
            writer.writerow([*key, word, 1, 4, 4, 1, DETAILS.get(word, "")])
            finished = EVENING + timedelta(minutes=row * 4 + (12 * 60 if row > rows / 2 else 0))
            study = Record(f"PatientID={row}", 1, key[0], f"1.2.{row}", key[1], 4, 4, 1, 2.0 * row + 1, 5_000_000,
                           finished.isoformat())  # fmt: skip
            if word == "retrieved":
                records += [study, Record(study.request, 1, "", "", "", 4, 4, 1, 0.0, 0, study.finished)]
    extraction.state(".studies.csv").write_text(header_line() + record_lines(records))
    return extraction


@pytest.fixture(scope="module")
def extraction(tmp_path_factory: pytest.TempPathFactory) -> Extraction:
    return written(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(extraction: Extraction) -> Path:
    finished = extraction.run("--Report", "true")
    path = extraction.state(".report.html")
    assert (finished.exit_code, finished.output) == (0, f"{path}\n")
    return path


def rows_told(page: str) -> dict[str, int]:
    return {word: int(rows) for word, rows in re.findall(r'<li data-outcome="([\w-]+)" data-rows="(\d+)"', page)}


def problems_told(page: str) -> dict[str, int]:
    return {word: int(rows) for word, rows in re.findall(r'<article .*data-outcome="([\w-]+)" data-rows="(\d+)"', page)}


# From files alone


def test_it_is_made_of_the_files_alone_and_leaves_nothing_but_the_page(extraction: Extraction, page: Path) -> None:
    assert page.exists()
    left = {path.name for path in extraction.folder.iterdir()} - {"browser", "frames.html"}
    assert left == {
        "config.json", "system.json", "output.txt", "list.csv", "list_mod.csv.outcomes.csv", "list_mod.csv.studies.csv",
        "list_mod.csv.report.html",
    }  # fmt: skip


def test_its_numbers_are_those_of_the_outcomes_file_and_the_ledger(extraction: Extraction, page: Path) -> None:
    text = page.read_text()
    counted = Counter(extraction.words())
    assert rows_told(text) == counted
    assert problems_told(text) == {word: counted[word] for word in counted if word not in ("retrieved", "pending")}
    assert f"<dt>Studies</dt><dd>{counted['retrieved']}</dd>" in text
    assert f"<dt>Images</dt><dd>{4 * counted['retrieved']}</dd>" in text
    assert f"<dt>Data</dt><dd>{counted['retrieved'] * 5} MB</dd>" in text.replace(".0 MB", " MB")


def test_problems_are_told_by_lines_of_the_list_with_what_to_do(page: Path) -> None:
    text = page.read_text()
    assert "not-found: lines 5, 47, 89" in text
    assert "C-MOVE: status B000H, some images failed" in text
    assert "correct the cells, or set AllowWildcards if it is meant" in text


def test_it_names_no_patient(page: Path) -> None:
    assert not re.search(r"SECRET|Doe|<script|document\.title", page.read_text())


def test_identifiers_and_details_are_there_if_they_are_asked_for_and_are_only_text(tmp_path: Path) -> None:
    extraction = written(tmp_path / "named")
    assert extraction.run("--Report", "true", "--ReportIdentifiers", "true").exit_code == 0
    text = extraction.state(".report.html").read_text()
    assert "SECRET3, &lt;/td&gt;&lt;script&gt;" in text
    assert "&#39;&#34;&amp;{{ 7*7 }}" in text
    assert "<script" not in text
    assert "the PACS says: SECRET Doe" in text
    assert "SECRET0" not in text, "rows with their answer are nobody's business"


def test_rows_are_counted_where_the_list_is_gone(tmp_path: Path) -> None:
    extraction = written(tmp_path)
    extraction.list_file.unlink()
    finished = extraction.run("--Report", "true")
    assert finished.exit_code == 0, finished.output
    assert "not-found: rows 4, 46, 88" in extraction.state(".report.html").read_text()


def test_without_an_outcomes_file_it_says_so_in_a_line(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path)
    extraction.write_list("EMPI", [["1"]])
    finished = extraction.run("--Report", "true")
    assert finished.exit_code == 2
    [line] = finished.output.splitlines()
    assert line.endswith("list_mod.csv.outcomes.csv: there is no such file; an extraction of the list writes it")


# In a browser


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_a_screen_by_day_and_by_night_and_fetches_nothing(
    extraction: Extraction, page: Path, dark: bool
) -> None:
    seen, complaints = look_at(page, WIDTHS, dark=dark)
    assert complaints == []
    assert [one.width for one in seen] == list(WIDTHS)
    assert [one.scroll_width for one in seen] == list(WIDTHS), "nothing reaches beyond the edge"
    assert [(one.wide, one.narrow) for one in seen] == [(False, True), (True, False)]
    for one in seen:
        assert one.loaded == []
        assert (brightness(one.background) < 60, brightness(one.ink) > 200) == (dark, dark)
        assert ("rgb(47, 111, 159)" in one.drawn, "rgb(108, 170, 216)" in one.drawn) == (not dark, dark)
        for word, rows in Counter(extraction.words()).items():
            assert re.search(rf"^{word}\b.*\n?.*\n*{rows}$", one.text, re.MULTILINE), (word, rows, one.text)


@needs_chromium
def test_values_of_patients_do_nothing_in_a_browser(tmp_path: Path) -> None:
    extraction = written(tmp_path)
    extraction.run("--Report", "true", "--ReportIdentifiers", "true")
    document, complaints = load(extraction.state(".report.html"))
    assert complaints == []
    assert "<title>list.csv: As the outcomes file has it</title>" in document


def brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour))) / 3


# At the end of a run


def test_a_run_writes_it_and_names_no_patient(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 10, instances=2, size=16)
    with from_pacs(tmp_path) as (extraction, pacs):
        pacs.script(faults.answer_move(0xC000, f"no {studies[0].patient_id}").study(studies[0].study_instance_uid))
        extraction.system = {"MaxAttempts": 1, "StartHour": 1, "EndHour": 1}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies] + [["NOBODY"], ["*"]])
        finished = extraction.run()
        text = extraction.state(".report.html").read_text()
        assert (
            rows_told(text)
            == Counter(extraction.words())
            == {"retrieved": 9, "failed": 1, "not-found": 1, "invalid": 1}
        )
        assert str(extraction.state(".report.html")) in finished.output
        assert "<b>Complete</b>" in text
        assert "failed: line 2</p>" in text
        assert "<th>DCM4CHE</th>" in text
        assert [value for value in patient_data(studies) if value in text] == []
        assert text.count("<svg") == 4, "over time and by the time of a study, each in two widths"


def test_that_it_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 1, instances=1, size=16)
    with from_pacs(tmp_path) as (extraction, _):
        extraction.write_list("EMPI", [[studies[0].patient_id]])
        extraction.state(".report.html").mkdir()
        finished = extraction.run()
        assert finished.exit_code == 0
        assert re.search(r"^WARNING:root:the report was not written: .*report\.html", finished.output, re.MULTILINE)


def test_an_extraction_starts_without_what_only_the_page_needs() -> None:
    code = "import ColdDataRetriever, sys; print({'matplotlib', 'jinja2'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == "set()\n"


# The numbers


def source(folder: Path, rows: list[str], ledger: str = "", lines: list[int] | None = None, name: str = "a") -> Source:
    outcomes, studies = folder / f"{name}.outcomes.csv", folder / f"{name}.studies.csv"
    outcomes.write_text("\n".join([",".join(["EMPI", *OUTCOME_COLUMNS]), *rows]) + "\n")
    studies.write_text(header_line() + ledger)
    return Source(name, outcomes, studies, lines or [])


def study(uid: str, finished: datetime, *, seconds: float = 1.0, size: int = 10, request: str = "r") -> str:
    return record_lines([Record(request, 1, "P", uid, "", 2, 2, 1, seconds, size, finished.isoformat(), "a\nb")])


def test_a_study_that_several_rows_share_counts_once_and_as_it_was_entered_last(tmp_path: Path) -> None:
    ledger = study("1.2", EVENING) + study("1.2", EVENING, request="s", size=20) + study("1.3", EVENING)
    figures = read_figures([source(tmp_path, ["1,retrieved,1,2,2,1,", "2,retrieved,1,2,2,1,"], ledger)])
    assert (figures.rows, len(figures.studies), figures.instances, figures.size) == (2, 2, 4, 30)


def test_a_ledger_whose_last_line_is_being_written_is_read_up_to_it(tmp_path: Path) -> None:
    ledger = study("1.2", EVENING) + 'r,1,"P",1.'
    assert len(read_figures([source(tmp_path, ["1,retrieved,1,2,2,1,"], ledger)]).studies) == 1


def test_the_parts_of_a_list_are_one_report_and_each_row_has_the_name_of_its_part(tmp_path: Path) -> None:
    parts = [
        source(tmp_path, ["1,not-found,0,0,0,1,"], study("1.2", EVENING), [7], "a.csv"),
        source(tmp_path, ["1,not-found,0,0,0,1,", "2,retrieved,1,1,1,1,"], study("1.3", EVENING), [2, 3], "b.csv"),
    ]
    figures = read_figures(parts)
    assert figures.counts == {Outcome.RETRIEVED: 1, Outcome.NOT_FOUND: 2}
    assert len(figures.studies) == 2
    [problem] = figures.problems
    assert [example.place for example in problem.examples] == ["a.csv, line 7", "b.csv, line 2"]


def test_few_rows_of_a_problem_are_named_and_all_are_counted(tmp_path: Path) -> None:
    [problem] = read_figures([source(tmp_path, ["1,not-found,0,0,0,1,"] * 30)]).problems
    assert (problem.rows, len(problem.examples)) == (30, 8)
    assert isinstance(problem.reason, Reason)


@pytest.mark.parametrize(
    "text", ["EMPI\n1\n", "", "EMPI,Outcome,Studies,Expected,Received,Attempts,Detail\n1,Doe,,,,,\n"]
)
def test_what_is_no_outcomes_file_is_an_error_that_quotes_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text(text)
    with pytest.raises(WrongInputError) as fault:
        read_figures([Source("a", path, None)])
    assert str(path) in str(fault.value)
    assert "Doe" not in str(fault.value)


def studies_at(*minutes: float, seconds: float = 60.0) -> Studies:
    moments = [EVENING + timedelta(minutes=minute) for minute in minutes]
    finished = np.array(moments, dtype="datetime64[s]")
    ones = np.ones(len(minutes), dtype=np.int64)
    return Studies(finished, np.full(len(minutes), seconds), ones, ones * 1_000_000_000)


def test_a_long_break_is_no_work_and_a_short_one_is() -> None:
    pace = pace_of(studies_at(1, 2, 8, 60, 61))
    assert pace is not None
    assert pace.worked_seconds == (8 + 2) * 60
    assert [(hour.hour, hour.worked_seconds, hour.studies) for hour in pace.hours if hour.studies] == [
        (19, 9 * 60, 3), (20, 60, 2),
    ]  # fmt: skip


def test_growth_begins_with_nothing_and_ends_with_everything_however_many_there_are() -> None:
    growth = growth_of(studies_at(*range(1, 5001)))
    assert len(growth.moments) < 600
    assert (growth.studies[0], growth.sizes[0], growth.moments[0]) == (0, 0, np.datetime64(EVENING))
    assert (growth.studies[-1], growth.sizes[-1]) == (5000, 5000 * 1_000_000_000)
    assert (np.diff(growth.moments.astype(np.int64)) >= 0).all()


def test_nights_are_told_from_opening_to_closing_within_what_is_shown() -> None:
    def at(day: int, hour: int) -> datetime:
        return datetime(2026, 3, day, hour)

    window = Window(19, 7)
    assert window.between(at(1, 20), at(3, 3)) == [(at(1, 20), at(2, 7)), (at(2, 19), at(3, 3))]
    assert window.between(at(1, 8), at(1, 18)) == []
    assert Window(5, 5).between(at(1, 8), at(3, 3)) == [(at(1, 8), at(3, 3))]


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 0, "100 %"),
        (0, 9, "0 %"),
        (9, 9, "100 %"),
        (99_999, 100_000, "99.9 %"),
        (1, 100_000, "0.1 %"),
        (1, 3, "33.3 %"),
    ],
)
def test_all_and_none_are_said_only_where_they_are_meant(part: int, whole: int, said: str) -> None:
    assert in_percent(part, whole) == said


def test_settings_that_were_given_are_told_apart_from_defaults(extraction: Extraction, page: Path) -> None:
    given, defaults = page.read_text().split("those left at their default")
    for key in (*json.loads((extraction.folder / "system.json").read_text()), "CsvFile"):
        assert key in given or key in ("NightlyOnly",)
    assert "ParallelRetrievals" in defaults
    assert "ParallelRetrievals" not in given
