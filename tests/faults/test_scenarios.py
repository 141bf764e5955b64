"""Everything in the table of scenarios is played or shown by a test that exists; the promises hold."""

import ast
from pathlib import Path

import pytest

from tests.extraction import ROOT
from tests.faults.promises import PROMISES
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.stage import staged


@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one.play], ids=lambda scenario: scenario.name)
def test_the_promises_hold(tmp_path: Path, scenario: Scenario) -> None:
    assert scenario.play is not None
    if reason := scenario.lacks(tmp_path):
        pytest.skip(reason)
    with staged(tmp_path) as stage:
        scenario.play(stage)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_is_played_or_shown_by_tests_that_exist(scenario: Scenario) -> None:
    assert scenario.play or scenario.shown_by
    assert set(scenario.promises.split()) <= set(PROMISES)
    for name in scenario.shown_by:
        file, _, test = name.partition("::")
        functions = [node.name for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
                     if isinstance(node, ast.FunctionDef)]  # fmt: skip
        assert test in functions, name
