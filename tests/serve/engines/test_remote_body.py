"""What is asked of a server of the OpenAI API, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from promptflow.connections.models import (
    AzureOpenAIConnection,
    BingConnection,
    LocalConnection,
    OpenAIConnection,
    ServerlessConnection,
)
from promptflow.exceptions import UserErrorException, ValidationException
from serve.engines.base import Request, Sampling, UnsupportedError
from serve.engines.remote_body import OPENAI, VLLM, body_of, is_strict
from serve.engines.remote_place import place_at, place_of

ASK = [{"role": "user", "content": "x"}]
TOOL = {"type": "function", "function": {"name": "look"}}
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
KEY = "sk-nobody-may-see-this"


def added(dialect: str = VLLM, *, prompt: Any = None, **request: Any) -> dict[str, Any]:
    """The body without what all have."""
    asked = Request(prompt=prompt, **request) if prompt is not None else Request(messages=ASK, **request)
    body = body_of(asked, "m", dialect)
    assert body.pop("model") == "m" and body.pop("stream") is True
    assert body.pop("stream_options") == {"include_usage": True}
    assert body.pop("messages", None) == (ASK if prompt is None else None)
    return body


@pytest.mark.parametrize(
    ("sampling", "fields"),
    [
        ({}, {}),
        ({"max_tokens": 0}, {"max_tokens": 0}),
        ({"temperature": 0.0, "top_p": 0.5, "top_k": 4}, {"temperature": 0.0, "top_p": 0.5, "top_k": 4}),
        ({"seed": 0, "stop": ("a", "b")}, {"seed": 0, "stop": ["a", "b"]}),
        ({"top_k": 0}, {}),
        ({"logprobs": 0}, {"logprobs": True}),
        ({"logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"logit_bias": {5: -100.0}}, {"logit_bias": {"5": -100.0}}),
        ({"frequency_penalty": 1.0, "presence_penalty": -1.0}, {"frequency_penalty": 1.0, "presence_penalty": -1.0}),
        ({"json": True}, {"response_format": {"type": "json_object"}}),
    ],
    ids=str,
)
def test_choices_of_tokens(sampling: dict[str, Any], fields: dict[str, Any]) -> None:
    assert added(sampling=Sampling(**sampling)) == fields


def test_openai_itself_takes_fewer_fields() -> None:
    assert added(OPENAI, sampling=Sampling(max_tokens=3)) == {"max_completion_tokens": 3}
    assert added(OPENAI, prompt="x", sampling=Sampling(max_tokens=3)) == {"prompt": "x", "max_tokens": 3}
    with pytest.raises(UnsupportedError, match="top_k"):
        added(OPENAI, sampling=Sampling(top_k=3))
    with pytest.raises(UnsupportedError, match="form"):
        added(OPENAI, prompt="x", sampling=Sampling(json=True))


def test_plain_prompts() -> None:
    assert added(prompt=(5, 6), sampling=Sampling(logprobs=2)) == {"prompt": [5, 6], "logprobs": 2}
    assert added(prompt="x", sampling=Sampling(json=True))["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        ({"type": "array", "items": CLOSED}, True),
        ({"enum": [1, 2]}, True),
        ({**CLOSED, "additionalProperties": True}, False),
        ({**CLOSED, "required": []}, False),
        ({"type": "object"}, False),
        ({**CLOSED, "properties": {"a": {"type": "object", "properties": {}}}}, False),
        ({"anyOf": [CLOSED, {"type": "object"}]}, False),
    ],
)
def test_a_schema_is_strict_where_it_can_be(schema: dict[str, Any], strict: bool) -> None:
    form = added(sampling=Sampling(json_schema=schema))["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}
    assert is_strict(schema) is strict


def test_tools() -> None:
    assert added(tool_choice="required") == {}
    assert added(tools=[TOOL]) == {"tools": [TOOL], "tool_choice": "auto"}
    named = added(tools=[TOOL], tool_choice="look", parallel_tool_calls=False)
    assert named["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert named["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:1", "http://h:1/v1/models"),
        ("http://h:1/", "http://h:1/v1/models"),
        ("https://h/api/v1/", "https://h/api/v1/models"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/models"),
        ("unix:///run/x.sock", "http://localhost/v1/models"),
    ],
)
def test_addresses(base: str, url: str) -> None:
    assert place_at(base).url("models") == url


@pytest.mark.parametrize(
    "base", ["", "h:8000", "ftp://h", "http://", "http://u:secret-word@h/v1", "http://h/v1?key=secret-word"]
)
def test_addresses_that_are_none(base: str) -> None:
    with pytest.raises(ValidationException) as refused:
        place_at(base)
    assert "secret-word" not in f"{refused.value} {refused.value.hint}"


def test_places_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    own = place_of(OpenAIConnection(KEY, "org-1"), "m")
    assert own.url("models") == "https://api.openai.com/v1/models" and own.is_openai
    assert (own.headers["Authorization"], own.headers["OpenAI-Organization"]) == (f"Bearer {KEY}", "org-1")
    assert not place_of(OpenAIConnection(KEY, base_url="http://127.0.0.1:1/v1"), "m").is_openai
    assert place_of(ServerlessConnection(KEY, "https://h/x"), "m").url("models") == "https://h/x/v1/models"
    azure = place_of(AzureOpenAIConnection("https://a.openai.azure.com/", KEY, api_version="v"), "d/1")
    assert azure.url("models") == "https://a.openai.azure.com/openai/deployments/d%2F1/models?api-version=v"
    assert azure.headers["api-key"] == KEY and azure.is_openai
    for place in (own, azure):
        assert KEY not in repr(place) + str(place) and place.hide(f"<{KEY}>") == "<******>"


@pytest.mark.parametrize(
    "connection",
    [
        LocalConnection("m", name="l"),
        BingConnection(KEY, name="b"),
        AzureOpenAIConnection("https://a", auth_mode="meid_token", name="z"),
    ],
    ids=lambda one: one.TYPE,
)
def test_connections_that_are_no_such_place(connection: Any) -> None:
    with pytest.raises(UserErrorException, match=f"'{connection.name}'"):
        place_of(connection, "m")
