"""The manifest for Kubernetes: valid by the published schemas, and its parts agree with each other and the suite."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from niffler.settings_files import read_settings
from niffler.shards import Shard, shard_of_engine
from tests.extraction import ROOT

MANIFEST = ROOT / "deploy" / "kubernetes" / "job.yaml"
VERSIONS = ("1.31", "1.34")


def resources(kind: str = "") -> list[dict[str, Any]]:
    with MANIFEST.open() as stream:
        return [one for one in yaml.safe_load_all(stream) if kind in ("", one["kind"])]


def job() -> dict[str, Any]:
    [found] = resources("Job")
    return dict(found["spec"])


def container() -> dict[str, Any]:
    [found] = job()["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_keeps_the_published_schema(version: str) -> None:
    for resource in resources():
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_schema_would_find_a_slip() -> None:
    slip = resources("Job")[0]
    slip["spec"]["completionMod"] = slip["spec"].pop("completionMode")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(slip, VERSIONS[0], strict=True)


def test_each_completion_is_a_shard_that_has_a_service_of_its_own() -> None:
    count = job()["completions"]
    variables = {one["name"]: one["value"] for one in container()["env"]}
    shards = [shard_of_engine({**variables, "JOB_COMPLETION_INDEX": str(index)}) for index in range(count)]
    assert shards == [Shard(number, count) for number in range(1, count + 1)]
    assert job()["parallelism"] <= count
    labels = job()["template"]["metadata"]["labels"]
    chosen = []
    for service in resources("Service"):
        selector = dict(service["spec"]["selector"])
        chosen.append(int(selector.pop("batch.kubernetes.io/job-completion-index")))
        assert selector.items() <= labels.items()
        assert service["metadata"]["name"] == f"niffler-{chosen[-1] + 1}"
    assert chosen == list(range(count))


def test_the_settings_that_it_names_are_those_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = re.findall(r'"(\w+)": "([^"]*\{shard\}[^"]*)"', MANIFEST.read_text())
    given = dict(named) | {"SrcAet": "PACS@pacs.example:104"}
    config = {"CsvFile": str(tmp_path / "list.csv"), "StorageFolder": str(tmp_path / given.pop("StorageFolder")[1:])}
    (tmp_path / "list.csv").write_text("EMPI\n1\n")
    (tmp_path / "system.json").write_text(json.dumps(given))
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    monkeypatch.setenv("NIFFLER_SHARDS", "3")
    settings = read_settings([], beside=tmp_path)
    assert str(settings.system.query_aet) == "NIFFLER3:4243"
    assert settings.system.dest_aet == "NIFFLER3"
    assert settings.storage_folder == tmp_path / "opt" / "data" / "new-study" / "3"
    assert settings.receives_here
    assert container()["ports"] == [{"name": "dicom", "containerPort": settings.system.query_aet.port}]


def test_volumes_and_claims_are_there_and_what_ends_a_shard_is_told_by_its_exit_code() -> None:
    pod = job()["template"]["spec"]
    assert {mount["name"] for mount in container()["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    claimed = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "secret" not in volume]
    assert claimed == [claim["metadata"]["name"] for claim in resources("PersistentVolumeClaim")]
    [final] = [rule["onExitCodes"] for rule in job()["podFailurePolicy"]["rules"] if rule["action"] == "FailIndex"]
    assert (final["containerName"], final["values"]) == (container()["name"], [1, 2])
