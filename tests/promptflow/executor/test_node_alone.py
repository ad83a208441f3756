"""One node on its own, and nodes that fail together."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.promptflow.flowkit import dag, load, run

CONDITIONAL = """
inputs: {x: {type: string}, y: {type: string}}
outputs: {}
nodes:
- {name: a, type: python, source: {type: code, path: echo.py}, inputs: {x: "${inputs.x}"}, activate: {when: "${inputs.y}", is: go}}
"""
TWO_FAILURES = """
inputs: {}
outputs: {}
nodes:
- {name: a, type: python, source: {type: code, path: fails.py}}
- {name: b, type: python, source: {type: code, path: fails.py}}
"""
FAILS = """
from promptflow.core import tool

@tool
async def fails():
    raise ValueError("no")
"""


def test_a_node_that_is_tested_alone_runs_whatever_its_condition(tmp_path: Path) -> None:
    result = load(dag(tmp_path, CONDITIONAL)).run_node("a", {"x": "hello"})
    assert result.output == "hello"


def test_of_two_nodes_that_fail_at_once_none_is_left_unheard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Exception, match="no"):
        run(dag(tmp_path, TWO_FAILURES, fails_py=FAILS))
    gc.collect()
    assert "never retrieved" not in caplog.text
