"""The settings: what the two JSON files and the command line may say, and every fault told at once."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from niffler.addresses import Peer, ReceivingAe, ae_title, peer, receiving_ae
from niffler.errors import WrongInputError
from niffler.keywords import Level, is_keyword, level_of, nearest_keyword, vr_of
from niffler.settings import Attribute, ExtractionSettings, InformationModel, Mode, Settings, SystemSettings
from niffler.settings_files import read_settings, read_system_settings
from niffler.shards import Shard

ROOT = Path(__file__).resolve().parent.parent

# As the page of today's Niffler describes them, with the key that its editor support adds.
TODAYS_SYSTEM = """{
	"$schema": "./schemas/system.schema.json",
	"DCM4CHEBin": "/opt/dcm4che-5.22.5/bin",
	"SrcAet": "AE_ARCH2@xx.yy.ww.zz:104",
	"QueryAet": "QBNIFFLER:4243",
	"DestAet": "QBNIFFLER",
	"NightlyOnly": true,
	"StartHour": 19,
	"EndHour": 7,
	"NifflerID": 1,
	"MaxNifflerProcesses": 1
}
"""
TODAYS_CONFIG = """{
	"$schema": "./schemas/config.schema.json",
	"NifflerSystem": "system.json",
	"StorageFolder": "new-study",
	"FilePath": "{00100020}/{0020000D}/{0020000E}/{00080018}.dcm",
	"CsvFile": "csv/empi.csv",
	"NumberOfQueryAttributes": 1,
	"FirstAttr": "PatientID",
	"FirstIndex": 0,
	"SecondAttr": "AccessionNumber",
	"SecondIndex": 1,
	"ThirdAttr": "StudyDate",
	"ThirdIndex": 2,
	"LongAccession": false,
	"DateFormat": "%Y%m%d",
	"SendEmail": true,
	"YourEmail": "test@test.test"
}
"""


class Folder:
    """The current folder of a run, with both JSON files and a list; and the folder that the script stands in."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "here"
        self.beside = folder / "script"
        self.path.mkdir()
        self.beside.mkdir()
        (self.path / "list.csv").write_text("EMPI\n1\n")
        self.system: dict[str, Any] = {"SrcAet": "PACS@pacs.example:104", "QueryAet": "ME:4243", "DestAet": "ME"}
        self.config: dict[str, Any] = {"StorageFolder": "storage", "CsvFile": "list.csv", "SendEmail": False}

    def write(self, config: Any = None, system: Any = None) -> None:
        """Write both files, with these keys besides the needed ones."""
        (self.path / "config.json").write_text(json.dumps({**self.config, **(config or {})}))
        (self.path / "system.json").write_text(json.dumps({**self.system, **(system or {})}))

    def read(self, *arguments: str, config: Any = None, system: Any = None) -> Settings:
        """The settings of a run in this folder."""
        self.write(config, system)
        return read_settings(arguments, beside=self.beside)

    def faults(self, *arguments: str, config: Any = None, system: Any = None) -> list[str]:
        """The lines of the error that these settings are."""
        with pytest.raises(WrongInputError) as caught:
            self.read(*arguments, config=config, system=system)
        return str(caught.value).splitlines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    made = Folder(tmp_path)
    monkeypatch.chdir(made.path)
    return made


# The two files


def test_files_of_todays_niffler_work_unchanged(folder: Folder) -> None:
    (folder.path / "csv").mkdir()
    (folder.path / "csv" / "empi.csv").write_text("PatientID\nAAAAA\n")
    (folder.path / "system.json").write_text(TODAYS_SYSTEM)
    (folder.path / "config.json").write_text(TODAYS_CONFIG)
    settings = read_settings([], beside=folder.beside)
    system = settings.system
    assert system.dcm4che_bin == "/opt/dcm4che-5.22.5/bin"
    assert system.src_aet == Peer("AE_ARCH2", "xx.yy.ww.zz", 104)
    assert system.query_aet == ReceivingAe("QBNIFFLER", 4243)
    assert (system.dest_aet, system.nightly_only, system.start_hour, system.end_hour) == ("QBNIFFLER", True, 19, 7)
    assert (system.niffler_id, system.max_niffler_processes) == (1, 1)
    assert settings.attributes == (Attribute("PatientID", 0),)
    assert settings.csv_file == folder.path / "csv" / "empi.csv"
    assert settings.storage_folder == folder.path / "new-study"
    assert settings.receives_here
    assert settings.mode is Mode.RETRIEVE


def test_the_files_that_come_with_the_suite_are_valid(folder: Folder) -> None:
    for name in ("config.json", "system.json"):
        (folder.path / name).write_text((ROOT / name).read_text().replace("SRC_AET@SRCHOST:104", "PACS@pacs:104"))
    settings = read_settings(["--StorageFolder", "storage", "--CsvFile", "list.csv"], beside=ROOT)
    assert settings.attributes == (Attribute("PatientID", 0),)
    assert settings.stylesheet.is_file()


def test_the_pacs_of_the_example_is_a_fault(folder: Folder) -> None:
    [fault] = folder.faults(system={"SrcAet": "SRC_AET@SRCHOST:104"})
    assert fault.startswith("system.json: SrcAet 'SRC_AET@SRCHOST:104': is still that of the example; write")


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("dcm4che_bin", "/opt/dcm4che-5.34.3/bin"), ("nightly_only", True), ("start_hour", 19), ("end_hour", 7),
        ("niffler_id", 1), ("max_niffler_processes", 1), ("information_model", InformationModel.STUDY_ROOT),
        ("parallel_retrievals", 1), ("queries_per_association", 100), ("retrievals_per_association", 100),
        ("connect_timeout_seconds", 30), ("response_timeout_seconds", 300), ("retrieve_timeout_seconds", 1800),
        ("max_attempts", 3), ("give_up_minutes", 60.0), ("max_studies_per_row", 1000), ("min_free_disk_gb", 1.0),
        ("accepted_calling_aets", ()), ("dcm4che_options", {}), ("smtp_host", "localhost"), ("smtp_port", 25),
    ],
)  # fmt: skip
def test_each_key_of_the_machine_has_its_default(folder: Folder, key: str, default: object) -> None:
    assert getattr(folder.read().system, key) == default


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("niffler_system", "system.json"), ("file_path", "{00100020}/{0020000D}/{0020000E}/{00080018}.dcm"),
        ("number_of_query_attributes", 1), ("first_attr", "PatientID"), ("first_index", 0),
        ("second_attr", "AccessionNumber"), ("second_index", 1), ("third_attr", "StudyDate"), ("third_index", 2),
        ("long_accession", False), ("date_format", "%Y%m%d"), ("allow_wildcards", False),
    ],
)  # fmt: skip
def test_each_key_of_the_extraction_has_its_default(folder: Folder, key: str, default: object) -> None:
    assert getattr(folder.read(), key) == default


def test_an_email_is_sent_by_default() -> None:
    assert ExtractionSettings.model_fields["send_email"].default is True


@pytest.mark.parametrize(
    ("key", "value", "field", "read"),
    [
        ("DCM4CHEBin", "embedded", "dcm4che_bin", "embedded"),
        ("InformationModel", "PatientRoot", "information_model", InformationModel.PATIENT_ROOT),
        ("ParallelRetrievals", 4, "parallel_retrievals", 4),
        ("QueriesPerAssociation", 7, "queries_per_association", 7),
        ("RetrievalsPerAssociation", 7, "retrievals_per_association", 7),
        ("ConnectTimeoutSeconds", 7, "connect_timeout_seconds", 7),
        ("ResponseTimeoutSeconds", 7, "response_timeout_seconds", 7),
        ("RetrieveTimeoutSeconds", 7, "retrieve_timeout_seconds", 7),
        ("MaxAttempts", "5", "max_attempts", 5),
        ("GiveUpMinutes", 0.5, "give_up_minutes", 0.5),
        ("MaxStudiesPerRow", 10, "max_studies_per_row", 10),
        ("MinFreeDiskGB", 0, "min_free_disk_gb", 0.0),
        ("AcceptedCallingAets", ["A", "B C"], "accepted_calling_aets", ("A", "B C")),
        ("SmtpHost", "mail.example", "smtp_host", "mail.example"),
        ("SmtpPort", 2525, "smtp_port", 2525),
        ("NifflerID", 2, "niffler_id", 2),
        ("NightlyOnly", False, "nightly_only", False),
        ("StartHour", 0, "start_hour", 0),
        ("EndHour", 23, "end_hour", 23),
    ],
)
def test_each_key_of_the_machine_can_be_set(folder: Folder, key: str, value: Any, field: str, read: object) -> None:
    assert getattr(folder.read(system={key: value}).system, field) == read


def test_the_files_are_looked_for_in_the_current_folder_then_beside_the_script(folder: Folder) -> None:
    folder.write(system={"NifflerID": 7})
    for name in ("config.json", "system.json"):
        (folder.path / name).rename(folder.beside / name)
    (folder.beside / "description.csv.xsl").write_text("")
    settings = read_settings([], beside=folder.beside)
    assert (settings.system.niffler_id, settings.stylesheet) == (7, folder.beside / "description.csv.xsl")
    (folder.path / "description.csv.xsl").write_text("")
    settings = folder.read(system={"NifflerID": 8})
    assert settings.system.niffler_id == 8
    assert settings.stylesheet.absolute() == folder.path / "description.csv.xsl"


def test_niffler_system_names_another_file(folder: Folder) -> None:
    folder.write()
    (folder.path / "other.json").write_text(json.dumps({**folder.system, "NifflerID": 5}))
    (folder.beside / "third.json").write_text(json.dumps({**folder.system, "NifflerID": 6}))
    assert folder.read(config={"NifflerSystem": "other.json"}).system.niffler_id == 5
    assert folder.read("--NifflerSystem", "third.json").system.niffler_id == 6
    assert read_system_settings("other.json", beside=folder.beside).niffler_id == 5


def test_a_byte_order_mark_does_not_matter(folder: Folder) -> None:
    folder.write()
    for name in ("config.json", "system.json"):
        (folder.path / name).write_text("\ufeff" + (folder.path / name).read_text())
    assert read_settings([], beside=folder.beside).system.dest_aet == "ME"


def test_paths_are_those_of_the_current_folder_or_whole(folder: Folder, tmp_path: Path) -> None:
    settings = folder.read(config={"StorageFolder": str(tmp_path / "elsewhere")})
    assert settings.csv_file == folder.path / "list.csv"
    assert settings.storage_folder == tmp_path / "elsewhere"
    assert not settings.storage_folder.exists(), "reading settings changes nothing"


# The command line


@pytest.mark.parametrize(
    ("key", "value", "field", "read"),
    [
        ("FilePath", "CFIND-ONLY", "file_path", "CFIND-ONLY"),
        ("NumberOfQueryAttributes", "3", "number_of_query_attributes", 3),
        ("FirstAttr", "StudyInstanceUID", "first_attr", "StudyInstanceUID"),
        ("FirstIndex", "4", "first_index", 4),
        ("SecondAttr", "Modality", "second_attr", "Modality"),
        ("SecondIndex", "5", "second_index", 5),
        ("ThirdAttr", "StudyMonth", "third_attr", "StudyMonth"),
        ("ThirdIndex", "6", "third_index", 6),
        ("LongAccession", "true", "long_accession", True),
        ("DateFormat", "%m/%d/%y", "date_format", "%m/%d/%y"),
        ("SendEmail", "true", "send_email", True),
        ("YourEmail", "me@hospital.example", "your_email", "me@hospital.example"),
        ("AllowWildcards", "true", "allow_wildcards", True),
        ("ExitOutsideWindow", "true", "exit_outside_window", True),
    ],
)
def test_each_key_of_the_extraction_is_an_option(
    folder: Folder, key: str, value: str, field: str, read: object
) -> None:
    assert getattr(folder.read(f"--{key}", value, config={"NumberOfQueryAttributes": 3}), field) == read


def test_no_key_of_the_extraction_is_missing_among_the_options(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        folder.read("--help")
    assert ended.value.code == 0
    options = capsys.readouterr().out
    assert [key for key in json.loads(TODAYS_CONFIG) if key != "$schema" and f"--{key} VALUE" not in options] == []
    assert "--AllowWildcards VALUE" in options


def test_the_command_line_has_precedence_over_the_file_and_the_file_over_the_default(folder: Folder) -> None:
    assert folder.read().first_index == 0
    assert folder.read(config={"FirstIndex": 3}).first_index == 3
    assert folder.read("--FirstIndex", "5", config={"FirstIndex": 3}).first_index == 5


def test_the_example_of_the_command_line_works(folder: Folder) -> None:
    settings = folder.read(
        "--SendEmail", "false", "--NumberOfQueryAttributes", "1", "--FirstAttr", "AccessionNumber", "--FirstIndex", "0",
        "--CsvFile", "list.csv", config={"SendEmail": True, "CsvFile": "empi.csv"},
    )  # fmt: skip
    assert settings.send_email is False
    assert settings.attributes == (Attribute("AccessionNumber", 0),)


def test_a_fault_of_the_command_line_says_so(folder: Folder) -> None:
    assert folder.faults("--FirstAttr", "EMPI") == [
        "command line: FirstAttr 'EMPI': is not a DICOM keyword; is PatientID meant?"
    ]
    [fault] = folder.faults("--FirstIndex", "one")
    assert fault.startswith('command line: FirstIndex "one": ')


def test_an_unknown_option_is_a_fault_that_suggests_the_nearest(folder: Folder) -> None:
    assert folder.faults("--CsvFil=list.csv") == ["command line: --CsvFil=list.csv: no such option; is CsvFile meant?"]
    assert folder.faults("--sendemail=false")[0].endswith("is SendEmail meant?")
    assert folder.faults("--NumberOf=1")[0].startswith("command line: --NumberOf=1: no such option")


def test_an_option_without_its_value_is_a_fault(folder: Folder) -> None:
    [fault] = folder.faults("--CsvFile")
    assert fault.startswith("command line: ")
    assert "--CsvFile" in fault


# Booleans


@pytest.mark.parametrize("value", [True, "true", "TRUE", "True", "yes", "Yes", "YES", "1", 1, " true "])
def test_each_form_of_true_is_true(folder: Folder, value: Any) -> None:
    settings = folder.read(config={"LongAccession": value}, system={"NightlyOnly": value})
    assert settings.long_accession is True
    assert settings.system.nightly_only is True


@pytest.mark.parametrize("value", [False, "false", "FALSE", "False", "no", "No", "NO", "0", 0, " false "])
def test_each_form_of_false_is_false(folder: Folder, value: Any) -> None:
    settings = folder.read(config={"SendEmail": value}, system={"NightlyOnly": value})
    assert settings.send_email is False
    assert settings.system.nightly_only is False


@pytest.mark.parametrize("value", ["false", "FALSE", "no", "0"])
def test_false_on_the_command_line_is_false(folder: Folder, value: str) -> None:
    assert folder.read("--SendEmail", value, config={"SendEmail": True}).send_email is False


@pytest.mark.parametrize("value", ["maybe", "", 2, None, [], "truee"])
def test_anything_else_is_neither_true_nor_false(folder: Folder, value: Any) -> None:
    [fault] = folder.faults(config={"SendEmail": value})
    assert fault == f"config.json: SendEmail {json.dumps(value)}: write true or false"


# Faults


def test_several_faults_of_both_files_and_the_command_line_are_told_together(folder: Folder) -> None:
    faults = folder.faults(
        "--FirstIndex", "x",
        config={"SendEmail": "maybe", "CsvFil": "list.csv"},
        system={"SrcAet": "PACS:104", "StartHour": 24, "NightlyOnly": "perhaps"},
    )  # fmt: skip
    told = {fault.split(":")[0] + ":" + fault.split(":")[1].split()[0] for fault in faults}
    assert told == {
        "command line:FirstIndex", "config.json:SendEmail", "config.json:CsvFil", "system.json:SrcAet",
        "system.json:StartHour", "system.json:NightlyOnly",
    }  # fmt: skip


def test_several_faults_of_meaning_are_told_together(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    faults = folder.faults(
        config={
            "FirstAttr": "Accession", "FilePath": "{00100020}.dcm", "CsvFile": "missing.csv",
            "StorageFolder": str(tmp_path / "file" / "storage"),
        }
    )  # fmt: skip
    assert [fault.split()[1] for fault in faults] == ["FirstAttr", "FilePath", "StorageFolder", "CsvFile"]
    assert all(fault.startswith("config.json: ") for fault in faults)


@pytest.mark.parametrize(
    ("key", "meant"), [("CsvFiles", "CsvFile"), ("csvfile", "CsvFile"), ("FirstAttribute", "FirstAttr")]
)
def test_an_unknown_key_of_the_extraction_is_a_fault_that_suggests_the_nearest(
    folder: Folder, key: str, meant: str
) -> None:
    assert folder.faults(config={key: 0}) == [f"config.json: {key}: no such key; is {meant} meant?"]


def test_an_unknown_key_of_the_machine_is_a_fault_that_suggests_the_nearest(folder: Folder) -> None:
    assert folder.faults(system={"SourceAet": "x"}) == ["system.json: SourceAet: no such key; is SrcAet meant?"]


def test_an_unknown_key_without_a_neighbour_is_told_with_all_that_there_are(folder: Folder) -> None:
    [fault] = folder.faults(config={"Xyzzyqwxj": 1})
    assert fault.startswith("config.json: Xyzzyqwxj: no such key; there are NifflerSystem, StorageFolder, ")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Accession", "AccessionNumber"), ("Accessions", "AccessionNumber"), ("EMPI", "PatientID"),
        ("Patient-ID", "PatientID"), ("patientid", "PatientID"), ("StudyDat", "StudyDate"),
        ("Study Month", "StudyMonth"),
    ],
)  # fmt: skip
def test_what_is_not_a_dicom_keyword_is_a_fault_that_suggests_one(folder: Folder, written: str, meant: str) -> None:
    assert folder.faults(config={"FirstAttr": written}) == [
        f"config.json: FirstAttr '{written}': is not a DICOM keyword; is {meant} meant?"
    ]


@pytest.mark.parametrize("value", ["PACS", "PACS@host", "PACS:104", "@host:104", "PACS@host:port", "A@h:0", "A@h:65536",
                                   "ABCDEFGHIJKLMNOPQ@host:104", "", 104])  # fmt: skip
def test_a_bad_address_of_the_pacs_is_a_fault_that_says_how_to_write_it(folder: Folder, value: Any) -> None:
    [fault] = folder.faults(system={"SrcAet": value})
    assert fault.startswith(f"system.json: SrcAet {json.dumps(value)}: ")
    assert "AET@HOST:PORT" in fault or "port is a number from 1 to 65535" in fault or "quotation marks" in fault


@pytest.mark.parametrize("value", ["ME", "ME@host:104", "ME:", ":104", "ME:0", "ME:70000"])
def test_a_bad_address_of_this_machine_is_a_fault_that_says_how_to_write_it(folder: Folder, value: str) -> None:
    [fault] = folder.faults(system={"QueryAet": value})
    assert fault.startswith(f'system.json: QueryAet "{value}": ')
    assert "AET:PORT" in fault or "port is a number" in fault


@pytest.mark.parametrize("value", ["ABCDEFGHIJKLMNOPQ", "A\\B", "", " ", "ME:4243"])
def test_a_bad_ae_title_is_a_fault(folder: Folder, value: str) -> None:
    [fault] = folder.faults(system={"DestAet": value})
    assert "write an AE title" in fault


@pytest.mark.parametrize("key", ["SrcAet", "QueryAet", "DestAet"])
def test_a_key_without_default_must_be_there(folder: Folder, key: str) -> None:
    del folder.system[key]
    [fault] = folder.faults()
    assert fault.startswith(f"system.json: {key} is missing; ")


@pytest.mark.parametrize("key", ["StartHour", "EndHour"])
@pytest.mark.parametrize("value", [-1, 24, 7.5, "noon", True, None])
def test_an_hour_outside_0_to_23_is_a_fault(folder: Folder, key: str, value: Any) -> None:
    [fault] = folder.faults(system={key: value})
    assert fault.startswith(f"system.json: {key} {json.dumps(value)}: ")


@pytest.mark.parametrize("value", [0, 4, -1, "two"])
def test_a_number_of_attributes_outside_1_to_3_is_a_fault(folder: Folder, value: Any) -> None:
    [fault] = folder.faults(config={"NumberOfQueryAttributes": value})
    assert fault.startswith(f"config.json: NumberOfQueryAttributes {json.dumps(value)}: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("InformationModel", "SeriesRoot"), ("ParallelRetrievals", 0), ("MaxAttempts", 0), ("GiveUpMinutes", 0),
        ("MinFreeDiskGB", -1), ("SmtpPort", 0), ("AcceptedCallingAets", ["A\\B"]), ("MaxNifflerProcesses", 0),
        ("ConnectTimeoutSeconds", 0), ("MaxStudiesPerRow", "many"),
    ],
)  # fmt: skip
def test_a_value_of_the_machine_out_of_range_is_a_fault_with_its_key(folder: Folder, key: str, value: Any) -> None:
    [fault] = folder.faults(system={key: value})
    assert fault.startswith(f"system.json: {key} {json.dumps(value)}: ")


def test_an_index_below_zero_is_a_fault(folder: Folder) -> None:
    [fault] = folder.faults(config={"FirstIndex": -1})
    assert fault.startswith("config.json: FirstIndex -1: ")


@pytest.mark.parametrize("file_path", ["{00100020}.dcm", "images/{0020000D}", "", "{00080018"])
def test_a_file_path_without_the_sop_instance_uid_is_a_fault(folder: Folder, file_path: str) -> None:
    [fault] = folder.faults(config={"FilePath": file_path})
    assert fault.startswith(f"config.json: FilePath '{file_path}': without {{00080018}}, ")
    assert "instances overwrite each other; end it with {00080018}.dcm" in fault


@pytest.mark.parametrize("file_path", ["cfind-only", "CFIND_ONLY", "CFIND"])
def test_a_mode_that_is_misspelt_is_a_fault_that_names_both(folder: Folder, file_path: str) -> None:
    [fault] = folder.faults(config={"FilePath": file_path})
    assert fault == f"config.json: FilePath '{file_path}': is CFIND-ONLY or CFIND-DETAILED meant?"


@pytest.mark.parametrize("file_path", ["/data/{00080018}.dcm", "../{00080018}.dcm", "a/../../{00080018}.dcm"])
def test_a_file_path_that_leaves_the_storage_folder_is_a_fault(folder: Folder, file_path: str) -> None:
    [fault] = folder.faults(config={"FilePath": file_path})
    assert "leaves StorageFolder" in fault


@pytest.mark.parametrize("file_path", ["{00080018}", "{00100020,urlencoded}/{00080018}.dcm", "a..b/{00080018,md5}"])
def test_other_hierarchies_with_the_sop_instance_uid_are_possible(folder: Folder, file_path: str) -> None:
    assert folder.read(config={"FilePath": file_path}).mode is Mode.RETRIEVE


def test_a_list_that_is_not_there_is_a_fault(folder: Folder) -> None:
    assert folder.faults(config={"CsvFile": "missing.csv"}) == [
        f"config.json: CsvFile '{folder.path / 'missing.csv'}': there is no such file; name the list that is there"
    ]


def test_a_storage_folder_that_cannot_be_made_is_a_fault(folder: Folder) -> None:
    [fault] = folder.faults(config={"StorageFolder": "list.csv/storage"})
    assert fault.startswith(f"config.json: StorageFolder '{folder.path / 'list.csv' / 'storage'}': ")
    assert fault.endswith("list.csv is a file; choose another folder")


@contextmanager
def without_privileges() -> Iterator[None]:
    """Nobody's rights, as a superuser may write anywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_folders_that_cannot_be_written_are_faults_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = Folder(Path(name))
        monkeypatch.chdir(folder.path)
        (folder.path / "storage").mkdir()
        folder.write()
        for locked in (folder.path / "storage", folder.path):
            locked.chmod(0o555)
        try:
            with without_privileges(), pytest.raises(WrongInputError) as caught:
                read_settings([], beside=folder.beside)
        finally:
            monkeypatch.undo()
            for locked in (folder.path, folder.path / "storage"):
                locked.chmod(0o755)
    [storage, csv_file] = str(caught.value).splitlines()
    assert storage.startswith("config.json: StorageFolder ")
    assert storage.endswith("cannot be written; ask for the right or choose another")
    assert csv_file.startswith("config.json: CsvFile ")
    assert "folder cannot be written" in csv_file


def test_a_file_that_is_missing_is_a_fault_that_says_where_it_is_looked_for(folder: Folder) -> None:
    folder.write()
    (folder.path / "system.json").unlink()
    with pytest.raises(WrongInputError, match=r"^system\.json: cannot be read: .* current folder, then beside the scr"):
        read_settings([], beside=folder.beside)


@pytest.mark.parametrize("content", ['{"SrcAet": "A@h:1",\n  }', "[]", '"text"', "", "{'a': 1}", "[" * 100_000])
def test_a_file_that_is_not_a_json_object_is_a_fault_that_names_it(folder: Folder, content: str) -> None:
    folder.write()
    (folder.path / "system.json").write_text(content)
    with pytest.raises(WrongInputError, match=r"^system\.json: .*JSON"):
        read_settings([], beside=folder.beside)


def test_a_syntax_error_has_its_line_and_column(folder: Folder) -> None:
    folder.write()
    (folder.path / "system.json").write_text('{\n  "NifflerID": 1\n  "StartHour": 2\n}')
    with pytest.raises(WrongInputError, match=r"^system\.json: line 3, column 3: not valid JSON"):
        read_settings([], beside=folder.beside)


def test_a_file_that_is_not_utf8_is_a_fault(folder: Folder) -> None:
    folder.write()
    (folder.path / "system.json").write_bytes(b'{"SmtpHost": "\xff"}')
    with pytest.raises(WrongInputError, match=r"^system\.json: is not a JSON text in UTF-8"):
        read_settings([], beside=folder.beside)


def test_a_key_that_stands_twice_is_a_fault(folder: Folder) -> None:
    folder.write()
    (folder.path / "system.json").write_text(json.dumps(folder.system)[:-1] + ', "DestAet": "OTHER"}')
    with pytest.raises(WrongInputError, match=r"^system\.json: DestAet: stands there twice; remove one$"):
        read_settings([], beside=folder.beside)


# Attributes


def test_attributes_are_as_many_as_their_number_says(folder: Folder) -> None:
    three = (Attribute("PatientID", 0), Attribute("AccessionNumber", 1), Attribute("StudyDate", 2))
    for number in (1, 2, 3):
        assert folder.read(config={"NumberOfQueryAttributes": number}).attributes == three[:number]


@pytest.mark.parametrize("number", [1, "1"])
def test_the_second_and_third_attribute_are_not_validated_with_one(folder: Folder, number: Any) -> None:
    nonsense = {"SecondAttr": "Accession", "SecondIndex": "x", "ThirdAttr": None, "ThirdIndex": -5}
    settings = folder.read(config={"NumberOfQueryAttributes": number, **nonsense})
    assert settings.attributes == (Attribute("PatientID", 0),)


def test_the_third_attribute_is_not_validated_with_two_but_the_second_is(folder: Folder) -> None:
    config = {"NumberOfQueryAttributes": 2, "ThirdAttr": "EMPI", "ThirdIndex": "x"}
    assert len(folder.read(config=config).attributes) == 2
    [fault] = folder.faults(config={**config, "SecondAttr": "Accession"})
    assert "SecondAttr 'Accession'" in fault


def test_the_date_format_is_not_validated_without_a_date(folder: Folder) -> None:
    config = {"DateFormat": "none", "ThirdAttr": "StudyDate"}
    assert folder.read(config={**config, "NumberOfQueryAttributes": 2}).date_format == "none"
    [fault] = folder.faults(config={**config, "NumberOfQueryAttributes": 3})
    assert fault.startswith("config.json: DateFormat 'none': is not a format with day, month and year")


@pytest.mark.parametrize("date_format", ["%Y%m%d", "%m/%d/%y", "%m-%d-%y", "%m%d%y", "%d.%m.%Y"])
def test_the_usual_date_formats_are_accepted(folder: Folder, date_format: str) -> None:
    config = {"NumberOfQueryAttributes": 3, "DateFormat": date_format}
    assert folder.read(config=config).date_format == date_format


def test_a_doubled_percent_sign_means_a_single_one(folder: Folder) -> None:
    config = {"NumberOfQueryAttributes": 3, "DateFormat": "%%m%d%y"}
    assert folder.read(config=config).date_format == "%m%d%y"
    assert folder.read("--DateFormat", "%%m%%d%%y", config=config).date_format == "%m%d%y"


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"SecondAttr": "PatientID"}, "SecondAttr"),
        ({"SecondIndex": 0}, "SecondIndex"),
        ({"FirstAttr": "StudyDate", "SecondAttr": "StudyMonth"}, "NumberOfQueryAttributes"),
    ],
)
def test_attributes_that_contradict_each_other_are_faults(folder: Folder, config: Any, key: str) -> None:
    [fault] = folder.faults(config={"NumberOfQueryAttributes": 2, **config})
    assert fault.startswith(f"config.json: {key} ")


def test_study_month_is_an_attribute(folder: Folder) -> None:
    settings = folder.read(config={"NumberOfQueryAttributes": 3, "ThirdAttr": "StudyMonth"})
    assert settings.attributes[2] == Attribute("StudyMonth", 2)


# Modes, receiver, email


@pytest.mark.parametrize(
    ("file_path", "mode"), [("CFIND-ONLY", Mode.FIND_ONLY), ("CFIND-DETAILED", Mode.FIND_DETAILED)]
)
def test_file_path_chooses_the_find_modes_which_receive_nothing(folder: Folder, file_path: str, mode: Mode) -> None:
    (folder.path / "description.csv.xsl").write_text("")
    settings = folder.read(config={"FilePath": file_path})
    assert settings.mode is mode
    assert not settings.receives_here


def test_the_detailed_mode_needs_its_stylesheet(folder: Folder) -> None:
    [fault] = folder.faults(config={"FilePath": "CFIND-DETAILED"})
    assert "needs description.csv.xsl in the current folder or beside the script" in fault


def test_images_come_here_only_if_the_destination_is_the_ae_of_this_machine(folder: Folder) -> None:
    assert folder.read().receives_here
    assert not folder.read(system={"DestAet": "OTHER"}).receives_here


@pytest.mark.parametrize("address", ["test@test.test", ""])
def test_a_placeholder_is_warned_of_and_no_email_is_sent(folder: Folder, address: str) -> None:
    settings = folder.read(config={"SendEmail": True, "YourEmail": address})
    [warning] = settings.warnings
    assert "YourEmail is still the placeholder: no email is sent" in warning
    assert not settings.wants_email


def test_an_address_of_ones_own_gets_an_email_without_a_warning(folder: Folder) -> None:
    settings = folder.read(config={"SendEmail": True, "YourEmail": "me@hospital.example"})
    assert settings.wants_email
    assert settings.warnings == ()


def test_without_email_the_placeholder_may_stay(folder: Folder) -> None:
    settings = folder.read(config={"SendEmail": False, "YourEmail": "test@test.test"})
    assert settings.warnings == ()
    assert not settings.wants_email


_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=2)),
    max_leaves=4,
)


def _keys(model: type[ExtractionSettings | SystemSettings], *, without: Sequence[str] = ()) -> list[str]:
    return [str(field.alias) for field in model.model_fields.values() if field.alias not in without]


# Without the keys that name files and folders: a folder of any name would be made, anywhere.
@hypothesis_settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(_keys(ExtractionSettings, without=("StorageFolder", "CsvFile", "NifflerSystem"))), _JSON)
def test_any_value_in_config_json_is_a_setting_or_a_fault_with_its_key(folder: Folder, key: str, value: Any) -> None:
    _is_read_or_told(lambda: folder.read(config={key: value}), f"config.json: {key} ")


@hypothesis_settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(_keys(SystemSettings)), _JSON)
def test_any_value_in_system_json_is_a_setting_or_a_fault_with_its_key(folder: Folder, key: str, value: Any) -> None:
    _is_read_or_told(lambda: folder.read(system={key: value}), f"system.json: {key} ")


def _is_read_or_told(read: Callable[[], object], beginning: str) -> None:
    try:
        read()
    except WrongInputError as error:
        assert str(error).startswith(beginning), str(error)


# Addresses


def test_addresses_are_read_and_written_alike() -> None:
    assert peer("ORTHANC@127.0.0.1:4242") == Peer("ORTHANC", "127.0.0.1", 4242)
    assert peer("A B@[::1]:104") == Peer("A B", "[::1]", 104)
    assert receiving_ae("ME:4243") == ReceivingAe("ME", 4243)
    assert ae_title(" ME ") == "ME"
    assert str(peer("ORTHANC@pacs.example:4242")) == "ORTHANC@pacs.example:4242"
    assert str(receiving_ae("ME:4243")) == "ME:4243"


@given(st.one_of(st.text(), st.text("aB@:19[]. ")))
def test_any_text_is_an_address_that_can_be_written_again_or_a_value_error(text: str) -> None:
    for read in (peer, receiving_ae):
        try:
            address = read(text)
        except ValueError:
            continue
        assert read(str(address)) == address
        assert 1 <= address.port <= 65535
        assert 1 <= len(address.ae_title) <= 16


# Keywords


@pytest.mark.parametrize(
    "keyword", ["PatientID", "AccessionNumber", "StudyDate", "StudyInstanceUID", "ProtocolName", "StudyMonth"]
)
def test_dicom_keywords_and_study_month_can_be_asked_for(keyword: str) -> None:
    assert is_keyword(keyword)


@pytest.mark.parametrize("text", ["EMPI", "patientID", "Patient-ID", " ", "ReferencedStudySequence", "00100020"])
def test_other_words_and_sequences_cannot_be_asked_for(text: str) -> None:
    assert not is_keyword(text)


@pytest.mark.parametrize("text", ["EMPI", "empi", "MRN", "Patient-ID", "PatientId", "Patient ID", "PatinetID"])
def test_the_patient_id_is_recognised_in_what_people_call_it(text: str) -> None:
    assert nearest_keyword(text) == "PatientID"


def test_nothing_is_suggested_for_what_resembles_no_keyword() -> None:
    assert nearest_keyword("Xyzzyqwxj") is None
    assert nearest_keyword("") is None


@hypothesis_settings(deadline=None, max_examples=25)
@given(st.text(max_size=30))
def test_a_suggestion_is_always_a_keyword(text: str) -> None:
    near = nearest_keyword(text)
    assert near is None or is_keyword(near)


@pytest.mark.parametrize(
    ("keyword", "vr"), [("PatientID", "LO"), ("AccessionNumber", "SH"), ("StudyDate", "DA"), ("PatientName", "PN")]
)
def test_a_keyword_has_its_value_representation(keyword: str, vr: str) -> None:
    assert vr_of(keyword) == vr


@pytest.mark.parametrize(
    ("keyword", "level"),
    [
        ("PatientID", Level.STUDY), ("AccessionNumber", Level.STUDY), ("StudyDate", Level.STUDY),
        ("SeriesInstanceUID", Level.SERIES), ("SeriesDescription", Level.SERIES), ("BodyPartExamined", Level.SERIES),
        ("ProtocolName", Level.SERIES), ("Modality", Level.SERIES), ("SOPInstanceUID", Level.IMAGE),
    ],
)  # fmt: skip
def test_a_keyword_has_its_level(keyword: str, level: Level) -> None:
    assert level_of(keyword) is level


def test_dcm4che_options_are_written_as_the_page_says(folder: Folder) -> None:
    options = {"storescp": ["--tls"], "findscu": [], "movescu": ["--tls", 5]}
    read = folder.read(system={"Dcm4cheOptions": options}).system.dcm4che_options
    assert read == {"storescp": ("--tls",), "findscu": (), "movescu": ("--tls", "5")}


def test_faults_of_value_and_of_meaning_are_told_together(folder: Folder) -> None:
    faults = folder.faults(config={"FirstAttr": "Accession", "FilePath": "x.dcm"}, system={"StartHour": 25})
    assert len(faults) == 3, faults


def test_an_unknown_option_is_told_together_with_the_faults_of_the_files(folder: Folder) -> None:
    faults = folder.faults("--CsvFil=x", config={"SendEmail": "maybe"}, system={"SrcAet": "x"})
    assert len(faults) == 3, faults


def test_the_value_of_an_unknown_option_is_no_option(folder: Folder) -> None:
    assert len(folder.faults("--CsvFil", "list.csv")) == 1


def test_a_syntax_error_brings_no_faults_of_keys_that_nobody_wrote(folder: Folder) -> None:
    folder.write()
    (folder.path / "config.json").write_text('{"CsvFile": "list.csv",}')
    with pytest.raises(WrongInputError) as caught:
        read_settings(["--StorageFolder", str(folder.path / "s")], beside=folder.beside)
    assert len(str(caught.value).splitlines()) == 1
    assert not (folder.path / "s").exists()


def test_an_empty_text_is_no_keyword(folder: Folder) -> None:
    assert not is_keyword("")


def test_an_empty_attribute_is_a_fault(folder: Folder) -> None:
    folder.faults(config={"FirstAttr": ""})


def test_what_is_suggested_can_be_asked_for() -> None:
    near = nearest_keyword("ReferencedStudySequenc")
    assert near is None or is_keyword(near)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("StorageFolder", "~nosuchuser/x"),
        ("CsvFile", "~nosuchuser/x"),
        ("NifflerSystem", "~nosuchuser/x"),
        ("CsvFile", "x" * 300),
        ("NifflerSystem", "x" * 300),
        ("StorageFolder", "a\0b"),
        ("NifflerSystem", "a\0b"),
    ],
)
def test_a_path_that_cannot_be_one_is_a_fault(folder: Folder, key: str, value: str) -> None:
    folder.faults(config={key: value})


# A shard

OF_SHARD = {"QueryAet": "ME{shard}:424{shard}", "DestAet": "ME{shard}", "SrcAet": "PACS{shard}@pacs.example:104"}


def test_the_number_of_a_shard_stands_where_it_is_wanted(folder: Folder) -> None:
    system = {**OF_SHARD, "NifflerID": "{shard}"}
    settings = folder.read("--Shard", "3/8", config={"StorageFolder": "disk/{shard}"}, system=system)
    told = settings.system
    assert (str(told.query_aet), told.dest_aet, str(told.src_aet)) == ("ME3:4243", "ME3", "PACS3@pacs.example:104")
    assert (told.niffler_id, settings.storage_folder) == (3, folder.path / "disk" / "3")
    assert (settings.shard, settings.modified_csv.name) == (Shard(3, 8), "list_mod.shard-3-of-8.csv")
    assert settings.receives_here


def test_without_a_shard_its_number_is_refused_and_the_only_one_is_the_whole_list(folder: Folder) -> None:
    faults = folder.faults(config={"StorageFolder": "disk/{shard}"}, system={**OF_SHARD, "NifflerID": "{shard}"})
    assert [fault.partition(": {shard} is the number of a shard")[1] != "" for fault in faults] == [True] * 5
    settings = folder.read("--Shard", "1/1", config={"StorageFolder": "disk/{shard}"}, system=OF_SHARD)
    assert (settings.shard, settings.modified_csv.name) == (None, "list_mod.csv")
    assert settings.system.dest_aet == "ME1"


def test_an_array_job_names_the_shard_but_the_command_line_has_the_last_word(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    [fault] = folder.faults()
    assert fault.startswith("environment: JOB_COMPLETION_INDEX is 1")
    monkeypatch.setenv("NIFFLER_SHARDS", "3")
    settings = folder.read()
    assert settings.shard == Shard(2, 3)
    assert [warning for warning in settings.warnings if warning.startswith("shard 2/3 of the list is taken")]
    for meant in (folder.read(system=OF_SHARD), folder.read("--Shard", "2/3"), folder.read("--Shard", "1/1")):
        assert not [warning for warning in meant.warnings if "shard" in warning]
    assert folder.read("--Shard", "3/4").shard == Shard(3, 4)
    [fault] = folder.faults("--Shard", "5/4")
    assert fault == "command line: Shard '5/4': write it as NUMBER/COUNT, such as 3/8 for the third of eight"


def test_one_folder_for_all_shards_is_refused_where_two_could_retrieve_the_same_study(folder: Folder) -> None:
    by_accession = {"FirstAttr": "AccessionNumber"}
    for config in (by_accession, {"AllowWildcards": True}):
        [fault] = folder.faults("--Shard", "1/2", config=config)
        assert fault.startswith(f"config.json: StorageFolder '{folder.path / 'storage'}': rows of different shards")
        assert fault.endswith(f"such as {folder.path / 'storage'}/{{shard}}")
        assert not folder.read("--Shard", "1/2", config={**config, "StorageFolder": "disk/{shard}"}).shares_storage
        assert not folder.read(config=config).shares_storage
    assert folder.read("--Shard", "1/2").shares_storage
    folder.read("--Shard", "1/2", config={**by_accession, "FilePath": "CFIND-ONLY"})
