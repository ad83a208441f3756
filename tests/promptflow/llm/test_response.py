from __future__ import annotations

import copy
import json
import pickle

import pytest

from promptflow.llm.response import ChatCompletion, ChatCompletionChunk

ANSWER = {
    "id": "x",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"total_tokens": 5},
    "extra": {"deep": [1, {"a": 2}]},
}


def test_fields_are_attributes_and_items() -> None:
    answer = ChatCompletion(ANSWER)
    assert answer.choices[0].message.content == "hi"
    assert answer["choices"][0]["message"]["content"] == "hi"
    assert answer.usage.total_tokens == 5
    assert answer.extra.deep[1].a == 2
    assert dict(answer)["id"] == "x"
    assert "id" in answer and answer.get("nope", 1) == 1


def test_what_the_server_left_out_is_none_and_what_nobody_knows_is_an_error() -> None:
    message = ChatCompletion(ANSWER).choices[0].message
    assert message.tool_calls is None and message.refusal is None
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = message.nothing_like_it
    assert not hasattr(message, "nothing_like_it")


def test_dumps_are_plain_and_complete() -> None:
    message = ChatCompletion(ANSWER).choices[0].message
    assert message.model_dump() == {
        "content": "hi",
        "refusal": None,
        "role": "assistant",
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    assert message.model_dump(exclude_none=True) == {"role": "assistant", "content": "hi"}
    assert json.loads(ChatCompletion(ANSWER).to_json()) == ANSWER
    assert ChatCompletion(ANSWER).to_dict() == ANSWER


def test_answers_compare_copy_and_pickle() -> None:
    answer = ChatCompletion(ANSWER)
    assert copy.deepcopy(answer) == answer == pickle.loads(pickle.dumps(answer)) == ANSWER
    assert repr(answer).startswith("ChatCompletion(id='x'")


def test_chunks_hold_deltas() -> None:
    chunk = ChatCompletionChunk({"choices": [{"index": 0, "delta": {"content": "h"}}]})
    assert chunk.choices[0].delta.content == "h"
    assert chunk.choices[0].delta.tool_calls is None and chunk.choices[0].finish_reason is None
