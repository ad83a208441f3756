"""Runs that reuse what nodes of earlier runs gave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptflow.client import PFClient
from promptflow.connections import OpenAIConnection
from promptflow.exceptions import ValidationException
from tests.fake_model import ModelServer, model_server
from tests.promptflow import flowkit

__all__ = ["model_server"]

FLOW = """
inputs: {x: {type: string}}
outputs: {o: {type: string, reference: "${second.output}"}}
nodes:
- {name: first, type: llm, source: {type: code, path: first.jinja2}, connection: mine, api: chat,
   inputs: {model: m, temperature: 0, x: "${inputs.x}"}}
- {name: second, type: llm, source: {type: code, path: second.jinja2}, connection: mine, api: chat,
   inputs: {model: m, temperature: 0, x: "${first.output}"}}
"""
ROWS = 12


@pytest.fixture
def flow(client: PFClient, folder: Path, model_server: ModelServer) -> Path:
    client.connections.create_or_update(OpenAIConnection(name="mine", api_key="k", base_url=model_server.base_url))
    flow = flowkit.dag(folder / "flow", FLOW)
    (flow / "first.jinja2").write_text("user:\n1 {{x}}\n")
    (flow / "second.jinja2").write_text("user:\n2 {{x}}\n")
    (folder / "rows.jsonl").write_text("".join(json.dumps({"x": f"row {n}"}) + "\n" for n in range(ROWS)))
    return flow


def outputs(run) -> list[str]:
    rows = map(json.loads, (run.folder.path / "outputs.jsonl").read_text().splitlines())
    return [row["o"] for row in rows]


@pytest.mark.parametrize("options", [{}, {"workers": 2}], ids=["here", "workers"])
def test_a_run_again_makes_no_call(client: PFClient, flow: Path, model_server: ModelServer, options) -> None:
    first = client.run(flow, data="rows.jsonl", **options)
    assert len(model_server.requests) == 2 * ROWS
    again = client.run(flow, data="rows.jsonl", **options)
    assert len(model_server.requests) == 2 * ROWS
    assert outputs(again) == outputs(first) == [f"2 1 row {n}" for n in range(ROWS)]
    metrics = again._properties["system_metrics"]
    assert metrics["__pf__.nodes.second.cached"] == metrics["__pf__.nodes.second.completed"] == ROWS
    assert metrics["total_tokens"] == 0
    (flow / "second.jinja2").write_text("user:\nzwei {{x}}\n")
    edited = client.run(flow, data="rows.jsonl", **options)
    assert len(model_server.requests) == 3 * ROWS
    assert outputs(edited)[0] == "zwei 1 row 0"
    records = [nodes["first"] for _, nodes in edited.folder.lines_with_nodes()]
    assert {record["cached_flow_run_id"] for record in records} == {first.name}


def test_a_flow_that_is_tested_asks_unless_told_otherwise(
    client: PFClient, flow: Path, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        client.flows.test(flow, inputs={"x": "a"})
    assert len(model_server.requests) == 4
    for _ in range(2):
        client.flows.test(flow, inputs={"x": "a"}, cache="auto")
    assert len(model_server.requests) == 6
    assert client.flows.test(flow, inputs={"x": "2"}, node="second", cache="auto") == "2 2"
    monkeypatch.setenv("PF_CACHE", "auto")
    client.flows.test(flow, inputs={"x": "a"})
    client.flows.test(flow, inputs={"x": "2"}, node="second")
    assert len(model_server.requests) == 7


def test_looking_and_making_room(client: PFClient, flow: Path, model_server: ModelServer) -> None:
    assert client.cache.stats()["entries"] == 0
    assert client.cache.list() == []
    run = client.run(flow, data="rows.jsonl")
    stats = client.cache.stats()
    assert (stats["entries"], stats["nodes"], stats["max_size"]) == (2 * ROWS, 2, 10**9)
    entries = client.cache.list("second", max_results=5)
    assert len(entries) == 5
    assert {(entry["node"], entry["run"]) for entry in entries} == {("second", run.name)}
    assert entries[0]["made"].endswith("+00:00")
    assert client.cache.prune("1GB") == 0
    with pytest.raises(ValidationException, match="a lot"):
        client.cache.prune("a lot")
    assert client.cache.prune(0) == 2 * ROWS
    client.cache.clear()
    client.run(flow, data="rows.jsonl")
    assert len(model_server.requests) == 4 * ROWS


def test_the_size_is_a_setting(client: PFClient, flow: Path) -> None:
    client.workspace.settings.set("cache.max_size", "2MB")
    assert client.cache.stats()["max_size"] == 2_000_000
    client.workspace.settings.set("cache.max_size", "much")
    with pytest.raises(ValidationException, match="much"):
        client.cache.stats()


def test_a_damaged_cache_never_fails_a_line(client: PFClient, flow: Path, model_server: ModelServer) -> None:
    client.run(flow, data="rows.jsonl")
    file = Path(client.cache.stats()["file"])
    file.write_bytes(b"\0" * 3 + file.read_bytes()[3:])
    run = client.run(flow, data="rows.jsonl")
    assert (run.status, len(outputs(run)), len(model_server.requests)) == ("Completed", ROWS, 4 * ROWS)
    assert run.folder.log().count("The node cache") == 1
