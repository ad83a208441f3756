"""Whatever a model or a ``run`` returns -> JSON: numpy, pandas, dates, bytes; what JSON has no form for is named."""

from __future__ import annotations

import math
from typing import Any

import orjson

from serve.scorers.base import ModelError

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def to_json(value: Any) -> bytes:
    """``value`` as JSON text. ModelError where it holds what JSON cannot."""
    try:
        text = orjson.dumps(value, default=_plain, option=_OPTIONS)
    except TypeError as error:
        raise ModelError(f"The answer cannot be written as JSON: {_reason(error)}") from error
    # NaN and infinity come out as null, which a client would take for "no value"; only then is it worth a look.
    if b"null" in text and (found := _not_a_number(value)):
        raise ModelError(f"The answer holds {found}, which JSON has no form for.")
    return text


def _plain(value: Any) -> Any:
    """What orjson does not know: arrays that are not contiguous or of Python objects, tables, numpy's scalars, sets."""
    for method in ("tolist", "item"):  # numpy's and torch's
        if hasattr(value, method) and hasattr(value, "dtype"):
            return getattr(value, method)()
    if hasattr(value, "to_dict"):  # a table of pandas
        return value.to_dict(orient="records") if hasattr(value, "columns") else value.to_dict()
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "strict")
    raise TypeError(f"a value of the type {type(value).__name__}")


def _reason(error: TypeError) -> str:
    cause = error.__cause__ or error
    return str(cause)


def _not_a_number(value: Any, path: str = "") -> str:
    """Where the first NaN or infinity is, or nothing."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value} at {path or 'the top'}"
    if isinstance(value, dict):
        pairs = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [(f"{path}[{at}]", item) for at, item in enumerate(value)]
    elif hasattr(value, "tolist") and hasattr(value, "dtype"):
        return _not_a_number(value.tolist(), path)
    elif hasattr(value, "to_dict"):
        return _not_a_number(_plain(value), path)
    else:
        return ""
    return next(filter(None, (_not_a_number(item, where) for where, item in pairs)), "")
