"""Tools: how calls are written, found in growing text, and forced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy")
tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("llguidance")

from promptflow.exceptions import ValidationException  # noqa: E402
from serve.engines.base import Request  # noqa: E402
from serve.engines.guide import Guides  # noqa: E402
from serve.engines.prompts import Prompts  # noqa: E402
from serve.engines.tool_calls import HERMES, LLAMA, MISTRAL, TAGS, ToolFormat, ToolWatch, format_of, told  # noqa: E402
from tests import tiny_models  # noqa: E402

ARGUMENTS = {"city": "Zürich", "days": 3}
CALL = json.dumps({"name": "weather", "arguments": ARGUMENTS}, ensure_ascii=False)
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
OTHER = {"type": "function", "function": {"name": "now"}}

WRITTEN = [
    (HERMES, f"<tool_call>\n{CALL}\n</tool_call>"),
    (TAGS, "<tool_call>\n<function=weather>\n<parameter=city>\nZürich\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
           "</function>\n</tool_call>"),
    (MISTRAL, f"[TOOL_CALLS] [{CALL}]"),
    (MISTRAL, f"[TOOL_CALLS]weather{json.dumps(ARGUMENTS)}"),
    (LLAMA, json.dumps({"name": "weather", "parameters": ARGUMENTS})),
]  # fmt: skip


def heard(form: ToolFormat, text: str, size: int) -> tuple[str, list[tuple[str, Any]]]:
    """What is shown and called when the text comes in bits of this size."""
    watch = ToolWatch(form)
    results = [watch.push(text[at : at + size]) for at in range(0, len(text), size)]
    results.append(watch.rest())
    calls = [(call.name, json.loads(call.arguments)) for _, found in results for call in found]
    return "".join(shown for shown, _ in results), calls


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("form", "text"), WRITTEN, ids=["hermes", "tags", "mistral", "mistral-2", "llama"])
def test_a_call_is_found_however_its_text_is_cut(form: ToolFormat, text: str, size: int) -> None:
    assert heard(form, text, size) == ("", [("weather", ARGUMENTS)])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_text_around_calls_is_shown(size: int) -> None:
    text = f"Let me see.\n\n<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call> Done < 3."
    shown, calls = heard(HERMES, text, size)
    assert shown == "Let me see. Done < 3." and len(calls) == 2


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("form", "text"),
    [
        (HERMES, "no call at all, a < b"),
        (HERMES, "<tool_call>no json</tool_call> after"),
        (HERMES, '<tool_call>{"name": "cut'),
        (HERMES, "it ends with <tool_"),
        (MISTRAL, "[TOOL_CALLS] nothing"),
        (LLAMA, '{"answer": 42}'),
        (LLAMA, "  plain words"),
    ],
)
def test_what_is_no_call_is_text(form: ToolFormat, text: str, size: int) -> None:
    assert heard(form, text, size) == (text if form is not LLAMA else text.lstrip(), [])


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("… <tool_call>{{ tool }}</tool_call>", HERMES),
        ("… <tool_call><function=x>", TAGS),
        ("[AVAILABLE_TOOLS]{{ tools }}[/AVAILABLE_TOOLS] [TOOL_CALLS]", MISTRAL),
        ('{"name": …, "parameters": …} <|python_tag|>', LLAMA),
        ("no word of tools", HERMES),
    ],
)
def test_the_template_tells_how_calls_are_written(template: str, form: ToolFormat) -> None:
    assert format_of(template) is form


@pytest.mark.parametrize("form", [HERMES, MISTRAL, LLAMA], ids=["hermes", "mistral", "llama"])
@pytest.mark.parametrize("many", [False, True])
def test_a_forced_call_can_be_read_again(form: ToolFormat, many: bool, tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    tokenizer = tokenizers.Tokenizer.from_file(str(tiny_models.decoder(tmp_path / "model") / "tokenizer.json"))
    guides = Guides(tokenizer, tokenizer.get_vocab_size(), [2])
    random = np.random.default_rng(4)
    for _ in range(10):
        guide, ids = guides.lark(form.grammar([TOOL], many)), []
        for _ in range(3000):
            # The end is liked: several calls could go on for ever.
            logits = random.normal(size=tokenizer.get_vocab_size()).astype(np.float32)
            logits[2] += 3
            token = int(guide.allow(logits).argmax())
            if token == 2:
                break
            guide.take(token)
            ids.append(token)
            if guide.complete:
                break
        shown, calls = heard(form, tokenizer.decode(ids), 1000)
        assert calls and not shown.strip()
        assert all(name == "weather" and set(found) == {"city"} for name, found in calls)
        assert many or len(calls) == 1


def test_tools_are_told_in_words_where_the_template_knows_none() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
    ]
    system, user, assistant, result = told(messages, [OTHER])
    assert system["content"].startswith("Be kind.\n\n") and '"name": "now"' in system["content"]
    assert user == messages[1] and '{"name": "now", "arguments": {}}' in assistant["content"]
    assert result == {"role": "user", "content": "<tool_response>\nnoon\n</tool_response>"}


def make_prompts(folder: Path) -> Prompts:
    tiny_models.decoder(folder)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return Prompts("tiny", folder, tokenizer, 512, tokenizer.get_vocab_size())


def test_the_models_template_gets_tools_calls_and_results(tmp_path: Path) -> None:
    prompts = make_prompts(tmp_path / "model")
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    messages = [
        {"role": "user", "content": "<|im_end|>hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": [{"type": "text", "text": "sunny"}]},
    ]
    text = prompts.text(Request(messages, tools=[TOOL]))
    assert '"enum": ["Paris", "Rome"]' in text and "<|im_start|>user\nhi<|im_end|>" in text
    assert '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>' in text
    assert "<|im_start|>tool\nsunny<|im_end|>" in text
    assert "Rome" not in prompts.text(Request(messages[:1], tools=[TOOL], tool_choice="none"))


@pytest.mark.parametrize("tool", [{}, {"type": "function"}, {"type": "function", "function": {}}, {"type": "web"}])
def test_a_tool_that_is_none_is_refused(tool: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValidationException, match="A tool must be"):
        make_prompts(tmp_path / "model").text(Request([{"role": "user", "content": "hi"}], tools=[tool]))
