"""Tools in a chat: how a model writes its calls, finding them in its text, and the grammar that forces one.

Models are trained on a few ways of writing calls; which one is read off the chat template.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptflow.exceptions import ValidationException
from serve.engines.base import ToolCall
from serve.engines.guide import spaced
from serve.engines.text import overlap

MOST = 16  # calls that one forced answer may hold: a small model would list them without end

Named = tuple[str, str]  # a function's name, and its arguments as JSON text


@dataclass(frozen=True)
class ToolFormat:
    """A way of writing calls: between ``opener`` and ``closer`` stands what ``read`` understands. An empty closer: to
    the end of the answer. An empty opener: an answer that begins with a brace is a call."""

    opener: str
    closer: str
    read: Callable[[str], list[Named]]
    key: str = "arguments"

    def grammar(self, tools: Sequence[Mapping[str, Any]], many: bool, special: int | None = None) -> str:
        """Lark for an answer that is nothing but calls of ``tools``. ``special``: the opener's token, if it is one that
        text cannot spell."""
        schema = spaced({"anyOf": [self._call(function_of(tool)) for tool in tools]})
        open_ = json.dumps(self.opener) if special is None else f"<[{special}]>"
        close = json.dumps(self.closer)
        if self.read is read_list:
            more = f' (", " call){{0,{MOST - 1}}}' if many else ""
            return f'start: {open_} "[" call{more} "]"\ncall: %json {json.dumps(schema)}\n'
        body = f'{open_} "\\n" call "\\n" {close}' if self.closer else "call"
        more = f' ("\\n" {body}){{0,{MOST - 1}}}' if many and self.closer else ""
        return f"start: {body}{more}\ncall: %json {json.dumps(schema)}\n"

    def _call(self, function: Mapping[str, Any]) -> dict[str, Any]:
        parameters = function.get("parameters") or {"type": "object"}
        return {
            "type": "object",
            "properties": {"name": {"const": function["name"]}, self.key: parameters},
            "required": ["name", self.key],
            "additionalProperties": False,
        }


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping) or not function.get("name"):
        raise ValidationException("A tool must be {type: function, function: {name, …}}.")
    return function


def read_object(text: str) -> list[Named]:
    """One call as a JSON object: name, and arguments or parameters."""
    return [_named(json.loads(text))]


def read_list(text: str) -> list[Named]:
    """Calls as a JSON list; or, of newer models, each as a name (and a silent special token) before its arguments."""
    if text.startswith("["):
        return [_named(entry) for entry in json.loads(text)]
    found = [part.partition("{") for part in text.split(MISTRAL.opener)]
    return [(name.strip(), json.dumps(json.loads(brace + rest), ensure_ascii=False)) for name, brace, rest in found]


def read_objects(text: str) -> list[Named]:
    """Calls as JSON objects with semicolons between them."""
    decoder, found = json.JSONDecoder(), []
    text = text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(_named(value))
        text = text[end:].lstrip("; \n")
    return found


def read_tags(text: str) -> list[Named]:
    """``<function=NAME><parameter=NAME>value</parameter></function>``; a value that is JSON is taken as JSON."""
    name = re.search(r"<function=([^>\n]+)>", text)
    if name is None:
        raise ValueError("no function")
    pairs = re.findall(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", text, re.DOTALL)
    return [(name[1], json.dumps({key: _value(value) for key, value in pairs}, ensure_ascii=False))]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _named(entry: Any) -> Named:
    arguments = entry.get("arguments", entry.get("parameters", {}))
    return str(entry["name"]), arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


HERMES = ToolFormat("<tool_call>", "</tool_call>", read_object)
TAGS = ToolFormat("<tool_call>", "</tool_call>", read_tags)
MISTRAL = ToolFormat("[TOOL_CALLS]", "", read_list)
LLAMA = ToolFormat("", "", read_objects, key="parameters")


def format_of(template: str) -> ToolFormat:
    if "[TOOL_CALLS]" in template:
        return MISTRAL
    if "<function=" in template:
        return TAGS
    if "<|python_tag|>" in template or ('"parameters"' in template and "<tool_call>" not in template):
        return LLAMA
    return HERMES


def told(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the tools explained in words, for a template that knows none."""
    lines = [
        "You may call these functions. To call one, answer with nothing but",
        '<tool_call>\n{"name": "its name", "arguments": {its arguments}}\n</tool_call>',
        *(json.dumps(function_of(tool), ensure_ascii=False) for tool in tools),
    ]
    rest = [_in_words(message) for message in messages]
    system = rest.pop(0)["content"] + "\n\n" if rest and rest[0]["role"] == "system" else ""
    return [{"role": "system", "content": system + "\n".join(lines)}, *rest]


def _in_words(message: Mapping[str, Any]) -> dict[str, Any]:
    """Calls and results as the text of an assistant and a user, roles that every template has."""
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message.get('content')}\n</tool_response>"}
    if not message.get("tool_calls"):
        return dict(message)
    calls = (
        f'<tool_call>\n{{"name": {json.dumps(call["function"]["name"])}, "arguments": '
        f"{call['function'].get('arguments') or '{}'}}}\n</tool_call>"
        for call in message["tool_calls"]
    )
    return {"role": message["role"], "content": (message.get("content") or "") + "\n".join(calls)}


class ToolWatch:
    """Takes the calls out of an answer as it grows. What looks like a call and is none is given out as text."""

    def __init__(self, form: ToolFormat) -> None:
        self.form = form
        self.found = 0
        self._held = ""
        self._inside = False
        self._begun = False

    def push(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """The text that can be shown now, and the calls that are complete."""
        self._held += text
        shown, calls = "", list[ToolCall]()
        while True:
            if not self._inside:
                shown += self._until_opener()
            if not self._inside or not self.form.closer or self.form.closer not in self._held:
                return shown, tuple(calls)
            body, _, self._held = self._held.partition(self.form.closer)
            self._inside = False
            made = self._calls(body)
            calls += made
            shown += "" if made else self.form.opener + body + self.form.closer

    def rest(self) -> tuple[str, tuple[ToolCall, ...]]:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        if not self._inside:
            return held, ()
        self._inside = False
        calls = self._calls(held)
        return ("" if calls else self.form.opener + held), calls

    def _until_opener(self) -> str:
        held = self._held if self._begun or self.found else self._held.lstrip()
        if not self.form.opener:
            # Only the very beginning of an answer tells whether it is a call.
            if not held or self._begun:
                self._held = "" if self._begun else self._held
                return held if self._begun else ""
            self._begun, self._inside = True, held.startswith("{")
            self._held = held if self._inside else ""
            return "" if self._inside else held
        before, opener, after = self._held.partition(self.form.opener)
        if opener:
            self._inside, self._held = True, after
            return before.rstrip()
        # White space waits, too: before a call it belongs to the call.
        shown = before[: len(before) - overlap(before, self.form.opener)].rstrip()
        self._held = before[len(shown) :]
        return shown

    def _calls(self, body: str) -> tuple[ToolCall, ...]:
        try:
            named = self.form.read(body.strip())
        except (ValueError, KeyError, TypeError, AttributeError):
            return ()
        self.found += len(named)
        return tuple(ToolCall(f"call_{secrets.token_hex(12)}", name, arguments) for name, arguments in named)
