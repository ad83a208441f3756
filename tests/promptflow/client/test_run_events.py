import pytest

from promptflow.client import PFClient
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from tests.fake_model import Reply, model_server
from tests.promptflow import flowkit

__all__ = ["model_server"]

ASK = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${ask.output}"}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  connection: busy
  api: chat
  inputs: {model: m, x: "${inputs.x}"}
"""
SLOW = """
import time
from promptflow.core import tool

@tool
def echo(x: str):
    time.sleep(0.7)
    return f"<{x}>"
"""


def test_a_run_tells_of_its_begin_and_end(workspace: Workspace, echo, data):
    client = PFClient(workspace=workspace)
    run = client.run(flow=echo, data=data("1", "bad", "3"))
    began, ended = workspace.events.list(kind="run.", subject=run.name)
    assert (began.kind, began.payload) == ("run.started", {"total": 3})
    assert ended.kind == "run.ended"
    assert {**ended.payload, "nodes": {}}.items() >= {
        "status": "Completed", "total": 3, "completed": 2, "failed": 1, "reused": 0, "cached_nodes": 0
    }.items()  # fmt: skip
    assert (ended.payload["nodes"]["a"]["completed"], ended.payload["nodes"]["a"]["failed"]) == (2, 1)


def test_a_run_tells_of_its_progress_at_most_once_a_second(client, echo, data):
    (echo / "a.py").write_text(SLOW)
    client.run(flow=echo, data=data("1", "2", "3", "4"), concurrency=1)
    events = Workspace.open().events.list(kind="run.progress")
    assert [event.payload["status"] for event in events][:2] == ["Running"] * 2
    assert len(events) <= 3
    assert events[0].payload["completed"] == 1
    assert events[0].payload["seconds_left"] > 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_tells_how_often_a_model_had_too_much_to_do(client, folder, data, model_server, monkeypatch, workers):
    monkeypatch.setenv("BUSY_API_KEY", "k")
    monkeypatch.setenv("BUSY_BASE_URL", model_server.base_url)
    flow = flowkit.dag(folder / "asking", ASK, ask_jinja2="user:\n{{x}}\n")
    model_server.script(*[Reply.error(429, headers={"Retry-After": "0.01"})] * 3)
    run = client.run(flow=flow, data=data("1", "2"), workers=workers)
    *_, ended = Workspace.open().events.list(subject=run.name)
    assert (ended.payload["completed"], ended.payload["throttled_calls"]) == (2, 3)


def test_a_run_that_fails_before_its_lines_tells_its_end(client, echo, data, folder):
    (folder / "data.jsonl").write_text("{bad\n")
    run = client.run(flow=echo, data=folder / "data.jsonl")
    assert [(e.kind, e.payload) for e in Workspace.open().events.list(subject=run.name)] == [
        ("run.ended", {"status": "Failed"})
    ]


def test_a_run_that_is_refused_tells_nothing(client, echo, data):
    with pytest.raises(UserErrorException):
        client.run(flow=echo, data=data("1"), name="a/b")
    assert Workspace.open().events.list() == []
