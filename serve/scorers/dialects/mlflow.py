"""``/invocations`` as MLflow's scoring server takes it, and answers it.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, InputError, MediaError
from serve.scorers.dialects.bodies import media, params_of, read_object, record_table, split_table, tensor, tensors_of
from serve.scorers.inputs import Inputs, Table, Tensors

KEYS = ("dataframe_split", "dataframe_records", "inputs", "instances")
MISSING = frozenset(("", "NaN", "nan", "NA", "N/A", "n/a", "NULL", "null", "None", "<NA>", "#N/A"))  # pandas' own
TRUTHS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}


def read(call: Call) -> Inputs:
    kind = media(call)
    if kind == "text/csv":
        return Inputs(read_csv(call.body))
    if kind not in ("application/json", ""):
        raise MediaError(kind, "application/json or text/csv")
    body = read_object(call.body)
    found = [key for key in KEYS if key in body]
    if len(found) != 1:
        raise InputError(f"The body must have one of {', '.join(KEYS)}; it has {', '.join(found) or 'none'}.")
    return Inputs.of(_read(found[0], body[found[0]]), params_of(body))


def write(outputs: Any) -> Answer:
    """NaN stays NaN, which is no JSON, and what MLflow's server writes and its clients read."""
    return Answer(b'{"predictions":' + to_json(_records(outputs), nan=True) + b"}")


def _read(key: str, value: Any) -> Table | Tensors:
    if key == "dataframe_split":
        return split_table(value, key)
    if key == "dataframe_records":
        return record_table(value, key)
    if key == "instances" and isinstance(value, list) and value and isinstance(value[0], Mapping):
        return _by_name(value)
    return tensors_of(value, key)


def _records(outputs: Any) -> Any:
    """A column of pandas is a table there."""
    return outputs.to_frame() if hasattr(outputs, "to_frame") and not hasattr(outputs, "columns") else outputs


def _by_name(rows: list[Any]) -> Tensors:
    """One tensor a name, of a list of objects that all have it."""
    names = list(rows[0])
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping) or row.keys() != rows[0].keys():
            raise InputError(f"'instances[{at}]' must be an object with {', '.join(names)}.")
    return {name: tensor([row[name] for row in rows], f"instances.{name}") for name in names}


def read_csv(body: bytes) -> Table:
    """Its first line are the columns; a column of numbers, or of truths, is one."""
    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig"))) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The body is no CSV: {error}") from error
    if not lines:
        raise InputError("The CSV is empty; its first line names the columns.")
    for at, row in enumerate(lines[1:], start=2):
        if len(row) != len(lines[0]):
            raise InputError(f"Line {at} of the CSV has {len(row)} cells, and there are {len(lines[0])} columns.")
    columns = [_column([row[at] for row in lines[1:]]) for at in range(len(lines[0]))]
    return Table(tuple(lines[0]), [list(row) for row in zip(*columns, strict=True)])


def _column(texts: Sequence[str]) -> Sequence[Any]:
    """Numbers, or truths, where all of a column are; else texts, as pandas reads them."""
    there = [text for text in texts if text not in MISSING]
    if there and all(text in TRUTHS for text in there):
        return [TRUTHS.get(text) for text in texts]
    for kind in (int, float):
        try:
            return [None if text in MISSING else kind(text) for text in texts]
        except ValueError:
            continue
    return [None if text in MISSING else text for text in texts]
