"""Inputs and outputs of a run, row by row."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from promptflow.storage.folder import RunFolder
from promptflow.storage.layout import LINE_NUMBER
from promptflow.workspace.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FAILED = "(Failed)"


def details_rows(folder: RunFolder, limit: int | None = None) -> list[dict[str, Any]]:
    """One dictionary per line, keys ``inputs.<name>`` and ``outputs.<name>``; a failed line shows ``(Failed)``."""
    outputs = {row.pop(LINE_NUMBER): row for row in _outputs(folder, limit)}
    names = list({name: None for row in outputs.values() for name in row})
    rows = []
    for row in islice(folder.inputs(), limit):
        output = outputs.get(row.get(LINE_NUMBER, -1))
        shown = {f"inputs.{name}": value for name, value in row.items()}
        shown |= {f"outputs.{name}": FAILED if output is None else output.get(name) for name in names}
        rows.append(shown)
    return rows


def _outputs(folder: RunFolder, limit: int | None) -> Iterator[dict[str, Any]]:
    # Both files are sorted and outputs are a subset of inputs: the first rows of the one are enough for the other's.
    return islice(folder.outputs(), limit)


def details_frame(folder: RunFolder, limit: int | None = None) -> DataFrame:
    """`details_rows` as a DataFrame. Types are guessed as pandas does it (``"1"`` is a number), as they always were."""
    pandas = need("pandas", extra="pandas")
    inputs = _frame(pandas, folder.path / "inputs.jsonl")
    outputs = _frame(pandas, folder.path / "outputs.jsonl")
    columns = {f"inputs.{name}": inputs[name].tolist() for name in inputs.columns}
    if len(outputs):
        outputs = outputs.set_index(LINE_NUMBER).reindex(inputs[LINE_NUMBER].tolist()).astype(object)
        outputs = outputs.where(outputs.notna(), FAILED)
        columns |= {f"outputs.{name}": outputs[name].tolist() for name in outputs.columns}
    return pandas.DataFrame(columns).head(limit) if limit is not None else pandas.DataFrame(columns)


def _frame(pandas: Any, path: Any) -> DataFrame:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return pandas.read_json(io.StringIO(text), orient="records", lines=True) if text.strip() else pandas.DataFrame()
