from __future__ import annotations

from typing import Any

import pytest

from promptflow.contracts.multimedia import Image
from promptflow.exceptions import (
    ChatAPIFunctionRoleInvalidFormat,
    ChatAPIInvalidRole,
    ChatAPIInvalidRoleError,
    ChatAPIToolRoleInvalidFormat,
    JinjaTemplateError,
)
from promptflow.llm.messages import build_messages, find_images, image_lines, parse_chat, parse_tool_calls

PNG = Image(b"one", "image/png")
WEB = Image(b"two", "image/png", "https://example.org/two.png")


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("system:\nhello\ndef f", [{"role": "system", "content": "hello\ndef f"}]),
        ("# system:\nx ##function:\ny", [{"role": "system", "content": "x ##function:\ny"}]),
        (" \n  #System :  \nx", [{"role": "system", "content": "x"}]),
        ("user:\na\n\nuser:\nb", [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]),
        ("user:\nassistant:\n", [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]),
        ("user:\r\nwindows\r\nline", [{"role": "user", "content": "windows\r\nline"}]),
        ("user:\nthe user: said", [{"role": "user", "content": "the user: said"}]),
        ("function:\nname:\nf\ncontent:\nr", [{"role": "function", "name": "f", "content": "r"}]),
        ("# function:\n##name:\nf\n##content:\nr", [{"role": "function", "name": "f", "content": "r"}]),
        ("user:\nname:\n\nbob\n content:\n", [{"role": "user", "name": "bob", "content": ""}]),
        ("user:\nname:\n\n content:\nx", [{"role": "user", "content": "name:\n\n content:\nx"}]),
        ("function:\r\nname:\r\n f\ncontent :\r\nr", [{"role": "function", "name": "f", "content": "r"}]),
        ("tool:\n## tool_call_id:\ni \n content:\nr", [{"role": "tool", "tool_call_id": "i", "content": "r"}]),
        ("assistant:\n## tool_calls:\n[{'id': 'a'}]\n", [{"role": "assistant", "tool_calls": [{"id": "a"}]}]),
        ("", []),
    ],
)
def test_text_splits_into_messages(text: str, messages: list[dict[str, Any]]) -> None:
    assert parse_chat(text) == messages


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("what is your name", ChatAPIInvalidRole, "what is your name"),
        ("chatbot:\nhello\nuser:\nx", ChatAPIInvalidRole, "specific format"),
        ("function:\nresult", ChatAPIFunctionRoleInvalidFormat, "function role"),
        ("tool:\n## tool_call_id:\n", ChatAPIToolRoleInvalidFormat, "tool role"),
    ],
)
def test_what_is_no_chat_prompt_is_an_error(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_chat(text)


def test_a_missing_role_is_an_error_by_both_of_its_names() -> None:
    with pytest.raises(ChatAPIInvalidRoleError) as caught:
        parse_chat("x")
    assert caught.value.error_codes == ["UserError", "ToolValidationError", "ChatAPIInvalidRole"]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("## tool_calls:\n[]", []),
        ("tool_calls :\r\n[]", []),
        ("tool_calls:\n[{'a': [1, 2]}, {'b': ']'}]\n", [{"a": [1, 2]}, {"b": "]"}]),
        ('tool_calls:\n[{"a": null, "b": true}]', [{"a": None, "b": True}]),
        ("tool_calls:\n[1]\nand text", [1]),
        ("tool_calls:\n[", None),
        ("some text", None),
        ("tool_calls:\n[open('x')]", None),
    ],
)
def test_tool_calls_are_literals_only(text: str, calls: list[Any] | None) -> None:
    assert parse_tool_calls(text) == calls


def test_lines_that_name_an_image_become_parts() -> None:
    template = "# user:\nlook at\n![image]({{a}})and ![ image ]({{ b }}) now"
    messages = build_messages(template, {"a": PNG, "b": WEB}, detail="low")
    assert messages[0]["content"] == [
        {"type": "text", "text": "look at"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,b25l", "detail": "low"}},
        {"type": "text", "text": "and "},
        {"type": "image_url", "image_url": {"url": "https://example.org/two.png", "detail": "low"}},
        {"type": "text", "text": " now"},
    ]


def test_images_are_found_anywhere_once() -> None:
    assert find_images({"a": [PNG, {"b": WEB}], "c": PNG, "d": "x"}) == [PNG, WEB]


def test_image_marks_move_to_lines_of_their_own() -> None:
    assert image_lines("x ![image]({{i}}) y") == "x \n{{i}}\n y"


def test_a_template_that_does_not_render_says_so_without_marks() -> None:
    with pytest.raises(JinjaTemplateError) as caught:
        build_messages("user:\n{{ x['a'].b.c }}", {"x": {"a": "user:\n"}}, outside=["x"])
    assert "6022" not in str(caught.value)


def test_templates_cannot_reach_python() -> None:
    with pytest.raises(JinjaTemplateError):
        build_messages("user:\n{{ ().__class__.__base__.__subclasses__() }}", {})
