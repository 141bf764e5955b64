"""CFIND-ONLY and CFIND-DETAILED: the metadata of the studies, without their images."""

import subprocess
from pathlib import Path

from demo.studies import generate_studies
from tests.extraction import ROOT, from_pacs, patient_data, read_csv, tools_running, wait_until
from tests.pacs import faults

BRIEF = ["PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDescription"]
DETAILED = [
    *BRIEF, "StudyDate", "StudyTime", "ModalitiesInStudy", "ProtocolName", "DeviceSerialNumber",
    "PerformedProcedureStepDescription", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
    "AcquisitionDate",
]  # fmt: skip
DESCRIPTIONS = (
    'He said "no", twice', "two\nlines", "Γόνατο δεξιά, 膝関節", "'; drop table", "=1+1", ",", '"', "plain",
)  # fmt: skip


def test_a_killed_run_keeps_what_it_had_and_asks_only_for_the_rest(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 8, instances=1, size=16)
    with from_pacs(tmp_path) as (extraction, pacs):
        extraction.system["QueriesPerAssociation"] = 4
        extraction.config["FilePath"] = "CFIND-ONLY"
        extraction.write_list("EMPI", [[study.patient_id] for study in studies] + [["NOBODY"]])
        running: list[subprocess.Popen[str]] = []
        receivers: list[object] = []

        def kill() -> None:
            extraction.wait_until_it_says(": found", times=4, seconds=15)
            receivers.extend(tools_running(extraction.port, "storescp"))
            running[0].kill()
            wait_until(lambda: tools_running(extraction.port) == [], seconds=5)

        descriptions = [
            faults.answer_with("StudyDescription", text).study(study.study_instance_uid)
            for text, study in zip(DESCRIPTIONS, studies, strict=True)
        ]
        twice = faults.repeat_matches().study(studies[0].study_instance_uid)
        pacs.script(*descriptions, twice, faults.call(kill, "find").nth(5))
        running.append(extraction.start())
        running[0].wait()
        asked_before = len(pacs.requests("find"))
        assert asked_before == 5
        output = extraction.storage / "cfind-output.csv"
        with output.open("a") as stream:
            stream.write('written, but not recorded,"')

        pacs.script(*descriptions)
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        asked = [request.keys["PatientID"] for request in pacs.requests("find")[asked_before:]]
        assert asked == [(study.patient_id,) for study in studies[4:]] + [("NOBODY",)]
        assert extraction.words() == ["found"] * 8 + ["not-found"]
        assert [list(row.values()) for row in read_csv(output)] == [
            [study.patient_id, study.study_instance_uid, study.accession_number, text]
            for study, text in zip(studies, DESCRIPTIONS, strict=True)
        ]
        assert list(read_csv(output)[0]) == BRIEF
        assert not [value for value in patient_data(studies) if value in extraction.log]

        assert pacs.moved() == []
        assert receivers == []
        assert not (extraction.folder / "storescp.out").exists()
        assert not extraction.state(".pickle").exists(), "having asked is not having retrieved"

        finished = extraction.run("--FilePath", "CFIND-DETAILED")
        assert finished.exit_code == 2, finished.output
        assert finished.output.splitlines()[-1].startswith(f"ERROR:root:{output}: has other columns")
        assert "move it and cfind-output.csv.pickle away" in finished.output
        assert len(read_csv(output)) == 8


def test_cfind_detailed_has_the_columns_of_the_stylesheet_and_one_added_there_is_enough(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 2, instances=3, size=16)
    with from_pacs(tmp_path, faults.answer_with("ModalitiesInStudy", "CT\\MR")) as (extraction, pacs):
        extraction.config["FilePath"] = "CFIND-DETAILED"
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        stylesheet = (ROOT / "description.csv.xsl").read_text(encoding="utf-8")
        last = stylesheet.index('<xsl:text>"&#10;</xsl:text>')
        added = '<xsl:text>","</xsl:text><xsl:apply-templates select="DicomAttribute[@tag=\'00100010\']"/>'
        (extraction.folder / "description.csv.xsl").write_text(
            stylesheet[:last] + added + stylesheet[last:], encoding="utf-8"
        )
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        rows = read_csv(extraction.storage / "cfind-output.csv")
        assert list(rows[0]) == [*DETAILED, "PatientName"]
        second = studies[1]
        assert list(rows[1].values()) == [
            second.patient_id, second.study_instance_uid, second.accession_number, "Chest CT", second.study_date,
            "101500", "CT\\MR", "", "", "", "1", "3", "", "Müller^Jürgen",
        ]  # fmt: skip
        assert all("PatientName" in request.keys for request in pacs.requests("find"))


def test_rows_that_stop_at_the_same_round_number_are_warned_of_in_log_and_summary(tmp_path: Path) -> None:
    generate_studies(tmp_path / "studies", 3 * 51, instances=1, size=8, studies_per_patient=51)
    with from_pacs(tmp_path, faults.cut_off(50, status=0)) as (extraction, _):
        extraction.config["FilePath"] = "CFIND-ONLY"
        extraction.write_list("EMPI", [["00000001"], ["00000002"]])
        assert "cut its answers off" not in extraction.run().output
        extraction.write_list("EMPI", [["00000001"], ["00000002"], ["00000003"]])
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert [row["Studies"] for row in extraction.outcomes()] == ["50"] * 3
        warned = "3 rows have exactly 50 studies each: does the PACS cut its answers off there?"
        told = [line for line in finished.output.splitlines() if warned in line]
        assert [line.partition(":")[0] for line in told] == ["WARNING", "INFO"]
