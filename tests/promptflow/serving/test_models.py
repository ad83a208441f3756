"""Served flows that ask a model: streams of it, its connection, what the spans say."""

from __future__ import annotations

import json

import pytest

from promptflow.client import PFClient
from promptflow.connections.models import OpenAIConnection
from promptflow.exceptions import UserErrorException
from promptflow.serving.remote_trace import baggage_of, parent_of
from promptflow.tracing import exporters
from tests.fake_model import Reply, model_server
from tests.promptflow.flowkit import dag, write

__all__ = ["model_server"]

DAG = """
inputs: {question: {type: string}}
outputs: {answer: {type: string, reference: "${ask.output}"}, upper: {type: string, reference: "${up.output}"}}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  inputs: {model: gpt, question: "${inputs.question}"}
  connection: my model
  api: chat
- {name: up, type: python, source: {type: code, path: up.py}, inputs: {text: "${inputs.question}"}}
"""
UP = "from promptflow.core import tool\n@tool\ndef up(text): return text.upper()\n"
PROMPTY = """---
model:
  api: chat
  configuration: {type: openai, connection: my model, model: gpt}
inputs: {question: {type: string}}
---
user:
{{question}}
"""
EVENTS = {"accept": "text/event-stream"}


@pytest.fixture
def asking(tmp_path, model_server):
    PFClient().connections.create_or_update(OpenAIConnection("k", base_url=model_server.base_url, name="my model"))
    return dag(tmp_path / "flow", DAG, ask_jinja2="user:\n{{question}}\n", up_py=UP)


def test_a_models_answer_streams_through_a_flow(serve, asking, model_server):
    client = serve(asking)

    streamed = client.post("/score", json={"question": "one two"}, headers=EVENTS).text
    whole = client.post("/score", json={"question": "one two"})

    events = [json.loads(line.removeprefix("data: ")) for line in streamed.split("\n\n") if line]
    assert events[0] == {"upper": "ONE TWO"}
    assert "".join(event["answer"] for event in events[1:]) == "one two "
    assert whole.json() == {"answer": "one two", "upper": "ONE TWO"}
    assert [bool(body.get("stream")) for body in model_server.bodies] == [True, False]


def test_a_prompty_answers_with_its_text_and_streams_it(serve, asking, tmp_path):
    folder = tmp_path / "prompty"
    folder.mkdir()
    (folder / "ask.prompty").write_text(PROMPTY)
    (folder / "streams.prompty").write_text(PROMPTY.replace("inputs:", "  parameters: {stream: true}\ninputs:"))

    assert serve(folder / "ask.prompty").post("/score", json={"question": "one two"}).json() == "one two"
    streaming = serve(folder / "streams.prompty")
    assert streaming.post("/score", json={"question": "one two"}).json() == "one two "
    assert streaming.post("/score", json={"question": "one two"}, headers=EVENTS).text.count("data: ") == 2
    document = streaming.get("/swagger.json").json()
    assert document["paths"]["/score"]["post"]["responses"]["200"]["content"] == {
        "application/json": {"schema": {"type": "object"}}
    }


def test_what_the_models_server_refuses_is_a_user_error(serve, asking, model_server):
    model_server.script(Reply.error(401, "no such key"))

    response = serve(asking).post("/score", json={"question": "q"})

    assert response.status_code == 400
    assert "no such key" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("MY_MODEL_API_KEY", "from-a-variable"),
        ("my_model", "another"),
        ("my_model", '{"type": "open_ai", "api_key": "as-json", "base_url": "URL"}'),
    ],
)
def test_variables_stand_in_for_connections(serve, asking, model_server, monkeypatch, name, value):
    other = OpenAIConnection("of-another", base_url=model_server.base_url, name="another")
    PFClient().connections.create_or_update(other)
    monkeypatch.setenv(name, value.replace("URL", model_server.base_url))

    serve(asking).post("/score", json={"question": "q"})

    expected = {"another": "of-another", "from-a-variable": "from-a-variable"}.get(value, "as-json")
    assert model_server.requests[0].headers["authorization"] == f"Bearer {expected}"


def test_keys_are_neither_answered_nor_logged(serve, tmp_path, caplog):
    key = "sk-that-nobody-may-see-0123456789"
    PFClient().connections.create_or_update(OpenAIConnection(key, name="my model"))
    code = """
        from promptflow.core import tool
        from promptflow.connections import OpenAIConnection
        @tool
        def tell(c: OpenAIConnection, how: str):
            if how == "raise":
                raise ValueError(c.api_key)
            return f"the key is {c.api_key}"
    """
    yaml = """
inputs: {how: {type: string}}
outputs: {o: {type: string, reference: "${tell.output}"}}
nodes:
- {name: tell, type: python, source: {type: code, path: tell.py}, inputs: {c: my model, how: "${inputs.how}"}}
"""
    client = serve(dag(tmp_path, yaml, tell_py=code))

    raised, returned = [client.post("/score", json={"how": how}) for how in ("raise", "return")]

    assert raised.status_code == 400 and returned.json() == {"o": "the key is ******"}
    assert key not in raised.text + caplog.text and "******" in caplog.text


def test_a_broken_stand_in_is_told_without_showing_it(serve, asking, monkeypatch):
    monkeypatch.setenv("my_model", '{"api_key": "secret"')

    with pytest.raises(UserErrorException) as told:
        serve(asking)

    assert "my model" in str(told.value) and "secret" not in str(told.value)


def test_a_folder_of_connections_counts_before_the_workspace(serve, asking, model_server, monkeypatch, tmp_path):
    text = f"name: my model\ntype: open_ai\napi_key: ${{env:GIVEN_KEY}}\nbase_url: {model_server.base_url}\n"
    write(tmp_path / "connections", any_yaml=text)
    monkeypatch.setenv("PF_SERVING_CONNECTIONS_FOLDER", str(tmp_path / "connections"))
    monkeypatch.setenv("GIVEN_KEY", "of-the-folder")

    serve(asking).post("/score", json={"question": "q"})

    assert model_server.requests[0].headers["authorization"] == "Bearer of-the-folder"


PARENT = "00-8a3c60f7d6e2f3b4a4f2f7f3f3f3f3f3-f3f3f3f3f3f3f3f3-01"


def test_spans_continue_the_callers_trace(serve, asking):
    found: list = []

    def take(spans):
        found.extend(spans)

    exporters.add(take)
    try:
        client = serve(asking)
        client.post("/score", json={"question": "q"}, headers={"traceparent": PARENT, "x-request-id": "r1"})
        client.post("/feedback?flatten=true", json={"mark": 5, "why": {"a": 1}}, headers={"traceparent": PARENT})
        client.post("/feedback", content="good", headers={"traceparent": PARENT, "baggage": "user=al%20ice;p=1, n=2"})
    finally:
        exporters.remove(take)

    flow = next(span for span in found if span.kind == "Flow")
    assert {span.trace_id for span in found} == {"8a3c60f7d6e2f3b4a4f2f7f3f3f3f3f3"}
    assert flow.parent_id == "f3f3f3f3f3f3f3f3" and flow.attributes["request_id"] == "r1"
    flat, plain = [span.attributes for span in found if span.name == "promptflow-feedback"]
    assert (flat["mark"], json.loads(flat["why"])) == (5, {"a": 1})
    assert (plain["feedback"], plain["user"], plain["n"]) == ("good", "al ice", "2")


@pytest.mark.parametrize(
    "text",
    ["", "00", "ff" + PARENT[2:], PARENT + "-more", PARENT.replace("8a3c", "XYZW"), "00-" + "0" * 32 + PARENT[35:]],
)  # fmt: skip
def test_what_is_no_traceparent_is_left_alone(text):
    assert parent_of(PARENT) == ("8a3c60f7d6e2f3b4a4f2f7f3f3f3f3f3", "f3f3f3f3f3f3f3f3")
    assert parent_of(text) is None


def test_baggage_without_values_is_left_out():
    assert baggage_of("a=1,b,=2, c = 3 ;x=y") == {"a": "1", "c": "3"}
