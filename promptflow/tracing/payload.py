"""Values as the JSON text that spans carry: never raises, never shows a secret."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any

from promptflow.workspace.redact import redacted

SCRUBBED = "******"
MAX_PAYLOAD = 4 * 1024 * 1024

_fast: Callable[[Any], bytes] | None = None


def dumps(value: Any) -> str:
    """``value`` as compact JSON. What JSON cannot hold is shown by name, a secret or connection never by content."""
    try:
        text = redacted((_fast or _load())(value)).decode()
    except Exception:
        text = _careful(value)
    return text if len(text) <= MAX_PAYLOAD else _cut(text)


def loads(text: str | bytes) -> Any:
    import orjson

    return orjson.loads(text)


def plain(value: Any) -> Any:
    """``value`` with nothing but dicts, lists, strings, numbers and None in it."""
    return loads(dumps(value))


def default(value: Any) -> Any:
    """What stands for a value of a type that JSON does not know."""
    kind = type(value)
    if getattr(kind, "__promptflow_connection__", False):
        return kind.__name__
    if isinstance(value, str):
        return SCRUBBED if kind.__name__ == "Secret" else str.__str__(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): item for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    for name in ("serialize", "model_dump"):
        method = getattr(value, name, None)
        if callable(method) and not isinstance(value, type):
            return method()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _field(value, field) for field in fields(value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>" if kind in (bytes, bytearray, memoryview) else str(value)
    if isinstance(value, int | float):
        return (int if isinstance(value, int) else float)(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    items = getattr(value, "items", None)  # a traced iterator: what it has given so far
    if isinstance(items, list):
        return items
    return getattr(value, "__qualname__", None) or str(value)


def _field(value: Any, field: Field[Any]) -> Any:
    content = getattr(value, field.name, None)
    secret = field.type in ("Secret", "types.Secret") or getattr(field.type, "__name__", "") == "Secret"
    hidden = secret or field.name in getattr(type(value), "__promptflow_secrets__", ())
    return SCRUBBED if hidden and content else content


def _load() -> Callable[[Any], bytes]:
    # On first use only: importing the tracing package must stay cheap.
    global _fast
    import orjson

    # Subclasses and dataclasses come to `default`: they may hold what must not be shown.
    option = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    option |= orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS

    def fast(value: Any) -> bytes:
        return orjson.dumps(value, default, option)

    _fast = fast
    return fast


def _careful(value: Any) -> str:
    """The slow way: huge integers, deep or circular values, objects whose methods raise."""
    import json

    return json.dumps(_shown(value, 0, set()), ensure_ascii=False, default=str)


def _shown(value: Any, depth: int, seen: set[int]) -> Any:
    if type(value) is str:
        return value.encode("utf-8", "replace").decode()  # half of a surrogate pair is no text
    if value is None or isinstance(value, bool) or type(value) in (int, float):
        return value
    if depth > 40 or id(value) in seen:
        return f"<{type(value).__name__}>"
    seen = seen | {id(value)}
    try:
        if type(value) is dict:
            return {_shown(str(key), 0, seen): _shown(item, depth + 1, seen) for key, item in value.items()}
        if type(value) is list:
            return [_shown(item, depth + 1, seen) for item in value]
        return _shown(default(value), depth + 1, seen)
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _cut(text: str) -> str:
    return dumps({"truncated": True, "characters": len(text), "head": text[:10_000]})
