"""The signature in an ``MLmodel``: which columns or tensors the model takes, of what types, and what else it is told.

https://mlflow.org/docs/latest/ml/model/signatures/
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serve.scorers.base import InputError, LoadError
from serve.scorers.inputs import Inputs, Table
from serve.scorers.models.base import Field

TYPES = {
    "long": "INT64", "integer": "INT32", "double": "FP64", "float": "FP32", "boolean": "BOOL",
    "int64": "INT64", "int32": "INT32", "int16": "INT16", "int8": "INT8", "uint8": "UINT8", "uint16": "UINT16",
    "uint32": "UINT32", "uint64": "UINT64", "float64": "FP64", "float32": "FP32", "float16": "FP16", "bool": "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """``type`` is MLflow's word for it; ``shape`` is that of a tensor, and None of a column."""

    name: str
    type: str
    required: bool = True
    shape: tuple[int, ...] | None = None

    @property
    def field(self) -> Field:
        return Field(self.name or "input", TYPES.get(self.type, "BYTES"), self.shape or (-1, 1))


@dataclass(frozen=True)
class Schema:
    """What a model takes. ``params`` are the words to it that it knows, with their defaults."""

    columns: tuple[Column, ...] = ()
    params: Mapping[str, Any] | None = None

    def apply(self, inputs: Inputs) -> Inputs:
        """The inputs in the order and of the types that the model was saved with. InputError where they are not."""
        if not self.columns:
            return inputs
        if self.columns[0].shape is not None:
            return Inputs(None, self._tensors(inputs), inputs.params, inputs.wanted)
        if inputs.table is not None:
            return Inputs(self._table(inputs.table), None, inputs.params, inputs.wanted)
        assert inputs.tensors is not None
        if len(inputs.tensors) == 1 and len(self.columns) > 1:
            return inputs  # one array of all columns
        there = tuple(one.name for one in self.columns if one.required or one.name in inputs.tensors)
        named = there if "" not in inputs.tensors and all(there) else ()
        return Inputs(None, inputs.named(named), inputs.params, inputs.wanted)

    def _table(self, table: Table) -> Table:
        names = tuple(one.name for one in self.columns)
        if not table.columns:
            width = len(table.rows[0]) if len(table.rows) else len(names)
            if width != len(names):
                raise InputError(f"The rows have {width} values, and the model takes {len(names)}: {', '.join(names)}.")
            table = Table(names, table.rows, table.index)
        there = tuple(one for one in self.columns if one.required or one.name in table.columns)
        if not all(names):  # one column without a name takes whatever there is
            return table
        rows = table.ordered([one.name for one in there])
        casts = [(at, one.name, CASTS[one.type]) for at, one in enumerate(there) if one.type in CASTS]
        if casts:
            rows = [_cast(list(row), number, casts) for number, row in enumerate(rows)]
        return Table(tuple(one.name for one in there), rows, table.index)

    def _tensors(self, inputs: Inputs) -> dict[str, np.ndarray]:
        if len(self.columns) == 1:
            (one,) = self.columns
            given = (inputs.tensors or {}).get(one.name)
            texts = one.type in ("object", "str")
            return {one.name: _shaped(one, inputs.array(texts=texts) if given is None else given)}
        if inputs.tensors is not None:
            found = inputs.named([one.name for one in self.columns])
        else:
            assert inputs.table is not None
            found = {one.name: inputs.table.array([one.name])[:, 0] for one in self.columns}
        return {one.name: _shaped(one, found[one.name]) for one in self.columns}


def read_schema(told: Mapping[str, Any]) -> Schema:
    """That of a parsed ``MLmodel``; an empty one where it has none, or one of nested types, which are MLflow's own."""
    signature = told.get("signature") or {}
    try:
        columns = json.loads(signature.get("inputs") or "[]")
        params = json.loads(signature.get("params") or "null")
        known = tuple(_column(one) for one in columns)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LoadError(f"The signature in the MLmodel cannot be read: {error}") from error
    words = {one["name"]: one.get("default") for one in params} if params is not None else None
    return Schema(known if all(one.type in KNOWN for one in known) else (), words)


def read_outputs(told: Mapping[str, Any]) -> tuple[Field, ...]:
    """What a parsed ``MLmodel`` says that the model gives, if it does; what has no name is called as in the answers."""
    try:
        columns = [_column(one) for one in json.loads((told.get("signature") or {}).get("outputs") or "[]")]
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()  # nothing is done by it
    unnamed = len(columns) == 1 and not columns[0].name
    return tuple(Field("predict" if unnamed else one.name, one.field.datatype, one.shape or (-1,)) for one in columns)


def _column(one: Mapping[str, Any]) -> Column:
    name = one.get("name")
    text = "" if name is None else str(name)
    if one.get("type") == "tensor":
        spec = one["tensor-spec"]
        return Column(text, str(spec["dtype"]), shape=tuple(map(int, spec["shape"])))
    required = bool(one.get("required", not one.get("optional", False)))
    return Column(text, str(one["type"]), required)


def _shaped(one: Column, array: np.ndarray) -> np.ndarray:
    assert one.shape is not None
    if array.ndim != len(one.shape) or any(
        size not in (-1, there) for size, there in zip(one.shape, array.shape, strict=True)
    ):
        what = f"The tensor '{one.name}'" if one.name else "The input"
        raise InputError(f"{what} has the shape {list(array.shape)}; the model takes {list(one.shape)}.")
    kind = np.dtype(object if one.type == "str" else one.type)
    # Integers come as floats from no JSON: they would be cut off.
    if array.dtype.kind == "f" and kind.kind in "iu" and not np.array_equal(array, np.trunc(array)):
        raise InputError(f"The input holds fractions, where the model takes {one.type}.")
    try:
        return array.astype(kind, copy=False)
    except (ValueError, TypeError) as error:
        raise InputError(f"The input cannot be made {one.type}: {error}") from error


def _cast(row: list[Any], number: int, casts: Sequence[tuple[int, str, Callable[[Any], Any]]]) -> list[Any]:
    for at, name, cast in casts:
        if row[at] is not None:
            try:
                row[at] = cast(row[at])
            except (ValueError, TypeError) as error:
                raise InputError(f"Row {number} has {str(row[at])[:40]!r} in the column '{name}': {error}") from None
    return row


def _whole(value: Any) -> Any:
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float) and (value.is_integer() or value != value):
        return int(value) if value == value else value
    raise TypeError("it takes whole numbers")


def _truth(value: Any) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise TypeError("it takes true or false")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise TypeError("it takes texts")


def _binary(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except binascii.Error as error:
        raise ValueError("it takes bytes as base64") from error


def _moment(value: Any) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(_text(value))
    except ValueError as error:
        raise ValueError("it takes times as 2026-01-31T12:00:00") from error


CASTS: Mapping[str, Callable[[Any], Any]] = {
    "long": _whole, "integer": _whole, "boolean": _truth, "string": _text, "binary": _binary, "datetime": _moment,
}  # fmt: skip
KNOWN = {*CASTS, "double", "float", *TYPES, "object", "str"}
