"""What the decorators of ``inference_schema`` tell of a ``run``: how rows of other dialects become its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serve.scorers.base import InputError
from serve.scorers.dialects.facts import tensor
from serve.scorers.dialects.rows import OUTPUT, Rows, plain

PANDAS = "pandas.DataFrame:"
DATATYPES = {
    ("integer", "int64"): "INT64", ("integer", "int32"): "INT32", ("integer", ""): "INT64",
    ("number", "double"): "FP64", ("number", "float"): "FP32", ("number", ""): "FP64", ("boolean", ""): "BOOL",
}  # fmt: skip
Schema = Mapping[str, Any]


def calls(takes: Schema, given: Rows) -> tuple[list[dict[str, Any]], bool]:
    """The parameters of each call that a request asks for, and whether it is one for all of its rows.

    Arrays and tables are of all rows: they are passed on as a whole. Where ``run`` takes anything else, it is called
    once for each row.
    """
    parameters: Mapping[str, Schema] = takes.get("properties", {})
    arrays = [name for name, one in parameters.items() if _is_array(one)]
    if len(arrays) == len(parameters):
        if given.tensors is not None and given.tensors.keys() <= parameters.keys():
            return [{name: plain(name, one) for name, one in given.tensors.items()}], True
        if len(arrays) == 1 and not _name_it(given.rows, arrays[0]):
            (name,) = arrays
            return [{name: _table(parameters[name], given)}], True
    return [_by_name(row, at, parameters, given.where) for at, row in enumerate(given.rows)], False


def inputs(takes: Schema) -> list[dict[str, Any]]:
    """The parameters as the Open Inference Protocol tells of inputs; the columns of the only table."""
    parameters: Mapping[str, Schema] = takes.get("properties", {})
    if len(parameters) == 1 and (columns := _columns(next(iter(parameters.values())))):
        parameters = columns
    return [tensor(name, *_described(one)) for name, one in parameters.items()]


def outputs(gives: Schema) -> list[dict[str, Any]]:
    """The answer likewise; nothing where no decorator tells of it."""
    if gives.get("type") == "object" and not gives.get("properties"):
        return []
    fields = _columns(gives) or gives.get("properties") or {OUTPUT: gives}
    return [tensor(name, *_described(one)) for name, one in fields.items()]


def _is_array(schema: Schema) -> bool:
    return schema.get("type") == "array" or str(schema.get("format", "")).startswith(PANDAS)


def _name_it(rows: Sequence[Any], name: str) -> bool:
    """Whether the rows are objects of the parameter, and not of columns."""
    return bool(rows) and all(isinstance(row, Mapping) and row.keys() == {name} for row in rows)


def _by_name(row: Any, at: int, parameters: Mapping[str, Schema], where: str) -> dict[str, Any]:
    if isinstance(row, Mapping):
        return dict(row)
    if len(parameters) == 1:
        return {next(iter(parameters)): row}
    raise InputError(f"'{where}[{at}]' must be an object of the parameters of run(): {', '.join(parameters)}.")


def _table(schema: Schema, given: Rows) -> Any:
    """The rows as the value of a parameter that takes them all."""
    rows, layout = given.rows, str(schema.get("format", ""))
    if not all(isinstance(row, Mapping) for row in rows):
        return list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if layout.startswith(PANDAS) and not layout.endswith((":split", ":values")):
        return [dict(row) for row in rows]
    cells = [[row.get(name) for name in columns] for row in rows]
    return {"columns": columns, "index": list(range(len(rows))), "data": cells} if layout.endswith(":split") else cells


def _columns(schema: Schema) -> Mapping[str, Schema]:
    items = schema.get("items")
    found: Mapping[str, Schema] = items.get("properties", {}) if isinstance(items, Mapping) else {}
    return found


def _described(schema: Schema) -> tuple[str, tuple[int, ...]]:
    """Its datatype and shape: an array has an axis for each level, and anything else one, of rows."""
    axes, inner = 0, schema
    while inner.get("type") == "array" and isinstance(inner.get("items"), Mapping):
        axes, inner = axes + 1, inner["items"]
    kind, layout = str(inner.get("type", "")), str(inner.get("format", ""))
    datatype = DATATYPES.get((kind, layout)) or DATATYPES.get((kind, ""), "BYTES")
    return datatype, (-1,) * max(1, axes)
