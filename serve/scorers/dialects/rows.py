"""Requests of MLflow's, KServe's and the Open Inference Protocol's clients for what is asked row by row: flows, and
scripts that say what their parameters are. A row is an object of inputs by name, or the value of the only one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, InputError, MediaError, NotThereError
from serve.scorers.dialects import oip
from serve.scorers.dialects.bodies import media, params_of, read_object, split_table
from serve.scorers.dialects.facts import V1, V2
from serve.scorers.dialects.mlflow import KEYS, read_csv
from serve.scorers.inputs import Table, Tensors

OUTPUT = "output"  # what an answer without names is called


@dataclass(frozen=True, slots=True)
class Rows:
    """``where`` is what the body calls them. ``tensors`` are the same as they came, where they came as tensors.
    ``write`` makes the answer of one answer for each row, ``write_whole`` of one for all."""

    where: str
    rows: Sequence[Any]
    write: Callable[[list[Any]], Answer]
    write_whole: Callable[[Any], Answer]
    tensors: Tensors | None = None


def read(call: Call) -> Rows:
    """The rows of a request. InputError where it has none."""
    path = call.path
    if path == "/invocations":
        where, rows = _mlflow(call)
        return Rows(where, rows, _predictions_and_nan, _predictions_and_nan)
    if V1.fullmatch(path):
        body = read_object(call.body)
        return Rows("instances", _list(body, "instances"), _predictions, _predictions)
    found = V2.fullmatch(path)
    if found is None:
        raise NotThereError(path)
    return _two(call, found[1], found[2] or "1")


def _mlflow(call: Call) -> tuple[str, Sequence[Any]]:
    kind = media(call)
    if kind == "text/csv":
        return "row", _objects(read_csv(call.body))
    if kind not in ("application/json", ""):
        raise MediaError(kind, "application/json or text/csv")
    body = read_object(call.body)
    if params_of(body):
        raise InputError("'params' are for models: this deployment takes inputs alone.")
    found = [key for key in KEYS if key in body]
    if len(found) != 1:
        raise InputError(f"The body must have one of {', '.join(KEYS)}; it has {', '.join(found) or 'none'}.")
    (key,) = found
    if key == "dataframe_split":
        table = split_table(body[key], key)
        if not table.columns:
            raise InputError("'dataframe_split' must name its columns: they are the inputs.")
        return f"{key}.data", _objects(table)
    if key == "inputs" and isinstance(body[key], Mapping):
        return key, _of_columns(body[key])
    rows = _list(body, key)
    if key == "dataframe_records" and not all(isinstance(row, dict) for row in rows):
        raise InputError("'dataframe_records' must be a list of objects, a row each.")
    return key, rows


def _list(body: Mapping[str, Any], key: str) -> list[Any]:
    value = body.get(key)
    if not isinstance(value, list):
        raise InputError(f"The body has no '{key}'." if value is None else f"'{key}' must be a list, an item each row.")
    return value


def _objects(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _of_columns(value: Mapping[str, Any]) -> list[Any]:
    """Lists of one length by name are columns; anything else by name is one row."""
    lengths = {len(one) if isinstance(one, list) else -1 for one in value.values()}
    if len(lengths) != 1 or -1 in lengths:
        return [dict(value)]
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def _predictions(answers: Any) -> Answer:
    return Answer(b'{"predictions":' + to_json(answers) + b"}")


def _predictions_and_nan(answers: Any) -> Answer:
    return Answer(b'{"predictions":' + to_json(answers, nan=True) + b"}")


# -- the Open Inference Protocol --------------------------------------------------------------------------------------


def _two(call: Call, name: str, version: str) -> Rows:
    inputs, asked = oip.read(call)
    assert inputs.tensors is not None

    def write(answers: Any) -> Answer:
        return oip.write(asked, arrays(answers), name, version)

    def write_whole(answer: Any) -> Answer:
        return oip.write(asked, whole_arrays(answer), name, version)

    return Rows("inputs", _of_tensors(inputs.tensors), write, write_whole, inputs.tensors)


def _of_tensors(tensors: Tensors) -> list[dict[str, Any]]:
    """The first axis are the rows; a column may be written as [rows, 1]."""
    columns = {name: plain(name, one) for name, one in tensors.items()}
    lengths = {len(one) for one in columns.values()}
    if len(lengths) != 1:
        told = ", ".join(f"'{name}' has {len(one)}" for name, one in columns.items())
        raise InputError(f"The tensors are not of the same number of rows: {told}.")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def plain(name: str, array: np.ndarray) -> list[Any]:
    """A tensor as JSON has it, a list of rows. InputError for bytes that are no text."""
    if array.ndim == 0 or (array.ndim == 2 and array.shape[1] == 1):
        array = array.reshape(-1)
    if array.dtype == object and any(isinstance(one, bytes) for one in array.flat):
        raise InputError(f"The tensor '{name}' holds bytes that are no UTF-8, and this deployment takes texts.")
    found: list[Any] = array.tolist()
    return found


def arrays(answers: Sequence[Any]) -> dict[str, np.ndarray]:
    """Answers, one for each row, as tensors by name."""
    if not all(isinstance(one, Mapping) for one in answers):
        return {OUTPUT: array_of(answers)}
    names = dict.fromkeys(name for one in answers for name in one)
    return {str(name): array_of([one.get(name) for one in answers]) for name in names}


def whole_arrays(answer: Any) -> dict[str, np.ndarray]:
    """One answer for all rows as tensors by name."""
    if hasattr(answer, "dtype") and hasattr(answer, "reshape"):
        return {OUTPUT: np.atleast_1d(answer)}
    value = json.loads(to_json(answer))
    if isinstance(value, dict):
        return {name: array_of(one if isinstance(one, list) else [one]) for name, one in value.items()}
    return arrays(value) if isinstance(value, list) else {OUTPUT: array_of([value])}


def array_of(values: Sequence[Any]) -> np.ndarray:
    """Numbers, truths or texts where all are the same, lists of numbers where they are even; else texts of JSON."""
    kinds = {type(one) for one in values}
    try:
        if kinds and kinds <= {bool} or kinds <= {int, float} or kinds == {list}:
            found = np.array(values)
            if found.dtype.kind in "bif":
                return found
    except (ValueError, OverflowError):
        pass  # uneven lists, integers beyond 64 bits
    texts = [one if isinstance(one, str) else to_json(one).decode() for one in values]
    found = np.empty(len(texts), dtype=object)
    found[:] = texts
    return found
