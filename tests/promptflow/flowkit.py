"""Small flows for tests: files written to a folder, loaded and run through the front door."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from promptflow.contracts.flow_yaml import load_flow_file
from promptflow.exceptions import ConnectionNotFoundError
from promptflow.executor.flow import DagExecutor

ECHO = """
from promptflow.core import tool

@tool
def echo(**values):
    return values.get("x", values)
"""


def write(folder: Path, **files: str) -> Path:
    """Write files (``a_py`` is ``a.py``, ``flow_dag_yaml`` is ``flow.dag.yaml``) and give the folder back."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        file = folder / name.replace("_", ".")
        file.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return folder


def dag(folder: Path, yaml: str, **files: str) -> Path:
    """A DAG flow; nodes may use ``echo.py`` without writing it."""
    return write(folder, flow_dag_yaml=yaml, echo_py=ECHO, **files)


def no_connection(name: str) -> Any:
    raise ConnectionNotFoundError(f"Connection '{name}' is not found.")


def load(folder: Path, variant: str | None = None, connections: Any = no_connection) -> DagExecutor:
    """The flow of a folder, ready to run, without a workspace."""
    flow = load_flow_file(folder / "flow.dag.yaml").with_variant(variant)
    return DagExecutor(flow, connections, load)


def run(folder: Path, **inputs: Any) -> Any:
    """The outputs of one line; a failed line raises its error."""
    executor = load(folder)
    with executor.activated():
        result = executor.run_line(inputs)
    if result.exception is not None:
        raise result.exception
    return result.output
