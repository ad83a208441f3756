"""Flows and data that the tests of `pf` run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from promptflow.cli.main import main

DAG = """inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: '${a.output}'}
nodes:
- name: a
  type: python
  source: {type: code, path: a.py}
  inputs:
    x: ${inputs.x}
"""
TOOL = """from promptflow.core import tool

print("module loaded")

@tool
def echo(x: str):
    print("noise on stdout")
    if x == "bad":
        raise ValueError("a bad row")
    return "<" + x + ">"
"""
Pf = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the flow `f`, the data `good.jsonl` and `bad.jsonl`; it is the working directory."""
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "flow.dag.yaml").write_text(DAG, encoding="utf-8")
    (tmp_path / "f" / "a.py").write_text(TOOL, encoding="utf-8")
    rows(tmp_path / "good.jsonl", "one", "two", "three")
    rows(tmp_path / "bad.jsonl", "one", "bad", "three", "four")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(file: Path, *values: str) -> None:
    file.write_text("".join(json.dumps({"x": value}) + "\n" for value in values), encoding="utf-8")


@pytest.fixture
def pf(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pf:
    """Run one command line in this process: (exit code, stdout, stderr)."""
    for name in ("PF_COMPAT", "NO_COLOR", "FORCE_COLOR", "PF_LOGGING_LEVEL", "PROMPTFLOW_STRUCTURE_EXCEPTION_OUTPUT"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return run
