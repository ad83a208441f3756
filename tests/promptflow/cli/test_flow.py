from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.promptflow.cli.conftest import Pf

CHAT = """inputs:
  question: {type: string, is_chat_input: true}
  chat_history: {type: list, is_chat_history: true, default: []}
outputs:
  answer: {type: string, reference: '${a.output}', is_chat_output: true}
nodes:
- name: a
  type: python
  source: {type: code, path: a.py}
  inputs: {question: '${inputs.question}', history: '${inputs.chat_history}'}
"""
CHAT_TOOL = """from promptflow.core import tool

@tool
def answer(question: str, history: list):
    if question == "stream":
        return iter(["one ", "two"])
    return f"{len(history)}:{question}"
"""


def test_the_outputs_alone_are_on_stdout(pf: Pf, project: Path) -> None:
    code, out, err = pf("flow", "test", "--flow", "f", "--inputs", "x=hello there")
    assert code == 0
    assert json.loads(out) == {"o": "<hello there>"}
    assert "noise on stdout" in err


@pytest.mark.parametrize("name", ["in.json", "in.jsonl"])
def test_inputs_from_a_file(pf: Pf, project: Path, name: str) -> None:
    (project / name).write_text('{"x": "filed"}\n', encoding="utf-8")
    assert json.loads(pf("flow", "test", "--flow", "f", "--inputs", name)[1]) == {"o": "<filed>"}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("in.json", "{", "is not valid JSON"),
        ("in.jsonl", "", "is not valid JSON"),
        ("in.json", "[1]", "must hold one JSON object"),
        ("in.txt", "x", "expected a .json or .jsonl file"),
    ],
)
def test_a_bad_inputs_file_is_a_usage_error(pf: Pf, project: Path, name: str, text: str, problem: str) -> None:
    (project / name).write_text(text, encoding="utf-8")
    code, out, err = pf("flow", "test", "--flow", "f", "--inputs", name)
    assert code == 2
    assert problem in err


def test_one_node_alone(pf: Pf, project: Path) -> None:
    code, out, err = pf("flow", "test", "--flow", "f", "--node", "a", "--inputs", "x=1")
    assert (code, out.strip()) == (0, "<1>")
    assert json.loads(pf("flow", "test", "--flow", "f", "--node", "a", "--inputs", "x=1", "-o", "json")[1]) == "<1>"


def test_environment_variables_from_words_and_files(pf: Pf, project: Path) -> None:
    (project / "f" / "a.py").write_text(
        "import os\nfrom promptflow.core import tool\n\n@tool\ndef e(x: str):\n    return os.environ['A'] + os.environ['B']\n",
        encoding="utf-8",
    )
    (project / "some.env").write_text("B=from file\n", encoding="utf-8")
    words = ["flow", "test", "--flow", "f", "--inputs", "x=1", "--environment-variables", "A=word ", "some.env"]
    assert json.loads(pf(*words)[1]) == {"o": "word from file"}


def test_talking_remembers_what_was_said(pf: Pf, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "f" / "flow.dag.yaml").write_text(CHAT, encoding="utf-8")
    (project / "f" / "a.py").write_text(CHAT_TOOL, encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\nstream\nagain\n\n"))
    code, out, err = pf("flow", "test", "--flow", "f", "--interactive")
    assert code == 0
    assert out.splitlines() == ["0:hi", "one two", "2:again"]


def test_only_a_chat_flow_can_be_talked_to(pf: Pf, project: Path) -> None:
    code, out, err = pf("flow", "test", "--flow", "f", "--interactive")
    assert code == 1
    assert "is no chat flow" in err


def test_validate_lists_every_error(pf: Pf, project: Path) -> None:
    assert pf("flow", "validate", "--source", "f")[0] == 0
    (project / "f" / "flow.dag.yaml").write_text(
        "inputs:\n  a: {type: sting}\n  b: {type: boool}\nnodes: []\n", "utf-8"
    )
    code, out, err = pf("flow", "validate", "--source", "f")
    assert code == 1
    assert out.count("error: ") == 2
    found = json.loads(pf("flow", "validate", "--source", "f", "-o", "json")[1])
    assert found["result"] == "Failed"
    assert [f["hint"] for f in found["findings"]] == ["did you mean string?", "did you mean bool?"]


def test_save_writes_a_flex_flow(pf: Pf, project: Path) -> None:
    (project / "intent.py").write_text("def classify(text: str) -> str:\n    return text.upper()\n", encoding="utf-8")
    code, out, err = pf("flow", "save", "--entry", "intent:classify")
    assert code == 0
    assert "intent:classify" in (project / "flow.flex.yaml").read_text()
    assert pf("flow", "test", "--flow", ".", "--inputs", "text=a")[1].strip() == "A"
