"""The real `openai` client over a table of requests, on every engine; every answer is checked against its types."""

from __future__ import annotations

import json
from typing import Any

import pytest

openai = pytest.importorskip("openai")
pydantic = pytest.importorskip("pydantic")

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "I want my money back"}]
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}, "sure": {"type": "boolean"}},
    "required": ["kind", "sure"],
    "additionalProperties": False,
}
OBJECT = '{"kind": "a", "sure": true}'  # what an echo is told, so that it says it
TOOLS = [
    {"type": "function", "function": {"name": "look", "description": "Look it up.", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "wait", "parameters": {"type": "object", "properties": {}}}},
]
CALLED = [
    *ASK,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": OBJECT}}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "seven days"},
]
TOLD = [{"role": "user", "content": OBJECT}]
SCHEMA_FORMAT = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True}}

CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "developer": {"messages": [{"role": "developer", "content": "Be brief."}, ASK[1]]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "I want"}]}]},
    "n": {"n": 3, "seed": 1, "temperature": 1.5},
    "seed": {"seed": 7, "temperature": 1.0},
    "stop": {"stop": [" money", "zzz"]},
    "max_tokens": {"max_tokens": 2},
    "max_completion_tokens": {"max_completion_tokens": 2, "temperature": 0},
    "top_p": {"top_p": 0.5, "temperature": 1.2, "extra_body": {"top_k": 5}},
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "logprobs alone": {"logprobs": True},
    "logit_bias": {"logit_bias": {"3": -100, "4": 5}},
    "penalties": {"frequency_penalty": 0.5, "presence_penalty": -0.5},
    "json_object": {"messages": TOLD, "response_format": {"type": "json_object"}},
    "json_schema": {"messages": TOLD, "response_format": SCHEMA_FORMAT},
    "text": {"response_format": {"type": "text"}},
    "tool by name": {"messages": TOLD, "tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "look"}}},
    "tool required": {"messages": TOLD, "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
    "tools, none": {"tools": TOOLS, "tool_choice": "none"},
    "tools, auto": {"tools": TOOLS},
    "after a call": {"messages": CALLED, "tools": TOOLS},
    "fields of OpenAI's own": {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
}  # fmt: skip
LIMIT = {"max_completion_tokens": 48}  # a tiny model of random weights does not know when to stop


def checked(answer: Any) -> Any:
    """The answer; its JSON has been checked against its own type, which the client by itself does not do."""
    told = answer.to_dict(mode="json")
    if told["object"] == "text_completion":
        # The types of a stream's chunks have no null here; OpenAI's own service sends it all the same.
        told["choices"] = [{**choice, "finish_reason": choice["finish_reason"] or "stop"} for choice in told["choices"]]
    type(answer).model_validate(told)
    return answer


def request_of(row: str, model: str) -> dict[str, Any]:
    formed = {"response_format", "tool_choice"} & {*CHATS[row]}
    limit = {} if "max_tokens" in CHATS[row] else {"max_completion_tokens": 300} if formed else LIMIT
    return {"model": model, "messages": ASK, **limit, **CHATS[row]}


@pytest.mark.parametrize("row", CHATS)
def test_chat(client: Any, model: str, row: str) -> None:
    answer = checked(client.chat.completions.create(**request_of(row, model)))
    assert [choice.index for choice in answer.choices] == list(range(CHATS[row].get("n", 1)))
    assert all(choice.finish_reason in ("stop", "length", "tool_calls") for choice in answer.choices)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer.model == model
    check_row(row, answer.choices[0].message, answer.choices[0], model)


def check_row(row: str, message: Any, choice: Any, model: str) -> None:
    if row.startswith("logprobs"):
        entries = choice.logprobs.content
        assert entries and all(entry.logprob <= 0 for entry in entries)
        assert len(entries[0].top_logprobs) <= 3
    if row == "json_object" and choice.finish_reason == "stop":
        assert isinstance(json.loads(message.content), dict)
    if row == "json_schema":
        value = json.loads(message.content)
        assert value["kind"] in ("a", "b") and isinstance(value["sure"], bool)
    if row in ("tool by name", "tool required"):
        assert choice.finish_reason == "tool_calls"
        assert isinstance(json.loads(message.tool_calls[0].function.arguments), dict)
        assert message.tool_calls[0].function.name in (["look"] if row == "tool by name" else ["look", "wait"])


@pytest.mark.parametrize("row", CHATS)
def test_chat_streamed(client: Any, model: str, row: str) -> None:
    """The stream holds what the whole answer does, where the choice of tokens is not left to chance."""
    asked = request_of(row, model)
    asked.setdefault("temperature", 0)
    stream = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    chunks = [checked(chunk) for chunk in stream]
    whole = client.chat.completions.create(**asked)
    text = ["" for _ in whole.choices]
    calls: list[Any] = []
    for chunk in chunks:
        for choice in chunk.choices:
            text[choice.index] += choice.delta.content or ""
            calls += choice.delta.tool_calls or []
    assert chunks[-1].choices == [] and chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert [call.index for call in calls] == list(range(len(calls)))
    if asked["temperature"] == 0 or "seed" in asked:
        assert chunks[-1].usage == whole.usage
        assert text == [choice.message.content or "" for choice in whole.choices]
        called = [call.function.arguments for call in whole.choices[0].message.tool_calls or []]
        assert [call.function.arguments for call in calls] == called


def test_a_typed_answer_is_parsed(client: Any, model: str) -> None:
    class Verdict(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        kind: str
        sure: bool

    messages = [{"role": "user", "content": OBJECT}]
    answer = client.chat.completions.parse(model=model, messages=messages, response_format=Verdict, max_tokens=400)
    choice = answer.choices[0]
    assert isinstance(choice.message.parsed, Verdict) and choice.finish_reason == "stop"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "one two three"},
        {"prompt": ["one two", "three"], "n": 2, "seed": 3},
        {"prompt": [5, 6, 7]},
        {"prompt": [[5, 6], [7]]},
        {"prompt": "one two", "logprobs": 2},
        {"prompt": "one two", "stop": "two", "temperature": 0.0},
    ],
    ids=str,
)
def test_completions(client: Any, model: str, change: dict[str, Any]) -> None:
    asked = {"model": model, "max_tokens": 6, **change}
    answer = checked(client.completions.create(**asked))
    chunks = [checked(chunk) for chunk in client.completions.create(**asked, stream=True)]
    prompts = len(change["prompt"]) if isinstance(change["prompt"], list) and change["prompt"] != [5, 6, 7] else 1
    assert len(answer.choices) == prompts * change.get("n", 1)
    assert {choice.index for chunk in chunks for choice in chunk.choices} == set(range(len(answer.choices)))
    if "logprobs" in change:
        assert len(answer.choices[0].logprobs.token_logprobs) == answer.usage.completion_tokens


def test_an_adapter_answers_by_its_name(client: Any, models: Any) -> None:
    pytest.importorskip("peft")
    asked = {"messages": ASK, "max_tokens": 12, "temperature": 0}
    base = client.chat.completions.create(model="llama", **asked)
    one, two = (client.chat.completions.create(model=name, **asked) for name in ("llama@lora", "lora"))
    assert (one.model, two.model) == ("llama@lora", "llama@lora")
    assert one.choices[0].message.content == two.choices[0].message.content != base.choices[0].message.content
    assert "llama@lora" in [card.id for card in client.models.list()]
    assert client.models.retrieve("llama@lora").to_dict()["parent"] == "llama"
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="llama@nothing", **asked)
    assert refused.value.code == "model_not_found"


BAD: list[tuple[dict[str, Any], str | None]] = [
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 3}, "temperature"),
    ({"max_tokens": 2.5}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"stream": "yes"}, "stream"),
    ({"stop": 3}, "stop"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"tools": [{"type": "function"}]}, "tools.0.function"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
    ({"tools": [{"type": "retrieval"}]}, "tools.0.type"),
]


@pytest.mark.parametrize(("change", "param"), BAD, ids=str)
def test_wrong_types_are_named(client: Any, change: dict[str, Any], param: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": "fake/echo", "messages": ASK, **change})
    assert (refused.value.type, refused.value.param) == ("invalid_request_error", param)


def test_a_list_that_is_too_long_is_not_told_to_be_a_text(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="stop: List should have at most 16 items"):
        client.chat.completions.create(model="fake/echo", messages=ASK, stop=["a"] * 50)


REFUSED = {
    "a prompt beyond the context": {"messages": [{"role": "user", "content": "word " * 5000}]},
    "a schema that is none": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "banana"}}}
    },
    "a tool that is not there": {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "fly"}}},
    "a token that is not there": {"logit_bias": {"99999999": 1}},
    "an image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("row", REFUSED)
def test_what_a_model_cannot_do_is_a_bad_request(client: Any, model: str, row: str, stream: bool) -> None:
    if model == "fake/echo" and row != "an image":
        pytest.skip("an echo takes it all")
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": model, "messages": ASK, **LIMIT, **REFUSED[row]}, stream=stream)
    assert refused.value.type == "invalid_request_error" and refused.value.message
    if row == "a prompt beyond the context":
        assert refused.value.code == "context_length_exceeded"
