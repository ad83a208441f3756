"""A model without code: every file is read as a table, and each of its rows is a line ``row,prediction,file``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from promptflow.exceptions import DataFileError
from serve.batch.driver import Driver, MiniBatch
from serve.batch.rows import Rows
from serve.batch.tables import read_whole, reader_of
from serve.scorers.base import InputError, ModelError
from serve.scorers.inputs import Inputs, Table
from serve.scorers.models import open_model
from serve.scorers.models.base import Loading, Model
from serve.scorers.user_code import failed


class ModelDriver(Driver):
    """With ``keep`` false the rows are counted only."""

    def __init__(self, loading: Loading, *, keep: bool = True) -> None:
        self._loading, self._keep = loading, keep
        self._model: Model | None = None

    def load(self) -> None:
        self._model = open_model(self._loading)

    def run(self, batch: MiniBatch) -> Rows:
        """A mini-batch fails as a whole, or not at all."""
        if batch.table is not None:
            rows = len(batch.table)
            lines = self._lines(_inputs(batch.table), _numbered(batch.origins), "the table")
        else:
            parts = [self._file(file) for file in batch.files]
            lines, rows = b"".join(text for text, _ in parts), sum(rows for _, rows in parts)
        return Rows(lines if self._keep else b"", rows, len(batch))

    def close(self) -> None:
        self._model = None

    def _file(self, file: Path) -> tuple[bytes, int]:
        inputs, rows = _read(file)
        return self._lines(inputs, ((row, file.name) for row in range(rows)), file.name), rows

    def _lines(self, inputs: Inputs, origins: Iterable[tuple[int, str]], what: str) -> bytes:
        found = [*_predictions(self._predict(inputs, what))]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        try:
            for (row, name), prediction in zip(origins, found, strict=True):
                writer.writerow((row, prediction, name))
        except ValueError:
            raise InputError(f"{what}: the model gave {len(found)} predictions, not one for each row.") from None
        return text.getvalue().encode("utf-8", "backslashreplace")

    def _predict(self, inputs: Inputs, what: str) -> Any:
        assert self._model is not None
        try:
            return self._model.predict(inputs)
        except InputError as error:
            raise InputError(f"{what}: {error.message}", hint=error.hint) from error
        except ModelError:
            raise
        except BaseException as error:
            raise failed(error, f"predict() on {what}") from error


def _read(file: Path) -> tuple[Inputs, int]:
    """What the model is asked of a file, and how many rows that is."""
    if file.suffix.lower() == ".npy":
        try:
            array = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataFileError(f"{file.name} cannot be read: {error}") from error
        return Inputs.of({"": array}), len(array)
    reader = reader_of(file)
    if reader is None:
        raise DataFileError(
            f"{file.name} is no file of rows that can be told by its name.",
            hint="csv, tsv, jsonl, parquet or npy; a code_configuration with a scoring_script reads any other",
        )
    table = read_whole(file, reader)
    return _inputs(table), len(table)


def _inputs(table: Any) -> Inputs:
    # Cells keep their own types: one column of texts is not to make texts of numbers.
    plain = all(getattr(kind, "kind", "O") in "biuf" for kind in table.dtypes)
    rows = table.to_numpy() if plain else table.astype(object).where(table.notna(), None).to_numpy().tolist()
    return Inputs.of(Table(tuple(map(str, table.columns)), rows))


def _numbered(origins: Iterable[tuple[str, int]]) -> Iterator[tuple[int, str]]:
    at = 0
    for file, rows in origins:
        for _ in range(rows):
            yield at, Path(file).name
            at += 1


def _predictions(outputs: Any) -> Iterator[Any]:
    """One for each row: a value as it is, several as JSON."""
    if isinstance(outputs, Mapping):
        columns = [np.asarray(column) for column in outputs.values()]
        if len(columns) == 1:
            yield from _predictions(columns[0])
            return
        yield from (_json(list(row)) for row in zip(*(column.tolist() for column in columns), strict=True))
        return
    if hasattr(outputs, "columns"):
        outputs = outputs.to_numpy()
    if hasattr(outputs, "to_numpy"):  # a column of pandas
        outputs = outputs.to_numpy()
    rows = outputs.tolist() if hasattr(outputs, "tolist") else list(outputs)
    for row in rows:
        if isinstance(row, list):
            yield row[0] if len(row) == 1 and not isinstance(row[0], list) else _json(row)
        else:
            yield _json(row) if isinstance(row, Mapping) else row


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
