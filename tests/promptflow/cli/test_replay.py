from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fake_model import ModelServer, model_server
from tests.promptflow.cli.conftest import Pf

__all__ = ["model_server"]

FLOW = """inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: '${ask.output}'}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  connection: mine
  api: chat
  inputs: {model: m, temperature: 0, x: '${inputs.x}'}
"""
PROMPTY = """---
model:
  configuration: {type: openai, model: m, connection: mine}
inputs:
  x: {type: string}
---
user:
{{x}}
"""
FLEX = """import json
import urllib.request

from promptflow.client import PFClient


def main(x: str) -> str:
    mine = PFClient().connections.get("mine", with_secrets=True)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": x}]}).encode()
    request = urllib.request.Request(mine.base_url + "/chat/completions", body)
    with urllib.request.urlopen(request) as response:
        return json.load(response)["choices"][0]["message"]["content"]
"""


@pytest.fixture
def asking(project: Path, pf: Pf, model_server: ModelServer) -> Path:
    """A flow that asks a model through the connection `mine`."""
    (project / "f" / "flow.dag.yaml").write_text(FLOW)
    (project / "f" / "ask.jinja2").write_text("user:\n{{x}}\n")
    connection = f"name: mine\ntype: open_ai\napi_key: sk-a-key-of-many-letters\nbase_url: {model_server.base_url}\n"
    (project / "mine.yaml").write_text(connection)
    assert pf("connection", "create", "-f", "mine.yaml")[0] == 0
    return project


def test_a_recorded_run_is_replayed(pf: Pf, asking: Path, model_server: ModelServer) -> None:
    mapping = ("--column-mapping", "x=${data.x}")
    assert pf("run", "create", "--flow", "f", "--data", "good.jsonl", *mapping, "--record", "-n", "first")[0] == 0
    assert pf("connection", "delete", "-n", "mine", "-y")[0] == 0
    model_server.requests.clear()
    code, out, _ = pf("run", "replay", "first", "--set", "tags.team=search", "--new-name", "second")
    assert (code, json.loads(out)["name"], json.loads(out)["tags"]) == (0, "second", {"team": "search"})
    code, _, err = pf("run", "replay", "first", "--set", "nodes[ask].inputs.temperature=1", "--fail-on", "never")
    assert code == 5
    assert "error: The tape tape.jsonl has no answer for POST /v1/chat/completions of node 'ask' in line" in err
    assert "body.temperature: recorded 0, now 1" in err
    assert model_server.requests == []
    code, _, err = pf("run", "replay", "first", "--set", "nodes[asks].inputs.temperature=1")
    assert (code, "did you mean nodes[ask]?" in err) == (2, True)
    code, _, err = pf("run", "replay", "first", "--set", "nodes[ask].inputs.temprature=1")
    assert (code, "did you mean temperature?" in err) == (2, True)


def test_nodes_can_be_set_when_a_run_is_made(pf: Pf, asking: Path, model_server: ModelServer) -> None:
    words = ("run", "create", "--flow", "f", "--data", "good.jsonl", "--set", "nodes[0].inputs.temperature=0.5")
    assert pf(*words)[0] == 0
    assert {body["temperature"] for body in model_server.bodies} == {0.5}
    code, out, _ = pf(*words, "--dry-run", "-o", "json")
    assert json.loads(out)["overrides"] == {"nodes[0].inputs.temperature": 0.5}


@pytest.mark.parametrize("kind", ["dag", "prompty", "flex"])
def test_a_flow_is_tested_from_a_tape(pf: Pf, asking: Path, model_server: ModelServer, kind: str) -> None:
    (asking / "x.prompty").write_text(PROMPTY)
    (asking / "coded.py").write_text(FLEX)
    flow = {"dag": "f", "prompty": "x.prompty", "flex": "coded:main"}[kind]
    words = ("flow", "test", "--flow", flow, "--inputs", "x=hello there", "-o", "json")
    code, live, _ = pf(*words, "--record", "tape.jsonl")
    assert code == 0 and "hello there" in live
    assert "sk-a-key" not in (asking / "tape.jsonl").read_text()
    if kind != "flex":  # whose code asks for the connection itself
        assert pf("connection", "delete", "-n", "mine", "-y")[0] == 0
    model_server.requests.clear()
    assert pf(*words, "--replay", "tape.jsonl")[:2] == (0, live)
    code, out, err = pf(*[word.replace("there", "you") for word in words], "--replay", "tape.jsonl")
    assert (code, out, model_server.requests) == (5, "", [])
    assert "recorded 'hello there', now 'hello you'" in err


def test_a_run_can_be_exported_for_tests(pf: Pf, asking: Path, model_server: ModelServer) -> None:
    assert pf("run", "create", "--flow", "f", "--data", "good.jsonl", "--record", "-n", "first")[0] == 0
    code, out, err = pf("run", "export-tape", "first", "tape.jsonl")
    assert (code, out) == (0, "") and "3 calls in tape.jsonl" in err
    model_server.requests.clear()
    words = ("flow", "test", "--flow", "f", "--replay", "tape.jsonl", "--inputs")
    assert json.loads(pf(*words, "x=two")[1]) == {"o": "two"}
    assert model_server.requests == []


def test_what_goes_wrong_with_tapes(pf: Pf, asking: Path) -> None:
    words = ("flow", "test", "--flow", "f", "--inputs", "x=one")
    code, _, err = pf(*words, "--replay", "nothing.jsonl")
    assert code == 5 and "nothing.jsonl cannot be read" in err
    (asking / "bad.jsonl").write_text("no tape\nat all\n")
    code, _, err = pf(*words, "--replay", "bad.jsonl")
    assert code == 5 and "This is no tape, or a damaged one." in err
    assert pf(*words, "--replay", "bad.jsonl", "--record", "new.jsonl")[0] == 2
    assert pf("run", "create", "--flow", "f", "--data", "good.jsonl", "-n", "plain")[0] == 0
    code, _, err = pf("run", "replay", "plain")
    assert code == 5 and "pf run create --record" in err
