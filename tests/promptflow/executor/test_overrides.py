from __future__ import annotations

from pathlib import Path

import pytest

from promptflow.contracts.flow_yaml import load_flow_file
from promptflow.exceptions import OverrideError
from promptflow.executor.loader import load_executor
from promptflow.executor.overrides import node_overrides
from tests.promptflow import flowkit

FLOW = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${b.output}"}
nodes:
- {name: a, type: python, source: {type: code, path: echo.py}, inputs: {x: "${inputs.x}"}}
- {name: b, type: python, source: {type: code, path: echo.py}, inputs: {x: "${a.output}"}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return flowkit.dag(tmp_path / "f", FLOW)


@pytest.mark.parametrize(
    "path", ["nodes[b].inputs.x", "nodes['b'].inputs.x", "nodes[1].inputs.x", "nodes.b.inputs.x", "nodes.b.x", "b.x"]
)
def test_a_node_has_several_spellings(folder: Path, path: str) -> None:
    assert node_overrides(load_flow_file(folder / "flow.dag.yaml"), {path: 1}) == {"b.x": 1}
    executor = load_executor(folder, overrides={path: "${inputs.x}?"})
    assert executor.run_line({"x": "one"}).output == {"o": "${inputs.x}?"}


def test_a_reference_stays_one(folder: Path) -> None:
    executor = load_executor(folder, overrides={"nodes[b].inputs.x": "${inputs.x}"})
    assert executor.run_line({"x": "one"}).output == {"o": "one"}


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("nodes[c].inputs.x", "no node 'c'", "nodes: a, b"),
        ("nodes[2].inputs.x", "has 2 nodes", ""),
        ("nodes[b].inputs.x.y", "no input 'x.y'", "x"),
        ("nodes[b]", "no path to an input", "nodes[NAME].inputs.INPUT=value"),
        ("nodes[].inputs.x", "no path to an input", "nodes[NAME].inputs.INPUT=value"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, path: str, message: str, hint: str) -> None:
    with pytest.raises(OverrideError, match=message.replace("[", r"\[")) as raised:
        load_executor(folder, overrides={path: 1})
    assert hint in raised.value.hint
