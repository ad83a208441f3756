"""What runs measured with a model, on its card."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.own_results import own_results
from promptflow.client import PFClient
from promptflow.connections import OpenAIConnection
from promptflow.workspace import Workspace
from tests.fake_model import ModelServer, model_server

__all__ = ["model_server"]

FLOW = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${ask.output}"}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  connection: fake
  api: chat
  inputs: {model: acme/small, x: "${inputs.x}"}
"""
EVALUATION = """
inputs:
  o: {type: string}
outputs:
  s: {type: string, reference: "${same.output}"}
nodes:
- name: same
  type: python
  source: {type: code, path: same.py}
  inputs: {o: "${inputs.o}"}
- name: mean
  type: python
  source: {type: code, path: mean.py}
  aggregation: true
  inputs: {o: "${same.output}"}
"""
SAME = "from promptflow.core import tool\n@tool\ndef same(o: str):\n    return o\n"
MEAN = "from promptflow.core import log_metric, tool\n@tool\ndef mean(o: list):\n    log_metric('f1', 0.5)\n"


@pytest.mark.parametrize(("model", "found"), [("acme/small", True), ("acme/sma", False), ("acme/other", False)])
def test_the_metrics_of_an_evaluation_are_the_models(
    tmp_path: Path, home: Path, model_server: ModelServer, model: str, found: bool
) -> None:
    flow, evaluation = tmp_path / "flow", tmp_path / "evaluation"
    for folder, text in ((flow, FLOW), (evaluation, EVALUATION)):
        folder.mkdir()
        (folder / "flow.dag.yaml").write_text(text)
    (flow / "ask.jinja2").write_text("user:\n{{x}}\n")
    (evaluation / "same.py").write_text(SAME)
    (evaluation / "mean.py").write_text(MEAN)
    (tmp_path / "data.jsonl").write_text('{"x": "hi"}\n')
    client = PFClient()
    client.connections.create_or_update(OpenAIConnection("k", base_url=model_server.base_url, name="fake"))
    client.run(flow, data=tmp_path / "data.jsonl", name="base", column_mapping={"x": "${data.x}"})
    client.run(evaluation, run="base", name="judged", column_mapping={"o": "${run.outputs.o}"})
    with Workspace.open(home) as workspace:
        results = own_results(workspace, model)
    assert [(r.run, r.evaluates, r.metrics) for r in results] == ([("judged", "base", {"f1": 0.5})] if found else [])


def test_on_every_database(home: Path, database_url: str) -> None:
    with Workspace.open(home, database_url) as workspace:
        spans = [
            {"trace_id": f"t{n}", "span_id": "s", "name": "call", "kind": "LLM", "start_ns": n, "run": f"r{n}", "events": [],
             "attributes": {"llm.response.model": name}}
            for n, name in enumerate(["acme/small", "acme/small@tone", "acme/smaller", "acme/small:3@tone:1"])
        ]  # fmt: skip
        workspace.store.put_many("spans", spans)
        for n in range(4):
            row = {
                "name": f"r{n}",
                "kind": "batch",
                "status": "Completed",
                "created": f"2026-01-0{n + 1}",
                "archived": False,
            }
            properties = {"system_metrics": {"acc": 0.5}}
            workspace.store.put(
                "runs", {**row, "record": {"properties": properties, "output_path": "/nowhere"}, "parent": None}
            )
        assert [result.run for result in own_results(workspace, "acme/small")] == ["r3", "r1", "r0"]
