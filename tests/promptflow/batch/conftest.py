from pathlib import Path
from textwrap import dedent

import pytest

from tests.promptflow import flowkit

YAML = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${node.output}"}
nodes:
- name: node
  type: python
  source: {type: code, path: node.py}
  inputs: {x: "${inputs.x}"}
"""


@pytest.fixture
def executor_of(tmp_path: Path):
    """Loads a one-node flow with input ``x``, whose node is the given code."""

    def load(code: str):
        node = "from promptflow.core import tool\n" + dedent(code)
        return flowkit.load(flowkit.dag(tmp_path / "flow", YAML, node_py=node))

    return load
