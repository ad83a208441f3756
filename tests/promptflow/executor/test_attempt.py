"""What a batch adds to a line: node results that are known already, and word of every node that ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptflow.contracts.run import RunInfo, Status
from promptflow.executor.line import Attempt
from tests.promptflow.flowkit import dag, load

CODE = """
from promptflow.core import tool
@tool
def one(x: str) -> str:
    return x + "1"
"""
MORE = """
from promptflow.core import tool
@tool
def two(x: str) -> str:
    if x == "bad1":
        raise ValueError("no")
    return x + "2"
"""
FLOW = """
inputs: {x: {type: string}}
outputs: {o: {type: string, reference: "${two.output}"}}
nodes:
- {name: one, type: python, source: {type: code, path: one.py}, inputs: {x: "${inputs.x}"}}
- {name: two, type: python, source: {type: code, path: two.py}, inputs: {x: "${one.output}"}}
"""


@pytest.fixture
def executor(tmp_path: Path):
    return load(dag(tmp_path, FLOW, one_py=CODE, two_py=MORE))


def test_every_node_is_told_as_it_ends(executor) -> None:
    told: list[RunInfo] = []
    executor.run_line({"x": "a"}, index=0, run_id="r", attempt=Attempt(ended=told.append))
    executor.run_line({"x": "bad"}, index=1, run_id="r", attempt=Attempt(ended=told.append))
    assert [(i.index, i.node, i.status) for i in told] == [
        (0, "one", Status.Completed),
        (0, "two", Status.Completed),
        (1, "one", Status.Completed),
        (1, "two", Status.Failed),
    ]


def test_a_known_node_is_not_run_again(executor) -> None:
    first = executor.run_line({"x": "a"}, index=0, run_id="r")
    known = first.node_run_infos["one"]
    known.output = "kept"
    told: list[RunInfo] = []
    again = executor.run_line({"x": "a"}, index=0, run_id="r", attempt=Attempt(known={"one": known}, ended=told.append))
    assert again.output == {"o": "kept2"}
    assert again.node_run_infos["one"] is known
    assert [info.node for info in told] == ["two"]
