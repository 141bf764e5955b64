"""Fault tests: everything that goes wrong on a long night, and what is promised all the same."""

import pytest

pytest.register_assert_rewrite("tests.faults.scenarios", "tests.faults.stage")
