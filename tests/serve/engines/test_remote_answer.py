"""What servers stream, in all their ways of saying it -> pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serve.engines.base import Piece, TokenLogprob
from serve.engines.remote_answer import Answer, BrokenAnswer
from tests.serve.engines.remote_server import delta


def read(*chunks: Any) -> tuple[list[Piece], Piece]:
    answer = Answer()
    said = [answer.push(json.dumps(chunk).encode()) for chunk in chunks]
    return [piece for piece in said if piece is not None], answer.end()


def call(
    index: int | None, arguments: str = "", identity: str | None = None, name: str | None = None
) -> dict[str, Any]:
    number = {} if index is None else {"index": index}
    return {**number, "id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls_of(*chunks: Any) -> list[tuple[str, str, str]]:
    _, last = read(*chunks)
    assert last.finish == "tool_calls"
    return [(one.id, one.name, one.arguments) for one in last.tool_calls]


def test_a_call_is_put_together_from_its_parts() -> None:
    told = calls_of(
        delta(tool_calls=[call(0, "", "c1", "look")]),
        delta(tool_calls=[call(0, '{"a"')]),
        delta(tool_calls=[call(1, "{}", "c2", "wait")]),
        delta(tool_calls=[call(0, ": 1}")]),
        delta("", "tool_calls"),
    )
    assert told == [("c1", "look", '{"a": 1}'), ("c2", "wait", "{}")]


def test_whole_calls_without_numbers() -> None:
    told = calls_of(delta(tool_calls=[call(None, "{}", "c1", "a"), call(None, "", "c2", "b")]), delta("", "stop"))
    assert told == [("c1", "a", "{}"), ("c2", "b", "{}")]


def test_a_call_without_an_id_gets_one() -> None:
    ((identity, *rest),) = calls_of(delta("", "tool_calls", tool_calls=[call(0, "{}", None, "a")]))
    assert identity.startswith("call_") and rest == ["a", "{}"]


def test_text_may_come_together_with_the_end() -> None:
    said, last = read(delta("a"), delta("b", "length"))
    assert ([piece.text for piece in said], last.text, last.finish, last.completion_tokens) == (["a"], "b", "length", 2)


@pytest.mark.parametrize(("told", "finish"), [("stop", "stop"), ("content_filter", "content_filter"), ("eos", "stop")])
def test_ends(told: str, finish: str) -> None:
    assert read(delta("", told))[1].finish == finish


def test_usage_may_come_with_every_chunk() -> None:
    usage = {"prompt_tokens": 4, "completion_tokens": 3}
    said, last = read({**delta("a"), "usage": usage}, delta("", "stop"), {"choices": [], "usage": None})
    assert (said[0].prompt_tokens, said[0].completion_tokens, last.completion_tokens) == (4, 3, 3)


def test_logprobs_of_a_chat() -> None:
    entry = {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2}]}
    chunk = delta("ab")
    chunk["choices"][0]["logprobs"] = {"content": [entry, {"token": "b", "logprob": 0}]}
    said, last = read(chunk, delta("", "stop"))
    assert said[0].logprobs == (TokenLogprob("a", -1.0, (("b", -2.0),)), TokenLogprob("b", 0.0))
    assert said[0].completion_tokens == last.completion_tokens == 2


def test_logprobs_of_a_completion() -> None:
    logprobs = {"tokens": ["a", "b"], "token_logprobs": [None, -1], "top_logprobs": [None, {"b": -1, "c": -3}]}
    said, _ = read(
        {"choices": [{"index": 0, "text": "ab", "logprobs": logprobs, "finish_reason": None}]},
        {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]},
    )
    assert said == [
        Piece("ab", 0, 2, "", (TokenLogprob("a", 0.0), TokenLogprob("b", -1.0, (("b", -1.0), ("c", -3.0)))))
    ]


def test_a_refusal_is_text() -> None:
    assert read(delta(None, refusal="I will not."), delta("", "stop"))[0][0].text == "I will not."  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "chunk",
    [
        5, [], {"choices": [5]}, {"choices": {"a": 1}}, {"choices": [{"delta": 5}]}, {"choices": [{"delta": {"content": []}}, 1]},
        {"choices": [{"delta": {"content": ["x"]}}]}, {"choices": [{"delta": {"tool_calls": [5]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": "x"}]}}]}, {"usage": 5, "choices": []},
        {"choices": [{"delta": {}, "logprobs": {"content": [{}]}}]}, {"choices": [{"delta": {}, "finish_reason": {}}]},
        {"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": []}}]},
    ],
    ids=str,
)  # fmt: skip
def test_garbage(chunk: Any) -> None:
    with pytest.raises(BrokenAnswer):
        read(chunk)
