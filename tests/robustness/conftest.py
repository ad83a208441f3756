"""Bad input as users bring it: small flows, and `pf` in this process (`pf`) or in one of its own (`spawn`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from promptflow.cli.main import main
from tests.fake_model import model_server

__all__ = ["model_server"]

PYTHON_NODE = """inputs:
  x: {{type: string}}
outputs:
  o: {{type: string, reference: '${{a.output}}'}}
nodes:
- name: a
  type: python
  source: {{type: code, path: a.py}}
  inputs: {{x: '${{inputs.x}}'}}
{more}"""
TOOL = """import os, sys, time
from promptflow.core import tool

@tool
def a(x):
    {body}
"""
_SPAWN_SECONDS = 60


@dataclass(frozen=True)
class Told:
    """What one command line said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def is_clear_error(self, *words: str) -> bool:
        """One error, with all of these words, told without a traceback and without blaming promptflow."""
        assert self.code in (1, 2), self
        assert self.err.startswith("error: "), self
        assert "Traceback" not in self.err and "fault in promptflow" not in self.err, self
        missing = [word for word in words if word not in self.err]
        assert not missing, f"{missing} not in\n{self.err}"
        return True


Pf = Callable[..., Told]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory; without the variables that change how `pf` speaks."""
    for name in ("PF_COMPAT", "NO_COLOR", "FORCE_COLOR", "PF_LOGGING_LEVEL", "PROMPTFLOW_STRUCTURE_EXCEPTION_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pf(capsys: pytest.CaptureFixture[str]) -> Pf:
    """Run one command line in this process."""

    def run(*words: str | Path) -> Told:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Told(code, *capsys.readouterr())

    return run


@pytest.fixture
def spawn(folder: Path) -> Pf:
    """Run one command line in a process of its own; keywords are environment variables."""

    def run(*words: str | Path, **variables: str) -> Told:
        done = subprocess.run(
            command(*words), cwd=folder, env={**os.environ, **variables}, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=_SPAWN_SECONDS,
        )  # fmt: skip
        return Told(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def command(*words: str | Path) -> list[str]:
    """The words that start `pf` with this Python."""
    return [sys.executable, "-m", "promptflow.cli.main", *map(str, words)]


def flow(folder: Path, body: str = "return x", *, more: str = "") -> Path:
    """A flow of one Python node, whose function has this body; ``more`` are further keys of the node or flow."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flow.dag.yaml").write_text(PYTHON_NODE.format(more=more), encoding="utf-8")
    (folder / "a.py").write_text(TOOL.format(body=body.replace("\n", "\n    ")), encoding="utf-8")
    return folder


def llm_flow(folder: Path, template: str, *, inputs: str = "", connection: str = "oa") -> Path:
    """A flow of one LLM node, which gets its input ``q``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "p.jinja2").write_text(template, encoding="utf-8")
    (folder / "flow.dag.yaml").write_text(
        "inputs:\n  q: {type: string}\noutputs:\n  o: {type: string, reference: '${a.output}'}\nnodes:\n"
        "- name: a\n  type: llm\n  source: {type: code, path: p.jinja2}\n"
        f"  inputs: {{model: m, q: '${{inputs.q}}'{inputs}}}\n  connection: {connection}\n  api: chat\n",
        encoding="utf-8",
    )
    return folder


def rows(file: Path, *values: Any) -> Path:
    """A jsonl file of rows ``{"x": value}``."""
    file.write_text("".join(json.dumps({"x": value}) + "\n" for value in values), encoding="utf-8")
    return file


def run_folder(home: Path, name: str) -> Path:
    return home / ".runs" / name


def outputs(home: Path, name: str) -> list[dict[str, Any]]:
    """The outputs that a run kept."""
    text = (run_folder(home, name) / "outputs.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]
