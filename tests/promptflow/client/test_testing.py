import json

import pytest

from promptflow.exceptions import InvalidFlowError, UserErrorException
from tests.promptflow import flowkit

CHAT = """
inputs:
  question: {type: string, is_chat_input: true}
  chat_history: {type: list, is_chat_history: true}
outputs:
  answer: {type: string, reference: "${say.output}", is_chat_output: true}
nodes:
- name: say
  type: python
  source: {type: code, path: say.py}
  inputs: {question: "${inputs.question}", history: "${inputs.chat_history}"}
"""
SAY = """
from promptflow.core import tool

@tool
def say(question: str, history: list):
    yield from [str(len(history)), question]
"""
CHAIN = """
inputs:
  x: {type: string}
  k: {type: int, default: 2}
outputs:
  o: {type: string, reference: "${b.output}"}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}", k: "${inputs.k}"}}
- {name: b, type: python, source: {type: code, path: b.py}, inputs: {text: "${a.output.text}", mark: "?"}}
"""
A = """
from promptflow.core import tool

@tool
def a(x: str, k: int):
    return {"text": x * k}
"""
B = """
from promptflow.core import tool

@tool
def b(text: str, mark: str):
    if text == "":
        raise ValueError("nothing to say")
    return text + mark
"""


@pytest.fixture
def chain(folder):
    return flowkit.dag(folder / "chain", CHAIN, a_py=A, b_py=B)


def test_a_flow_is_tested_with_defaults(client, chain):
    assert client.test(chain, inputs={"x": "ab"}) == {"o": "abab?"}
    assert client.test(chain, inputs={"x": "ab", "k": 1}) == {"o": "ab?"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("in.json", '{"x": "f"}'),
        ("in.json", '[{"x": "f"}]'),
        ("in.jsonl", '{"x": "f"}\n{"x": "g"}\n'),
    ],
)
def test_inputs_come_from_a_file(client, chain, folder, name, text):
    (folder / name).write_text(text)
    assert client.test(chain, inputs=name) == {"o": "ff?"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("in.txt", "x", "Only support jsonl or json file as input"),
        ("none.json", None, "Cannot find inputs file"),
        ("in.json", "{", "no valid JSON"),
        ("in.jsonl", "", "holds no inputs"),
    ],
)
def test_an_inputs_file_must_be_readable(client, chain, folder, name, text, message):
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(UserErrorException, match=message):
        client.test(chain, inputs=name)


def test_missing_inputs_are_named(client, chain):
    with pytest.raises(UserErrorException) as caught:
        client.test(chain)
    assert str(caught.value) == "Required input(s) ['x'] are missing for \"flow\"."


def test_unknown_inputs_only_warn(client, chain, caplog):
    assert client.test(chain, inputs={"x": "a", "typo": 1}) == {"o": "aa?"}
    assert "typo" in caplog.text


def test_what_the_flow_raises_is_a_user_error(client, chain):
    with pytest.raises(UserErrorException) as caught:
        client.test(chain, inputs={"x": ""})
    assert str(caught.value) == "ValueError: Execution failure in 'b': (ValueError) nothing to say"
    assert "b.py:6" in caught.value.location


@pytest.mark.parametrize(
    ("node", "inputs", "expected"),
    [
        ("a", {"inputs.x": "z"}, {"text": "zz"}),
        ("a", {"x": "z", "k": 3}, {"text": "zzz"}),
        ("b", {"a.output.text": "t"}, "t?"),
        ("b", {"text": "t"}, "t?"),
        ("b", {"text": {"text": "t"}}, "t?"),
        ("b", {}, None),
        ("b", {"a.output": {"text": "t"}}, None),
    ],
)
def test_one_node_is_tested(client, chain, node, inputs, expected):
    if expected is None:
        with pytest.raises(UserErrorException, match=r"Required input\(s\) \['text'\] are missing for \"b\""):
            client.test(chain, node=node, inputs=inputs)
    else:
        assert client.test(chain, node=node, inputs=inputs) == expected


def test_a_node_must_exist(client, chain):
    with pytest.raises(UserErrorException, match="Cannot find zz in the flow"):
        client.test(chain, node="zz", inputs={"x": "1"})
    with pytest.raises(InvalidFlowError):
        client.test(chain, variant="${a.v1}", inputs={"x": "1"})


def test_a_chat_flow_streams_and_has_an_empty_history(client, folder):
    chat = flowkit.dag(folder / "chat", CHAT, say_py=SAY)
    answer = client.test(chat, inputs={"question": "hi"})["answer"]
    assert list(answer) == ["0", "hi"]
    told = client.flows.test(chat, inputs={"question": "hi", "chat_history": [{}]}, streaming=False)
    assert told == {"answer": "1hi"}


def test_a_flow_that_is_no_chat_joins_its_generators(client, folder):
    yaml = CHAT.replace(", is_chat_output: true", "")
    chat = flowkit.dag(folder / "f", yaml, say_py=SAY)
    assert client.test(chat, inputs={"question": "hi", "chat_history": []}) == {"answer": "0hi"}


def test_an_aggregation_runs_over_the_one_line(client, evaluation):
    assert client.test(evaluation, inputs={"answer": "a", "truth": "a"}) == {"grade": "ok"}
    detail = json.loads((evaluation / ".promptflow/flow.detail.json").read_text())
    assert detail["flow_runs"][0]["metrics"] == {"accuracy": 1.0, "rows": 1}
    assert [run["node"] for run in detail["node_runs"]] == ["grade", "total"]


def test_what_came_of_a_test_is_kept(client, chain, folder):
    client.test(chain, inputs={"x": "a"})
    assert json.loads((chain / ".promptflow/flow.output.json").read_text()) == {"o": "aa?"}
    client.flows.test(chain, inputs={"x": "a"}, node="a", output_path=folder / "kept")
    assert sorted(p.name for p in (folder / "kept").iterdir()) == [
        "a.node.log",
        "flow-a.node.detail.json",
        "flow-a.node.output.json",
    ]


def test_environment_variables_hold_during_the_test_only(client, folder, monkeypatch):
    monkeypatch.delenv("MY_WORD", raising=False)
    flow = flowkit.dag(
        folder / "f",
        """
        outputs:
          o: {type: string, reference: "${a.output}"}
        nodes:
        - {name: a, type: python, source: {type: code, path: a.py}}
        """,
        a_py="import os\nfrom promptflow.core import tool\n@tool\ndef a():\n    return os.environ.get('MY_WORD', '')\n",
    )
    assert client.test(flow, environment_variables={"MY_WORD": "w"}) == {"o": "w"}
    assert client.test(flow) == {"o": ""}
