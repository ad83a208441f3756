from __future__ import annotations

from typing import Any

import pytest

from promptflow.exceptions import ChatAPIInvalidFunctions, ChatAPIInvalidTools
from promptflow.llm.chat_parameters import (
    after_refusal,
    chat_parameters,
    check_functions,
    check_tools,
    checked_function_call,
    checked_tool_choice,
    completion_parameters,
    for_model,
    vision_parameters,
)

FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}


def test_defaults_of_a_chat() -> None:
    assert chat_parameters(False) == {"temperature": 1.0, "top_p": 1.0, "stream": False}
    assert chat_parameters(True) == {"temperature": 1.0, "top_p": 1.0, "stream": False, "n": 1}


def test_empty_values_are_left_out() -> None:
    body = chat_parameters(False, stop=[], max_tokens="inf", logit_bias={}, user="", response_format=None)
    assert body == {"temperature": 1.0, "top_p": 1.0, "stream": False}


def test_tools_win_over_functions() -> None:
    body = chat_parameters(True, tools=[TOOL], functions=[FUNCTION])
    assert body["tools"] == [TOOL] and body["tool_choice"] == "auto" and "functions" not in body


def test_texts_are_read_as_flags_and_numbers() -> None:
    body = completion_parameters(stream="True", echo="false", max_tokens="7", temperature="0.5")  # type: ignore[arg-type]
    assert (body["stream"], body["echo"], body["max_tokens"], body["temperature"]) == (True, False, 7, 0.5)


def test_vision_takes_few_parameters() -> None:
    assert vision_parameters(max_tokens=5) == {
        "temperature": 1.0,
        "top_p": 1.0,
        "n": 1,
        "stream": False,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "max_tokens": 5,
    }


@pytest.mark.parametrize("model", ["o1", "o1-mini", "o3-mini-2025", "O4-mini", "gpt-5", "gpt-5.1-mini", "openai/o3"])
def test_reasoning_models_count_completion_tokens(model: str) -> None:
    assert for_model(model, {"max_tokens": 5}) == {"max_completion_tokens": 5}


@pytest.mark.parametrize("model", ["gpt-4o", "olmo-2", "gpt-35-turbo", "o", "oasis-1", "phi-4", ""])
def test_other_models_keep_max_tokens(model: str) -> None:
    assert for_model(model, {"max_tokens": 5}) == {"max_tokens": 5}


@pytest.mark.parametrize(
    ("body", "message", "changed"),
    [
        ({"max_tokens": 5}, "'max_tokens' is not supported. Use 'max_completion_tokens'", {"max_completion_tokens": 5}),
        ({"top_p": 1.0, "a": 1}, "Unsupported parameter: 'top_p'", {"a": 1}),
        ({"top_p": 0.5}, "Unsupported parameter: 'top_p'", None),
        ({"temperature": 0}, "'temperature' does not support 0", None),
        ({"n": 1}, "no such thing", None),
    ],
)
def test_a_refusal_changes_only_what_the_user_did_not_ask_for(
    body: dict[str, Any], message: str, changed: dict[str, Any] | None
) -> None:
    assert after_refusal(body, message) == changed


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ([], "cannot be an empty list"),
        (["x"], "is not a dict"),
        ([{"name": "f"}], "does not have 'parameters' property"),
        ([{"name": "f", "parameters": "p"}], "JSON Schema object"),
        ([{"name": "f", "parameters": {"type": "object"}}], "does not have 'properties' property"),
        ([{"name": "f", "parameters": {"type": "int", "properties": {}}}], "'type' should be 'object'"),
        ([{"name": "f", "parameters": {"type": "object", "properties": []}}], "JSON Schema object"),
    ],
)
def test_functions_are_checked(functions: list[Any], words: str) -> None:
    with pytest.raises(ChatAPIInvalidFunctions, match=words):
        check_functions(functions)
    with pytest.raises(ChatAPIInvalidTools, match=words):
        check_tools([{"type": "function", "function": f} for f in functions])


@pytest.mark.parametrize(
    ("tools", "words"), [(["x"], "tool 0 'x' is not a dict"), ([{"function": FUNCTION}], "does not have 'type'")]
)
def test_tools_are_checked(tools: list[Any], words: str) -> None:
    with pytest.raises(ChatAPIInvalidTools, match=words):
        check_tools(tools)


@pytest.mark.parametrize("choice", [None, "auto", "none", {"name": "f"}])
def test_good_function_calls_pass(choice: Any) -> None:
    assert checked_function_call(choice) == (choice or "auto")


@pytest.mark.parametrize("choice", [None, "auto", "none", "required", {"type": "function", "function": {"name": "f"}}])
def test_good_tool_choices_pass(choice: Any) -> None:
    assert checked_tool_choice(choice) == (choice or "auto")


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("f", "must be a dict"),
        ({"function": {}}, 'must contain "type" field'),
        ({"type": "function"}, 'must contain "function" field'),
        ({"type": "function", "function": "f"}, "must be a dict"),
        ({"type": "function", "function": {"n": 1}}, 'must contain "name" field'),
    ],
)
def test_bad_tool_choices_do_not(choice: Any, words: str) -> None:
    with pytest.raises(ChatAPIInvalidTools, match=words):
        checked_tool_choice(choice)


@pytest.mark.parametrize(("choice", "words"), [("f", "must be a dict"), ({"n": 1}, 'must contain "name" field')])
def test_bad_function_calls_do_not(choice: Any, words: str) -> None:
    with pytest.raises(ChatAPIInvalidFunctions, match=words):
        checked_function_call(choice)
