"""Chat messages → prompt, by the model's own template."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from promptflow.exceptions import UserErrorException, ValidationException
from serve.engines.base import UnsupportedError

PLAIN = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}assistant:"

Message = Mapping[str, Any]
Tool = Mapping[str, Any]


class GenerationBlock(Extension):
    """``{% generation %}…{% endgeneration %}``, which marks in some templates what a model is trained on."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def read_template(folder: Path, config: Mapping[str, Any], with_tools: bool = False) -> str:
    """The template of a model folder (``chat_template.jinja`` or the tokenizer's config), or a plain one.

    Some have a second one for tools: in a list of the config, or in ``additional_chat_templates``.
    """
    other = folder / "additional_chat_templates" / "tool_use.jinja"
    if with_tools and other.is_file():
        return other.read_text(encoding="utf-8")
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template") or PLAIN
    if isinstance(template, list):
        by_name = {entry["name"]: entry["template"] for entry in template}
        template = (by_name.get("tool_use") if with_tools else None) or by_name.get("default", PLAIN)
    return str(template)


def compile_template(template: str, specials: Sequence[str], tokens: Mapping[str, str]) -> Callable[..., str]:
    """A function from messages (and tools) to the prompt. ``specials`` are taken out of the messages' text: a user must
    not be able to end their turn and speak as the system. With ``parts`` a list of parts stays one, for a template that
    knows images."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", GenerationBlock]
    )
    environment.filters["tojson"] = to_json
    environment.globals.update(raise_exception=_refuse, strftime_now=lambda form: f"{datetime.datetime.now():{form}}")
    try:
        compiled = environment.from_string(template)
    except TemplateError as error:
        raise ValidationException(f"The model's chat template does not parse: {error}") from error

    def render(messages: Sequence[Message], tools: Sequence[Tool] = (), parts: bool = False) -> str:
        clean = [cleaned(message, specials, parts) for message in messages]
        given = {"tools": list(tools)} if tools else {}
        try:
            return str(compiled.render(messages=clean, add_generation_prompt=True, **given, **tokens))
        except TemplateError as error:
            raise UserErrorException(f"The model's chat template refuses these messages: {error}") from error

    return render


def cleaned(message: Message, specials: Sequence[str], parts: bool = False) -> dict[str, Any]:
    """A message as templates read it: its text in one string, the arguments of its tool calls as objects."""
    result = {key: value for key, value in message.items() if value is not None}
    content = message.get("content")
    if parts and isinstance(content, list):
        texts = [{**part, "text": without(str(part["text"]), specials)} if "text" in part else part for part in content]
        result["content"] = texts
    else:
        result["content"] = without(text_of(content), specials)
    if calls := result.pop("tool_calls", None):
        result["tool_calls"] = [_opened(call, specials) for call in calls]
    return result


def text_of(content: Any) -> str:
    """The text of a message; of a list of parts the text parts. UnsupportedError for what a text model cannot read."""
    if not isinstance(content, list):
        return str(content or "")
    kinds = {str(part.get("type")) for part in content} - {"text"}
    if kinds:
        raise UnsupportedError(f"This model reads text only, not {', '.join(sorted(kinds))}.")
    return "\n".join(str(part.get("text", "")) for part in content)


def _opened(call: Mapping[str, Any], specials: Sequence[str]) -> dict[str, Any]:
    function = dict(call.get("function") or {})
    arguments = without(str(function.get("arguments") or "{}"), specials)
    try:
        function["arguments"] = json.loads(arguments)
    except ValueError:  # the model's own slip: the template gets it as it was
        function["arguments"] = arguments
    return {**call, "function": function}


def to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def without(text: str, specials: Sequence[str]) -> str:
    """``text`` with no special token left in it, also not one that appears when another is taken out."""
    while any(special in text for special in specials):
        for special in specials:
            text = text.replace(special, "")
    return text


def _refuse(message: str) -> str:
    raise TemplateError(message)
