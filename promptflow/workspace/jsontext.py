"""JSON as the database keeps it: text, by orjson where it can."""

from __future__ import annotations

import json
from typing import Any

import orjson

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


def dumps(value: Any) -> str:
    """Any value as JSON text; what JSON has no form for becomes its ``str``."""
    try:
        return orjson.dumps(value, default=str, option=_OPTIONS).decode()
    except TypeError:
        # Integers past 64 bits and lone surrogates: the standard library takes them, and escapes the latter.
        return json.dumps(value, default=str)


def loads(text: str | bytes) -> Any:
    """The value of JSON text."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
