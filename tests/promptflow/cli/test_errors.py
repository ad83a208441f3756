from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.promptflow.cli.conftest import Pf

BROKEN = """inputs:
  x: {type: strnig}
outputs:
  o: {type: string, reference: '${b.output}'}
nodes:
- name: a
  type: python
  source: {type: code, path: a.py}
  inputs: {x: '${inputs.y}'}
"""


@pytest.fixture
def broken(project: Path) -> Path:
    (project / "f" / "flow.dag.yaml").write_text(BROKEN, encoding="utf-8")
    return project


def test_an_error_is_what_where_and_what_to_do(pf: Pf, broken: Path) -> None:
    code, out, err = pf("flow", "test", "--flow", "f")
    assert code == 1
    assert out == ""
    first, where, hint = err.splitlines()[:3]
    assert first == "error: inputs.x has the unknown type 'strnig'."
    assert where.startswith("  at ") and ":2:" in where
    assert hint == "  hint: did you mean string?"


def test_the_traceback_only_with_debug(pf: Pf, broken: Path) -> None:
    assert "Traceback" not in pf("flow", "test", "--flow", "f")[2]
    assert "Traceback" in pf("flow", "test", "--flow", "f", "--debug")[2]


@pytest.mark.parametrize("words", [["run", "show", "-n", "none", "-o", "json"], ["run", "shwo", "-o", "json"]])
def test_with_json_an_error_is_json_on_stderr(pf: Pf, words: list[str]) -> None:
    code, out, err = pf(*words)
    assert code in (1, 2)
    assert out == ""
    assert set(json.loads(err)) >= {"error", "location", "hint"}


def test_json_errors_name_every_problem_of_a_file(pf: Pf, broken: Path) -> None:
    problems = json.loads(pf("flow", "test", "--flow", "f", "-o", "json")[2])["problems"]
    assert problems[0]["location"].split(" ")[0].endswith("flow.dag.yaml:2:7")


def test_the_structured_errors_of_promptflow_1(pf: Pf, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTFLOW_STRUCTURE_EXCEPTION_OUTPUT", "true")
    error = json.loads(pf("flow", "test", "--flow", "nowhere")[2])
    assert error["code"] == "UserError"
    assert error["command"] == "pf flow test --flow nowhere"
    assert "debugInfo" in error


def test_the_error_of_a_tool_points_into_the_tool(pf: Pf, project: Path) -> None:
    code, out, err = pf("flow", "test", "--flow", "f", "--inputs", "x=bad")
    assert code == 1
    assert "ValueError" in err
    assert f"  at {project / 'f' / 'a.py'}:9" in err.splitlines()


def test_a_fault_of_ours_says_that_it_is_one(pf: Pf, monkeypatch: pytest.MonkeyPatch) -> None:
    # A command table that names a module which is not there is such a fault.
    from promptflow.cli.commands import COMMANDS, Verb

    monkeypatch.setitem(COMMANDS, "broken", Verb("promptflow.cli.not_there:X", ""))
    code, out, err = pf("broken")
    assert code == 1
    assert "fault in promptflow itself" in err
