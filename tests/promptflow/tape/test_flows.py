"""Flows as users' tests call them: recorded once, replayed anywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from promptflow.client import PFClient, load_flow
from promptflow.connections import OpenAIConnection
from promptflow.core import Prompty
from promptflow.exceptions import ReplayMiss
from promptflow.tape import record, replay
from tests.fake_model import ModelServer
from tests.promptflow import flowkit

FLOW = """
inputs:
  question: {type: string, is_chat_input: true}
  chat_history: {type: list, is_chat_history: true, default: []}
outputs:
  answer: {type: string, reference: "${ask.output}", is_chat_output: true}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  connection: mine
  api: chat
  inputs: {model: m, question: "${inputs.question}"}
"""
PROMPTY = """---
model:
  configuration: {type: openai, model: m, base_url: URL, api_key: sk-a-key-of-many-letters}
inputs:
  x: {type: string}
---
user:
{{x}}
"""


@pytest.fixture
def chat(tmp_path: Path, model_server: ModelServer) -> Path:
    connections = PFClient().connections
    connections.create_or_update(OpenAIConnection("sk-of-mine", base_url=model_server.base_url, name="mine"))
    return flowkit.write(tmp_path / "chat", flow_dag_yaml=FLOW, ask_jinja2="user:\n{{question}}\n")


def test_a_loaded_flow_streams_from_the_tape(chat: Path, model_server: ModelServer, tape: Path) -> None:
    def ask() -> str:
        flow: Any = load_flow(chat)
        flow.context.streaming = True
        return "".join(flow(question="one two")["answer"])

    with record(tape):
        live = ask()
    PFClient().connections.delete("mine")
    model_server.requests.clear()
    with replay(tape):
        assert ask() == live == "one two "
    assert model_server.requests == []


def test_a_flow_is_tested_in_python(chat: Path, model_server: ModelServer, tape: Path) -> None:
    client = PFClient()
    with record(tape):
        assert client.flows.test(chat, inputs={"question": "one"}, streaming=False) == {"answer": "one"}
    client.connections.delete("mine")
    with replay(tape):
        assert client.flows.test(chat, inputs={"question": "one"}, streaming=False) == {"answer": "one"}
    with pytest.raises(ReplayMiss, match="of node 'ask'"), replay(tape):
        client.flows.test(chat, inputs={"question": "two"}, streaming=False)


def test_a_prompty_with_its_own_key(tmp_path: Path, model_server: ModelServer, tape: Path) -> None:
    file = tmp_path / "x.prompty"
    file.write_text(PROMPTY.replace("URL", model_server.base_url))
    with record(tape):
        assert Prompty.load(file)(x="hello") == "hello"
    assert "sk-a-key" not in tape.read_text()
    file.write_text(PROMPTY.replace("URL", "https://elsewhere.example/v1").replace("many", "other"))
    with replay(tape):
        assert Prompty.load(file)(x="hello") == "hello"


def test_looking_for_a_tape_loads_nothing() -> None:
    import subprocess

    code = "import sys, promptflow.llm.calls; print([m for m in sys.modules if m.startswith('promptflow.tape')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['promptflow.tape', 'promptflow.tape.current']"
