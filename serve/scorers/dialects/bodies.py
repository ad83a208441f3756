"""Bodies: JSON objects as the dialects share them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from serve.scorers.base import Call, InputError
from serve.scorers.inputs import Table, Tensors


def read_object(body: bytes) -> dict[str, Any]:
    value = read_json(body)
    if not isinstance(value, dict):
        raise InputError(f"The body must be a JSON object, and is {_kind(value)}.")
    return value


def read_json(body: bytes) -> Any:
    """JSON, and NaN and Infinity as Python's own clients write them."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" in body or b"Infinity" in body:
            try:
                return json.loads(body)
            except (ValueError, RecursionError):
                pass  # it is the first error that says what is wrong
        raise InputError(f"The body is not JSON: {error}") from error


def params_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The words to the model that go beside its input."""
    params = body.get("params")
    if params is not None and not isinstance(params, dict):
        raise InputError("'params' must be an object.")
    return params or {}


def split_table(value: Any, where: str) -> Table:
    """``{"columns": […], "index": […], "data": [[…]]}``, as pandas writes it."""
    if not isinstance(value, Mapping) or not isinstance(value.get("data"), list):
        raise InputError(f"'{where}' must be an object with 'columns' and 'data'.")
    columns, index, rows = value.get("columns") or [], value.get("index") or (), value["data"]
    if not isinstance(columns, list) or len(set(map(str, columns))) != len(columns):
        raise InputError(f"'{where}.columns' must be a list of names, each once.")
    if index and (not isinstance(index, list) or len(index) != len(rows)):
        raise InputError(f"'{where}.index' must be a list of {len(rows)} labels, one for each row.")
    width = len(columns) or (len(rows[0]) if rows and isinstance(rows[0], list) else 0)
    if set(map(type, rows)) - {list} or set(map(len, rows)) - {width}:
        wrong = next(at for at, row in enumerate(rows) if not isinstance(row, list) or len(row) != width)
        raise InputError(f"Row {wrong} of '{where}.data' must be a list of {width} cells.")
    return Table(tuple(map(str, columns)), rows, index)


def record_table(rows: Any, where: str) -> Table:
    """``[{"column": value}, …]``; what a row lacks is null."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"'{where}' must be a list of objects, a row each.")
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(columns, [[row.get(name) for name in columns] for row in rows])


def tensors_of(value: Any, where: str) -> Tensors | Table:
    """Named tensors of an object of lists; a table of a list of objects, or of rows; a tensor without a name of
    any other list, or of a single value."""
    if isinstance(value, Mapping):
        return {str(name): tensor(item, f"{where}.{name}") for name, item in value.items()}
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, dict):
        return record_table(value, where)
    if isinstance(first, list) and not isinstance(next(iter(first), 0), list):
        return Table((), value)
    return {"": tensor(value, where)}


def tensor(value: Any, where: str) -> np.ndarray:
    """An array of numbers or of texts; null among numbers is NaN."""
    try:
        array = np.asarray(value)
        if array.dtype == object and all(cell is None or isinstance(cell, int | float) for cell in array.flat):
            array = array.astype(float)
    except (ValueError, OverflowError) as error:
        raise InputError(f"'{where}' is no tensor: its lists are of uneven lengths.") from error
    if array.dtype == object:
        raise InputError(f"'{where}' is no tensor: it mixes numbers, texts, nulls or objects.")
    return array


def media(call: Call) -> str:
    return call.headers.get("content-type", "").partition(";")[0].strip().lower()


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
