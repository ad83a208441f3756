"""Chat messages → prompt, by the model's own template."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from promptflow.exceptions import UserErrorException, ValidationException

PLAIN = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}assistant:"


def read_template(folder: Path, config: Mapping[str, Any]) -> str:
    """The template of a model folder (``chat_template.jinja`` or the tokenizer's config), or a plain one."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template", PLAIN)
    if isinstance(template, list):  # several by name, as some models have them for tools
        template = {entry["name"]: entry["template"] for entry in template}.get("default", PLAIN)
    return str(template)


def compile_template(template: str, specials: Sequence[str], tokens: Mapping[str, str]) -> Callable[..., str]:
    """A function from messages to the prompt. ``specials`` are taken out of the messages' text: a user must not be
    able to end their turn and speak as the system."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals.update(raise_exception=_refuse, strftime_now=lambda form: f"{datetime.datetime.now():{form}}")
    try:
        compiled = environment.from_string(template)
    except TemplateError as error:
        raise ValidationException(f"The model's chat template does not parse: {error}") from error

    def render(messages: Sequence[Mapping[str, Any]]) -> str:
        clean = [{**message, "content": without(str(message["content"]), specials)} for message in messages]
        try:
            return str(compiled.render(messages=clean, add_generation_prompt=True, **tokens))
        except TemplateError as error:
            raise UserErrorException(f"The model's chat template refuses these messages: {error}") from error

    return render


def without(text: str, specials: Sequence[str]) -> str:
    """``text`` with no special token left in it, also not one that appears when another is taken out."""
    while any(special in text for special in specials):
        for special in specials:
            text = text.replace(special, "")
    return text


def _refuse(message: str) -> str:
    raise TemplateError(message)
