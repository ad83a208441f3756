"""The Responses API through the real client, on every engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from serve.engines.base import EngineFailedError, Piece, ToolCall
from tests.serve.openai.serving import Scripted, app_of, running, said
from tests.serve.openai.test_client_table import OBJECT, SCHEMA, checked

openai = pytest.importorskip("openai")

TOOL = {"type": "function", "name": "look", "parameters": SCHEMA, "strict": True}
LIST = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "input_text", "text": "I want my money"}]},
    {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": OBJECT},
    {"type": "function_call_output", "call_id": "call_1", "output": "seven days"},
]
ROWS: dict[str, dict[str, Any]] = {
    "text": {"input": "I want my money back"},
    "instructions": {"input": "I want my money back", "instructions": "Be brief.", "temperature": 0.0},
    "items": {"input": LIST},
    "json_object": {"input": OBJECT, "text": {"format": {"type": "json_object"}}},
    "json_schema": {
        "input": OBJECT,
        "text": {"format": {"type": "json_schema", "name": "verdict", "schema": SCHEMA, "strict": True}},
    },
    "tool": {"input": OBJECT, "tools": [TOOL], "tool_choice": {"type": "function", "name": "look"}},
    "logprobs": {"input": "a b", "top_logprobs": 2, "include": ["message.output_text.logprobs"]},
    "settings": {"input": "a b", "metadata": {"a": "b"}, "parallel_tool_calls": False, "store": False, "top_p": 0.9},
}


@pytest.mark.parametrize("row", ROWS)
def test_a_response(client: Any, model: str, row: str) -> None:
    limit = 300 if row in ("json_schema", "tool") else 48
    asked = {"model": model, "max_output_tokens": limit, **ROWS[row]}
    answer = checked(client.responses.create(**asked))
    assert answer.status in ("completed", "incomplete") and answer.output
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    if row == "json_schema":
        assert {*json.loads(answer.output_text)} == {"kind", "sure"}
    if row == "tool":
        assert [item.name for item in answer.output if item.type == "function_call"] == ["look"]
    if row == "logprobs":
        assert answer.output[0].content[0].logprobs


@pytest.mark.parametrize("row", ROWS)
def test_its_events(client: Any, model: str, row: str) -> None:
    asked = {"temperature": 0.0, "model": model, "max_output_tokens": 48, **ROWS[row]}
    events = [checked_event(event) for event in client.responses.create(**asked, stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    final = events[-1].response
    assert events[-1].type == f"response.{final.status}"
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == final.output_text
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.to_dict() for item in done] == [item.to_dict() for item in final.output]


def checked_event(event: Any) -> Any:
    type(event).model_validate(event.to_dict(mode="json"))
    return event


def test_a_conversation_goes_on_from_a_response(client: Any) -> None:
    first = client.responses.create(model="fake/echo", input="one two")
    second = client.responses.create(model="fake/echo", input="three", previous_response_id=first.id)
    assert second.usage.input_tokens == first.usage.input_tokens + first.usage.output_tokens + 1
    assert client.responses.retrieve(first.id).output_text == "one two"
    client.responses.delete(first.id)
    for ask in (
        lambda: client.responses.retrieve(first.id),
        lambda: client.responses.create(model="fake/echo", input="x", previous_response_id=first.id),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "reasoning"}]}, "input"),
        ({"input": [{"type": "banana"}]}, "input"),
        ({"input": [{"role": "user", "content": 5}]}, "input.0.content"),
        ({"input": [{"type": "function_call", "name": "x"}]}, "input.0.arguments"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.name"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_bad_input_is_named(client: Any, change: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**{"model": "fake/echo", "input": "x", **change})
    assert refused.value.param == param


@pytest.fixture
def scripted() -> Iterator[tuple[Scripted, Any]]:
    engine = Scripted(())
    with running(app_of(engine)) as url, openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
        yield engine, client


def test_text_and_calls_are_items_of_their_own(scripted: tuple[Scripted, Any]) -> None:
    engine, client = scripted
    calls = (ToolCall("call_1", "look", "{}"), ToolCall("call_2", "wait", '{"a": 1}'))
    engine.pieces = [Piece("Let me ", 3, 1), Piece("see.", 3, 2), Piece("", 3, 9, "tool_calls", tool_calls=calls)]
    events = [checked_event(event) for event in client.responses.create(model="scripted", input="x", stream=True)]
    final = events[-1].response
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    assert final.output_text == "Let me see."
    assert [item.call_id for item in final.output[1:]] == ["call_1", "call_2"]
    added = [event.output_index for event in events if event.type == "response.output_item.added"]
    assert added == [0, 1, 2]


def test_a_failure_on_the_way_is_the_last_event(scripted: tuple[Scripted, Any]) -> None:
    engine, client = scripted
    engine.pieces = [*said("one")[:1], EngineFailedError("The engine died.")]
    events = list(client.responses.create(model="scripted", input="x", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.message == "The engine died."


def test_a_response_of_another_key_is_not_found() -> None:
    from serve.openai.keys import Key, Keys

    keys = Keys([Key.of("one", "key-of-one"), Key.of("two", "key-of-two")])
    with running(app_of(Scripted(said("hello")), keys=keys)) as url:
        one, two = (openai.OpenAI(base_url=url, api_key=key, max_retries=0) for key in ("key-of-one", "key-of-two"))
        with one, two:
            made = one.responses.create(model="scripted", input="x")
            assert one.responses.retrieve(made.id).output_text == "hello"
            with pytest.raises(openai.NotFoundError):
                two.responses.retrieve(made.id)


def test_many_responses_at_once_are_not_mixed_up(url: str) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=url, api_key="x") as client:
            made = [client.responses.create(model="fake/echo", input=f"say {number}") for number in range(40)]
            return [answer.output_text for answer in await asyncio.gather(*made)]

    assert asyncio.run(ask()) == [f"say {number}" for number in range(40)]
