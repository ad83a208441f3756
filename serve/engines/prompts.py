"""Requests → rows: the text as token ids, the model's defaults filled in, what does not fit refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from serve.engines.base import PromptTooLongError, Request
from serve.engines.chat import compile_template, read_template, without
from serve.engines.guide import Guide, Guides
from serve.engines.json_file import read_json
from serve.engines.row import Row, Vocabulary
from serve.engines.sampling import Choice
from serve.engines.tool_calls import HERMES, ToolFormat, ToolWatch, format_of, function_of, told

DEFAULT_TOKENS = 256


class Prompts:
    """What a model folder says about prompts and answers: template, vocabulary, defaults; ``context`` in tokens,
    ``size`` is the width of the logits."""

    def __init__(self, model: str, folder: Path, tokenizer: Any, context: int, size: int) -> None:
        self.model, self.context, self.size = model, context, size
        config, generation = read_json(folder / "config.json"), read_json(folder / "generation_config.json")
        settings = read_json(folder / "tokenizer_config.json")
        self.vocabulary = Vocabulary.of(tokenizer, config, generation)
        self.guides = Guides(tokenizer, size, tuple(self.vocabulary.ends))
        sampled = generation.get("do_sample", True)
        self.temperature = float(generation.get("temperature") or 1.0) if sampled else 0.0
        self.top_p = float(generation.get("top_p") or 1.0) if sampled else 1.0
        self.top_k = int(generation.get("top_k") or 0) if sampled else 0
        tokens = {name: token_text(settings.get(name)) for name in ("bos_token", "eos_token")}
        specials = self.vocabulary.specials
        template, with_tools = read_template(folder, settings), read_template(folder, settings, with_tools=True)
        self.template = compile_template(template, specials, tokens)
        self.knows_tools = "tools" in with_tools
        self.tool_template = compile_template(with_tools, specials, tokens) if self.knows_tools else self.template
        self.tool_format: ToolFormat = format_of(with_tools) if self.knows_tools else HERMES

    async def row(self, request: Request) -> Row:
        """The request, ready to run. Grammars compile in a thread: a large schema takes its time."""
        ids = self.ids(request)
        tools = request.tools if request.messages is not None and request.tool_choice != "none" else ()
        guide = await asyncio.to_thread(self._guide, request, tools) if self._guided(request, tools) else None
        sampling = request.sampling
        asked = DEFAULT_TOKENS if sampling.max_tokens is None else sampling.max_tokens
        temperature = self.temperature if sampling.temperature is None else sampling.temperature
        choice = Choice(
            temperature,
            self.top_p if sampling.top_p is None else sampling.top_p,
            self.top_k if sampling.top_k is None else sampling.top_k,
            sampling.logprobs,
        )
        return Row(
            ids,
            sampling,
            min(asked, self.context - len(ids)),
            choice,
            self.vocabulary,
            asyncio.get_running_loop(),
            guide,
            ToolWatch(self.tool_format) if tools else None,
            one_call=not request.parallel_tool_calls,
        )

    def ids(self, request: Request) -> list[int]:
        """The prompt as token ids; refuses an empty one, one that is too long, and ids that the model has not."""
        if request.messages is not None:
            ids = self.vocabulary.encode(self.text(request), with_specials=False)
        elif isinstance(request.prompt, str):
            ids = self.vocabulary.encode(request.prompt, with_specials=True)
        else:
            ids = list(request.prompt)
            self._check_ids(ids, "prompt")
        self._check_ids(request.sampling.logit_bias, "logit_bias")
        if not ids:
            raise ValidationException("The prompt is empty.")
        if len(ids) >= self.context:
            raise PromptTooLongError(
                f"The prompt has {len(ids)} tokens; the model '{self.model}' reads fewer than {self.context}.",
                hint="shorten the prompt or choose a model with a longer context",
            )
        return ids

    def text(self, request: Request) -> str:
        """A chat as the model's template writes it."""
        messages = request.messages or ()
        for tool in request.tools:
            function_of(tool)
        if not request.tools or request.tool_choice == "none":
            return self.template(messages)
        if self.knows_tools:
            return self.tool_template(messages, request.tools)
        return self.template(told(messages, request.tools))

    def encode(self, text: str) -> list[int]:
        """A text that somebody else wrote, as tokens of a prompt: special tokens in it are taken out."""
        return self.vocabulary.encode(without(text, self.vocabulary.specials), with_specials=True)

    def _check_ids(self, ids: Sequence[int] | Mapping[int, float], what: str) -> None:
        if wrong := [number for number in ids if not 0 <= number < self.size]:
            raise ValidationException(
                f"The {what} names token {wrong[0]}; the model '{self.model}' has tokens 0 to {self.size - 1}."
            )

    def _guided(self, request: Request, tools: Sequence[Mapping[str, Any]]) -> bool:
        forced = bool(tools) and request.tool_choice != "auto"
        return forced or request.sampling.json or request.sampling.json_schema is not None

    def _guide(self, request: Request, tools: Sequence[Mapping[str, Any]]) -> Guide:
        if tools and request.tool_choice != "auto":
            named = request.tool_choice != "required"
            asked = [tool for tool in tools if function_of(tool)["name"] == request.tool_choice] if named else tools
            if not asked:
                raise ValidationException(f"tool_choice names '{request.tool_choice}', which is none of the tools.")
            many = request.parallel_tool_calls and not named
            return self.guides.lark(self.tool_format.grammar(asked, many, self._special(self.tool_format.opener)))
        schema = request.sampling.json_schema
        return self.guides.json_object() if schema is None else self.guides.schema(schema)

    def _special(self, text: str) -> int | None:
        return self.vocabulary.tokenizer.token_to_id(text) if text in self.vocabulary.specials else None


def token_text(entry: Any) -> str:
    """A token of tokenizer_config.json, which is a string or an object with its content."""
    return str(entry.get("content", "")) if isinstance(entry, dict) else str(entry or "")
