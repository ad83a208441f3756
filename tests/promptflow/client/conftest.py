import json
from pathlib import Path

import pytest

from promptflow.client import PFClient
from tests.promptflow import flowkit

ECHO_FLOW = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${a.output}"}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}"}}
"""
ECHO = """
from promptflow.core import tool

@tool
def echo(x: str):
    if x == "bad":
        raise ValueError("bad row")
    return f"<{x}>"
"""
EVALUATION_FLOW = """
inputs:
  answer: {type: string}
  truth: {type: string}
outputs:
  grade: {type: string, reference: "${grade.output}"}
nodes:
- name: grade
  type: python
  source: {type: code, path: grade.py}
  inputs: {answer: "${inputs.answer}", truth: "${inputs.truth}"}
- name: total
  type: python
  source: {type: code, path: total.py}
  aggregation: true
  inputs: {grades: "${grade.output}"}
"""
GRADE = """
from promptflow.core import tool

@tool
def grade(answer: str, truth: str):
    return "ok" if truth in answer else "no"
"""
TOTAL = """
from promptflow.core import log_metric, tool

@tool
def total(grades: list):
    log_metric("accuracy", grades.count("ok") / max(1, len(grades)))
    log_metric("rows", len(grades))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PF_WORKER_COUNT", "2")
    return tmp_path


@pytest.fixture
def client(folder: Path) -> PFClient:
    return PFClient()


@pytest.fixture
def echo(folder: Path) -> Path:
    return flowkit.dag(folder / "echo", ECHO_FLOW, a_py=ECHO)


@pytest.fixture
def evaluation(folder: Path) -> Path:
    return flowkit.dag(folder / "evaluate", EVALUATION_FLOW, grade_py=GRADE, total_py=TOTAL)


@pytest.fixture
def data(folder: Path):
    """Writes rows to a jsonl file; strings are values of ``x``."""

    def write(*rows, name: str = "data.jsonl") -> Path:
        lines = (json.dumps(row if isinstance(row, dict) else {"x": row}) for row in rows)
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
        return folder / name

    return write
