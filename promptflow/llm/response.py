"""Answers of a model's server as objects: attributes, items and ``model_dump()``, as OpenAI's SDK gives them."""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from typing import Any, ClassVar


class ApiObject:
    """A JSON object whose fields are attributes. A field that the API knows and the server left out is None."""

    __slots__ = ("_data", "_nested")

    _optional: ClassVar[tuple[str, ...]] = ()
    _classes: ClassVar[dict[str, type[ApiObject]]] = {}

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data
        self._nested: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._data:
            return self[name]
        if name in self._optional:
            return None
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getitem__(self, name: str) -> Any:
        if name not in self._nested:
            self._nested[name] = _wrap(self._data[name], self._classes.get(name, ApiObject))
        return self._nested[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self._data else default

    def keys(self) -> KeysView[str]:
        return self._data.keys()

    def __contains__(self, name: object) -> bool:
        return name in self._data

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Pairs, as the SDK's objects give them."""
        return iter([(name, self[name]) for name in self._data])

    def __eq__(self, other: object) -> bool:
        return self._data == (other._data if isinstance(other, ApiObject) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={self[name]!r}' for name in self._data)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._data,))

    def model_dump(self, *, exclude_none: bool = False, exclude_unset: bool = False, **_: Any) -> dict[str, Any]:
        """Plain dicts and lists, fields that were left out as None."""
        left_out = () if exclude_unset or exclude_none else self._optional
        data = {name: None for name in left_out if name not in self._data}
        for name in self._data:
            value = _dump(self[name], exclude_none=exclude_none, exclude_unset=exclude_unset)
            if value is not None or not exclude_none:
                data[name] = value
        return data

    def to_dict(self) -> dict[str, Any]:
        return self._data

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        import json

        return json.dumps(self.model_dump(**options), indent=indent, ensure_ascii=False)

    def to_json(self, indent: int | None = 2) -> str:
        return self.model_dump_json(indent=indent, exclude_unset=True)


def _wrap(value: Any, cls: type[ApiObject]) -> Any:
    if isinstance(value, dict):
        return cls(value)
    if isinstance(value, list):
        return [_wrap(item, cls) for item in value]
    return value


def _dump(value: Any, **options: bool) -> Any:
    if isinstance(value, ApiObject):
        return value.model_dump(**options)
    if isinstance(value, list):
        return [_dump(item, **options) for item in value]
    return value


class Function(ApiObject):
    __slots__ = ()


class ToolCall(ApiObject):
    __slots__ = ()
    _classes = {"function": Function}


class ChatCompletionMessage(ApiObject):
    __slots__ = ()
    _optional = ("content", "refusal", "annotations", "audio", "function_call", "tool_calls")
    _classes = {"tool_calls": ToolCall, "function_call": Function}


class Choice(ApiObject):
    __slots__ = ()
    _optional = ("logprobs",)
    _classes = {"message": ChatCompletionMessage}


class CompletionUsage(ApiObject):
    __slots__ = ()
    _optional = ("completion_tokens_details", "prompt_tokens_details")


class ChatCompletion(ApiObject):
    __slots__ = ()
    _optional = ("service_tier", "system_fingerprint", "usage")
    _classes = {"choices": Choice, "usage": CompletionUsage}


class ChoiceDelta(ApiObject):
    __slots__ = ()
    _optional = ("content", "function_call", "refusal", "role", "tool_calls")
    _classes = {"tool_calls": ToolCall, "function_call": Function}


class ChunkChoice(ApiObject):
    __slots__ = ()
    _optional = ("finish_reason", "logprobs")
    _classes = {"delta": ChoiceDelta}


class ChatCompletionChunk(ApiObject):
    __slots__ = ()
    _optional = ("service_tier", "system_fingerprint", "usage")
    _classes = {"choices": ChunkChoice, "usage": CompletionUsage}


class CompletionChoice(ApiObject):
    __slots__ = ()
    _optional = ("logprobs", "finish_reason")


class Completion(ApiObject):
    __slots__ = ()
    _optional = ("system_fingerprint", "usage")
    _classes = {"choices": CompletionChoice, "usage": CompletionUsage}
