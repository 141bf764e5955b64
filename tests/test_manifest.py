"""The manifest: what an extraction did, for an audit; and one without identifiers, which can be shared."""

import hashlib
import hmac
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.studies import WrittenStudy, generate_studies
from niffler.errors import GaveUpError, WrongInputError
from niffler.head import Head, Run, read_head, write_head
from niffler.manifest import StudyEntry, take_key, write_manifest, write_shareable
from niffler.settings import Settings, SystemSettings
from niffler.settings_told import is_default, settings_told
from niffler.vocabulary import Outcome
from tests.extraction import Extraction, from_pacs, patient_data
from tests.pacs import faults

UID, OTHER_UID = "1.2.3.4", "1.2.3.5"
HEAD = Head(
    "/data/doe/list.csv", "ab" * 32,
    {"config.json": {"CsvFile": "/data/doe/list.csv", "LongAccession": True, "FirstAttr": "PatientID",
                     "YourEmail": "doe@hospital.example"},
     "system.json": {"SrcAet": "ARCHIVE@pacs.hospital.example:104", "StartHour": 19, "SmtpPort": 25}},
    {"Python": "3.11"},
    (Run("2026-03-01T19:00:00+01:00", "2026-03-02T07:00:00+01:00", 4, "ARCHIVE@pacs has not answered"),),
)  # fmt: skip
ROWS = {Outcome.RETRIEVED: 2, Outcome.INVALID: 1}
STUDIES = [StudyEntry(UID, Outcome.RETRIEVED, 7, 700), StudyEntry(OTHER_UID, Outcome.PARTIAL, 2, None)]
KEY = bytes(range(32))


def manifest_of(extraction: Extraction, kind: str = "") -> dict[str, Any]:
    told: dict[str, Any] = json.loads(extraction.state(f".manifest{kind}.json").read_text())
    return told


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Extraction, tuple[WrittenStudy, ...]]]:
    """Two of three studies are retrieved, one fails; then the same command again, to which the PACS sends it."""
    folder = tmp_path_factory.mktemp("ran")
    studies = generate_studies(folder / "studies", 3, instances=2, size=16)
    with from_pacs(folder) as (extraction, pacs):
        pacs.script(faults.answer_move(0xC000, "no").study(studies[1].study_instance_uid).nth(1))
        extraction.system = {"MaxAttempts": 1}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies] + [["NOBODY"], [""], ["1*"]])
        assert extraction.run().exit_code == 1
        (extraction.folder / "first.json").write_text(extraction.state(".manifest.json").read_text())
        assert extraction.run().exit_code == 1
        yield extraction, studies


def test_it_has_each_study_with_its_outcome_instances_and_bytes(
    ran: tuple[Extraction, tuple[WrittenStudy, ...]],
) -> None:
    extraction, studies = ran
    told = json.loads((extraction.folder / "first.json").read_text())
    by_uid = {study["StudyInstanceUID"]: study for study in told["studies"]}
    assert set(by_uid) == {study.study_instance_uid for study in studies}
    assert by_uid[studies[1].study_instance_uid] == {
        "StudyInstanceUID": studies[1].study_instance_uid, "outcome": "failed", "instances": 0, "bytes": None,
    }  # fmt: skip
    complete = by_uid[studies[0].study_instance_uid]
    stored = [extraction.instances()[uid] for uid in studies[0].sop_instance_uids]
    assert (complete["outcome"], complete["instances"]) == ("retrieved", 2)
    assert complete["bytes"] == sum(path.stat().st_size for path in stored)
    assert told["rows"] == {"retrieved": 2, "not-found": 1, "failed": 1, "invalid": 1}
    assert told["retrieved"]["studies"] == 2


def test_it_has_the_list_the_settings_the_versions_and_every_run(
    ran: tuple[Extraction, tuple[WrittenStudy, ...]],
) -> None:
    extraction, studies = ran
    told = manifest_of(extraction)
    assert told["list"]["sha256"] == hashlib.sha256(extraction.list_file.read_bytes()).hexdigest()
    assert told["settings"]["system.json"]["MaxAttempts"] == 1
    assert told["settings"]["config.json"]["CsvFile"] == str(extraction.list_file)
    assert {"Python", "DCM4CHE", "pydicom", "Niffler cold extraction"} <= set(told["versions"])
    assert [run["exit_code"] for run in told["runs"]] == [1, 1]
    assert all(run["started"] <= run["ended"] for run in told["runs"])
    assert [study["outcome"] for study in told["studies"]] == ["retrieved"] * len(studies), "what earlier runs did, too"


def test_the_one_to_share_has_no_identifier_and_whoever_has_the_key_can_still_tell_which_study_is_meant(
    ran: tuple[Extraction, tuple[WrittenStudy, ...]],
) -> None:
    extraction, studies = ran
    text = extraction.state(".manifest.shareable.json").read_text()
    private = patient_data(studies) | {"127.0.0.1", str(extraction.folder), hashlib.sha256(
        extraction.list_file.read_bytes()).hexdigest()}  # fmt: skip
    assert [value for value in private if value in text] == []
    key = bytes.fromhex(extraction.state(".manifest.key").read_text())
    assert {study["hmac_sha256"] for study in json.loads(text)["studies"]} == {
        hmac.new(key, study.study_instance_uid.encode(), "sha256").hexdigest() for study in studies
    }
    assert extraction.state(".manifest.key").stat().st_mode & 0o777 == 0o600


def test_the_report_made_again_has_the_settings_of_the_run(
    ran: tuple[Extraction, tuple[WrittenStudy, ...]],
) -> None:
    extraction, _ = ran
    assert extraction.run("--Report", "true", "--LongAccession", "true").exit_code == 0
    given = extraction.state(".report.html").read_text().partition("those left at their default")[0]
    assert "<th>MaxAttempts</th><td>1</td>" in given
    assert "LongAccession" not in given
    assert "2 runs" in given


def test_a_start_leaves_the_manifest_alone_and_a_run_that_is_killed_stands_in_the_next_one(tmp_path: Path) -> None:
    studies = generate_studies(tmp_path / "studies", 2, instances=1, size=16)
    with from_pacs(tmp_path) as (extraction, pacs):
        manifest, head = extraction.state(".manifest.json"), extraction.state(".manifest.head.json")
        seen: list[bytes | None] = []

        def see_and_kill() -> None:
            seen.append(manifest.read_bytes() if manifest.exists() else None)
            extraction.started[-1].kill()

        pacs.script(
            faults.answer_move(0xC000).study(studies[1].study_instance_uid).nth(1),
            faults.call(see_and_kill, "move").study(studies[1].study_instance_uid).nth(2),
            faults.call(see_and_kill, "move").study(studies[0].study_instance_uid).nth(2),
        )
        extraction.system = {"MaxAttempts": 1}
        extraction.write_list("EMPI", [[study.patient_id] for study in studies])
        assert extraction.run().exit_code == 1
        first = manifest.read_bytes()
        assert extraction.run().exit_code == -signal.SIGKILL
        assert (seen, manifest.read_bytes()) == ([first], first)
        assert extraction.run().exit_code == 0
        told = manifest_of(extraction)
        assert [run["exit_code"] for run in told["runs"]] == [1, None, 0]
        assert [run["ended"] is None for run in told["runs"]] == [False, True, False]
        assert told["retrieved"]["studies"] == 2

        extraction.state(".pickle").unlink()
        assert extraction.run().exit_code == -signal.SIGKILL
        assert seen[1] is None, "from scratch, what it says of studies does not hold any more"
        assert not extraction.state(".manifest.shareable.json").exists()
        head.write_text("{")
        assert extraction.run().exit_code == 0
        assert f"WARNING:root:{head}: is no head of a manifest; move it away" in extraction.output
        assert [run["exit_code"] for run in manifest_of(extraction)["runs"]] == [0]


# Alone


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    assert read_head(path) is None
    write_head(path, HEAD)
    assert read_head(path) == HEAD
    for studies in (STUDIES, []):
        write_manifest(path, HEAD, ROWS, studies)
        assert read_head(path) == HEAD, "a manifest begins with its head"
    path.write_text('{"list": 3}')
    with pytest.raises(WrongInputError, match="is no head of a manifest; move it away"):
        read_head(path)


def test_the_one_to_share_tells_flags_and_numbers_but_no_address_and_no_path(tmp_path: Path) -> None:
    path = tmp_path / "shareable.json"
    write_shareable(path, KEY, HEAD, ROWS, STUDIES)
    text = path.read_text()
    told = json.loads(text)
    assert told["settings"] == {
        "config.json": {"LongAccession": True, "FirstAttr": "PatientID"}, "system.json": {"StartHour": 19},
    }  # fmt: skip
    assert "doe" not in text
    assert "ARCHIVE" not in text
    assert told["rows"] == {"retrieved": 2, "invalid": 1}
    assert told["retrieved"] == {"studies": 1, "instances": 7, "bytes": 700}


def test_studies_to_share_do_not_stand_in_the_order_of_the_list(tmp_path: Path) -> None:
    studies = [StudyEntry(f"1.2.{number}", Outcome.RETRIEVED, 1, 1) for number in range(50)]
    write_shareable(tmp_path / "a", KEY, HEAD, ROWS, studies)
    write_shareable(tmp_path / "b", KEY, HEAD, ROWS, studies[::-1])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    before = os.umask(0)
    try:
        key = take_key(path)
    finally:
        os.umask(before)
    assert (len(key), path.stat().st_mode & 0o777) == (32, 0o600)
    assert take_key(path) == key
    assert take_key(tmp_path / "other") != key


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("zz", 0o600, "is no key"),
        ("", 0o600, "is no key"),
        ("00" * 32, 0o640, "others may read the key; run chmod 600"),
    ],
)
def test_a_key_that_is_none_or_is_open_to_others_is_refused(tmp_path: Path, text: str, mode: int, said: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(GaveUpError, match=said):
        take_key(path)


def test_passwords_among_the_options_of_the_tools_are_not_told() -> None:
    options = {"storescp": ["--key-store-pass", "SECRET", "--key-pass=SECRET", "--tls-aes"]}
    system = SystemSettings.model_validate({"SrcAet": "A@b:1", "QueryAet": "C:2", "DestAet": "C",
                                            "Dcm4cheOptions": options})  # fmt: skip
    settings = Settings.model_construct(**dict(Settings.model_construct()), system=system)
    told = settings_told(settings)["system.json"]
    assert told["Dcm4cheOptions"] == {
        "storescp": ["--key-store-pass", "(not shown)", "--key-pass=(not shown)", "--tls-aes"]
    }
    assert told["SrcAet"] == "A@b:1"
    assert is_default("StartHour", told["StartHour"])
    assert not is_default("SrcAet", told["SrcAet"])
