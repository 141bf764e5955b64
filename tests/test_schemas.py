"""The JSON Schemas of the settings: current, kept by the files that come with the suite, as strict as the settings."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from niffler.schemas import FOLDER, schemas, write_schemas
from niffler.settings import ExtractionSettings, SystemSettings
from tests.extraction import ROOT

SHIPPED = [path for folder in (".", "demo", "demo/docker") for path in sorted((ROOT / folder).glob("*.json"))]
SYSTEM = {"SrcAet": "PACS@pacs.example:104", "QueryAet": "ME:4243", "DestAet": "ME"}


def validator(name: str) -> Draft7Validator:
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def faults(name: str, settings: dict[str, Any]) -> list[str]:
    """Where the schema finds a fault: the key, or nothing for the file as a whole."""
    return ["/".join(map(str, error.path)) for error in validator(name).iter_errors(settings)]


def test_the_schemas_are_current_after_make_schemas(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    shipped = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert shipped == made, "run: make schemas"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_that_come_with_the_suite_refer_to_their_schema_and_keep_it(path: Path) -> None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    schema = (path.parent / settings["$schema"]).resolve()
    assert schema == FOLDER / f"{path.stem}.schema.json"
    assert faults(path.stem, settings) == []


@pytest.mark.parametrize(("name", "model"), [("system", SystemSettings), ("config", ExtractionSettings)])
def test_every_key_is_described_with_its_default(name: str, model: type[SystemSettings | ExtractionSettings]) -> None:
    keys = json.loads(schemas()[f"{name}.schema.json"])["properties"]
    assert set(keys) == {"$schema", *(str(field.alias) for field in model.model_fields.values())}
    for field in model.model_fields.values():
        described = keys[field.alias]
        assert described["description"] == field.description
        assert ("default" in described) is not field.is_required()


@pytest.mark.parametrize("flag", [True, False, 0, 1, "true", "False", "YES", "no", "1", "0"])
def test_true_and_false_may_be_words_in_the_schemas_too(flag: object) -> None:
    assert faults("system", {**SYSTEM, "NightlyOnly": flag}) == []
    SystemSettings.model_validate({**SYSTEM, "NightlyOnly": flag})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NightlyOnly", "perhaps"), ("NightlyOnly", 2), ("StartHour", 24), ("StartHour", 7.5), ("GiveUpMinutes", 0),
        ("ParallelRetrievals", 65), ("InformationModel", "ImageRoot"), ("SrcAet", "PACS:104"),
        ("SrcAet", "PACS@host"), ("QueryAet", "ME@host:4243"), ("QueryAet", "ME"), ("DestAet", "A_TITLE_THAT_IS_LONG"),
        ("AcceptedCallingAets", "PACS"), ("Dcm4cheOptions", {"echoscu": []}), ("Dcm4cheOptions", {"findscu": "--tls"}),
        ("NightlyOnyl", True), ("DCM4CHEBin", ""),
    ],
)  # fmt: skip
def test_what_the_schema_refuses_the_settings_refuse(key: str, value: object) -> None:
    settings = {**SYSTEM, key: value}
    [place] = faults("system", settings)
    assert place.partition("/")[0] in (key, ""), "an unknown key is a fault of the file"
    with pytest.raises(ValueError, match=key):
        SystemSettings.model_validate(settings)


def test_a_key_of_the_command_line_alone_is_none_of_the_file() -> None:
    assert faults("config", {"DryRun": True}) == [""]


def test_the_machine_has_to_be_described() -> None:
    [fault] = validator("system").iter_errors({key: value for key, value in SYSTEM.items() if key != "DestAet"})
    assert "'DestAet' is a required property" in fault.message
