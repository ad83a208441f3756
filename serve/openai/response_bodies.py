"""The body of the Responses API, and what it says in the terms of a chat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from serve.engines.base import Request, Sampling
from serve.openai.bodies import Body, Function, NamedFunction, Part, read_content
from serve.openai.errors import ApiError

TEXT_PARTS = ("input_text", "output_text", "text", "refusal")


class TextFormat(Part):
    type: Literal["text", "json_object", "json_schema"] = "text"
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class TextSettings(Part):
    format: TextFormat | None = None


class FunctionTool(Function):
    type: Literal["function"]


class ChosenFunction(NamedFunction):
    type: Literal["function"]


class ResponseBody(Body):
    input: str | Annotated[list[dict[str, Any]], Field(min_length=1)]
    instructions: str | None = None
    previous_response_id: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[str] | None = None
    text: TextSettings | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["auto", "none", "required"] | ChosenFunction | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    stream: bool | None = None
    metadata: dict[str, str] | None = None

    def request(self, before: Sequence[Mapping[str, Any]], inputs: frozenset[str], adapter: str) -> Request:
        """``before`` are the items of the conversation so far."""
        opening = [{"role": "system", "content": self.instructions}] if self.instructions else []
        chosen = self.tool_choice
        return Request(
            messages=[*opening, *messages((*before, *self.items()), inputs)],
            sampling=self._sampling(),
            adapter=adapter,
            tools=tuple(
                {"type": "function", "function": tool.model_dump(exclude_none=True, exclude={"type"})}
                for tool in self.tools or ()
            ),
            tool_choice=chosen.name if isinstance(chosen, ChosenFunction) else chosen or "auto",
            parallel_tool_calls=self.parallel_tool_calls is not False,
        )

    def items(self) -> list[dict[str, Any]]:
        """The input as items, whichever way it was given."""
        return [{"role": "user", "content": self.input}] if isinstance(self.input, str) else list(self.input)

    def _sampling(self) -> Sampling:
        form = self.text.format if self.text is not None and self.text.format is not None else TextFormat()
        if form.type == "json_schema" and form.schema_ is None:
            raise ApiError(400, "text.format: a schema is needed for type json_schema", param="text.format")
        told = self.top_logprobs is not None or "message.output_text.logprobs" in (self.include or ())
        return Sampling(
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            logprobs=(self.top_logprobs or 0) if told else None,
            json=form.type == "json_object",
            json_schema=form.schema_ if form.type == "json_schema" else None,
        )


def messages(items: Iterable[Mapping[str, Any]], inputs: frozenset[str]) -> list[dict[str, Any]]:
    """Items of a conversation as the messages of a chat."""
    result: list[dict[str, Any]] = []
    for at, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "function_call":
            call = {"name": _text(item, "name", at), "arguments": _text(item, "arguments", at)}
            entry = {"id": _text(item, "call_id", at), "type": "function", "function": call}
            if result and result[-1]["role"] == "assistant":
                result[-1].setdefault("tool_calls", []).append(entry)
            else:
                result.append({"role": "assistant", "content": "", "tool_calls": [entry]})
        elif kind == "function_call_output":
            content = _content(item.get("output"), inputs, f"input.{at}.output")
            result.append({"role": "tool", "tool_call_id": _text(item, "call_id", at), "content": content})
        elif kind == "message":
            role = _text(item, "role", at)
            content = _content(item.get("content"), inputs, f"input.{at}.content")
            result.append({"role": "system" if role == "developer" else role, "content": content})
        elif kind != "reasoning":
            raise ApiError(400, f"input.{at}: items of type {str(kind)[:64]} are not known here", param="input")
    if not result:
        raise ApiError(400, "input: there is no message in it", param="input")
    return result


def _text(item: Mapping[str, Any], name: str, at: int) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise ApiError(400, f"input.{at}.{name}: a text is needed", param=f"input.{at}.{name}")
    return value


def _content(content: Any, inputs: frozenset[str], where: str) -> str | list[dict[str, Any]]:
    """Text or parts, in the words of a chat."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise ApiError(400, f"{where}: a text or a list of parts is needed", param=where)
    parts: list[dict[str, Any]] = []
    for part in content:
        if part.get("type") in TEXT_PARTS:
            parts.append({"type": "text", "text": str(part.get("text") or part.get("refusal") or "")})
        elif part.get("type") == "input_image" and isinstance(part.get("image_url"), str):
            parts.append({"type": "image_url", "image_url": {"url": part["image_url"]}})
        else:
            parts.append({"type": str(part.get("type"))})
    return read_content(parts, inputs)
