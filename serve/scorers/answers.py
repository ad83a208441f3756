"""Whatever a model or a ``run`` returns -> JSON: numpy, pandas, dates, bytes; what JSON has no form for is named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import orjson

from serve.scorers.base import ModelError

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def to_json(value: Any, nan: bool = False) -> bytes:
    """``value`` as JSON text. ModelError where it holds what JSON cannot; with ``nan``, NaN and infinity are written
    as Python does. What a table lacks is null, else."""
    try:
        text = orjson.dumps(value, default=_plain, option=_OPTIONS)
    except TypeError as error:
        if "64-bit" not in str(error):
            raise ModelError(f"The answer cannot be written as JSON: {error.__cause__ or error}") from error
        return _slowly(value, _plain)  # JSON has integers of any length, and Python's own writer, too
    # NaN and infinity come out as null, which a client would take for "no value"; only then is it worth a look.
    if b"null" in text and nan:
        return _slowly(value, _as_it_is)
    if b"null" in text and (found := _not_a_number(value)):
        raise ModelError(f"The answer holds {found}, which JSON has no form for.")
    return text


def _slowly(value: Any, default: Callable[[Any], Any]) -> bytes:
    try:
        return json.dumps(value, default=default, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"The answer cannot be written as JSON: {error}") from error


def _plain(value: Any) -> Any:
    """What the writers do not know: arrays that are not contiguous or of Python objects, tables, numpy's scalars."""
    for known, plain in _FORMS:
        if known(value):
            return plain(value)
    raise TypeError(f"a value of the type {type(value).__name__}")


def _as_it_is(value: Any) -> Any:
    return value.to_dict(orient="records") if hasattr(value, "columns") else _plain(value)


def _text(value: bytes | bytearray) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise TypeError("bytes that are no text (encode them, by base64 for one)") from None


def _records(table: Any) -> Any:
    """A row is an object, as MLflow's server has it; what is missing, for which pandas has NaN, is null."""
    rows = table.to_dict(orient="records")
    return [{name: None if _is_missing(cell) else cell for name, cell in row.items()} for row in rows]


def _is_missing(value: Any) -> bool:
    return (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda value: all(hasattr(value, name) for name in names)


_FORMS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (lambda value: type(value).__name__ in ("NAType", "NaTType"), lambda value: None),
    (_has("to_dict", "columns"), _records),
    (_has("tolist", "dtype"), lambda value: value.tolist()),  # arrays, numpy's scalars, columns of pandas
    (_has("toarray", "dtype"), lambda value: value.toarray().tolist()),  # sparse
    (_has("isoformat"), lambda value: value.isoformat()),
    (lambda value: isinstance(value, set | frozenset), lambda value: sorted(value, key=repr)),
    (lambda value: isinstance(value, bytes | bytearray), _text),
    (_has("model_dump"), lambda value: value.model_dump(mode="json")),
)


def _not_a_number(value: Any, path: str = "") -> str:
    """Where the first NaN or infinity is, or nothing."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value} at {path or 'the top'}"
    if isinstance(value, dict):
        pairs = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [(f"{path}[{at}]", item) for at, item in enumerate(value)]
    elif hasattr(value, "dtype") or hasattr(value, "to_dict"):
        return _not_a_number(_plain(value), path)
    else:
        return ""
    return next(filter(None, (_not_a_number(item, where) for where, item in pairs)), "")
