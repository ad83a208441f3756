"""schemathesis finds no 5xx in a served flow."""

from __future__ import annotations

import httpx
import pytest

from promptflow.serving.app import create_app
from promptflow.serving.options import ServeOptions
from tests.fuzzing import find_no_5xx, needs_schemathesis
from tests.promptflow.serving.conftest import running

FLOW = """
inputs:
  text: {type: string}
  count: {type: int, default: 2}
  share: {type: double, default: 0.5}
  sure: {type: bool, default: true}
  items: {type: list, default: []}
  more: {type: object, default: {}}
outputs:
  all: {type: object, reference: "${gather.output}"}
nodes:
- name: gather
  type: python
  source: {type: code, path: gather.py}
  inputs:
    text: ${inputs.text}
    count: ${inputs.count}
    share: ${inputs.share}
    sure: ${inputs.sure}
    items: ${inputs.items}
    more: ${inputs.more}
"""
GATHER = """
from promptflow.core import tool

@tool
def gather(text: str, count: int, share: float, sure: bool, items: list, more: dict):
    return {"text": text, "count": count, "share": share, "sure": sure, "items": items, "more": more}
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_schemathesis
def test_in_a_flow_with_inputs_of_all_types(tmp_path):
    flow = tmp_path / "flow"
    flow.mkdir()
    (flow / "flow.dag.yaml").write_text(FLOW)
    (flow / "gather.py").write_text(GATHER)
    with running(create_app(ServeOptions(str(flow)))) as url:
        find_no_5xx(tmp_path / "found", httpx.get(f"{url}/swagger.json").json(), url)
        assert httpx.post(f"{url}/score", json={"text": "still here"}).status_code == 200
