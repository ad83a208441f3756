"""``/invocations`` as MLflow's scoring server takes it.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import orjson

from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, InputError
from serve.scorers.dialects.bodies import media, read_object, record_table, split_table, tensor, tensors_of
from serve.scorers.inputs import Inputs, Table

KEYS = ("dataframe_split", "dataframe_records", "inputs", "instances")
VERSION = "2.22.0"  # of the protocol that clients ask for; theirs has not changed since 2.0


def read(call: Call) -> Inputs:
    kind = media(call)
    if kind == "text/csv":
        return Inputs(_csv(call.body))
    if kind not in ("application/json", ""):
        raise InputError(f"The content type {kind} is not taken here.", hint="application/json or text/csv")
    body = read_object(call.body)
    found = [key for key in KEYS if key in body]
    if len(found) != 1:
        raise InputError(f"The body must have one of {', '.join(KEYS)}; it has {', '.join(found) or 'none'}.")
    params = body.get("params") or {}
    if not isinstance(params, dict):
        raise InputError("'params' must be an object.")
    key, value = found[0], body[found[0]]
    if key == "dataframe_split":
        return Inputs(split_table(value, key), None, params)
    if key == "dataframe_records":
        return Inputs(record_table(value, key), None, params)
    if key == "instances" and isinstance(value, list) and value and isinstance(value[0], Mapping):
        return Inputs(None, _by_name(value), params)
    tensors = tensors_of(value, key)
    return Inputs(tensors, None, params) if isinstance(tensors, Table) else Inputs(None, tensors, params)


def write(outputs: Any) -> Answer:
    return Answer(b'{"predictions":' + to_json(outputs) + b"}")


def _by_name(rows: list[Any]) -> dict[str, Any]:
    """One tensor a name, of a list of objects that all have it."""
    names = list(rows[0])
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping) or list(row) != names:
            raise InputError(f"'instances[{at}]' must be an object with {', '.join(names)}.")
    return {name: tensor([row[name] for row in rows], f"instances.{name}") for name in names}


def _csv(body: bytes) -> Table:
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The body is no CSV: {error}") from error
    if not lines:
        raise InputError("The CSV is empty; its first line names the columns.")
    for at, row in enumerate(lines[1:], start=2):
        if row and len(row) != len(lines[0]):
            raise InputError(f"Line {at} of the CSV has {len(row)} cells, and there are {len(lines[0])} columns.")
    return Table(tuple(lines[0]), [[_cell(cell) for cell in row] for row in lines[1:] if row])


def _cell(text: str) -> Any:
    """Numbers and nulls as what they are, anything else as text."""
    if not text:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, int | float) else text
