"""Rows of data files, one at a time: csv, tsv, json, jsonl (each also as .gz), parquet, or a folder of them.

A json file is held in memory as a whole, of others a row or a few at a time. csv and tsv cells stay text. A row that
cannot be read is an error that names file and line; nothing is dropped silently, except a file of unknown kind that
is no jsonl (as it always was), which is logged.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any, cast

import orjson

from promptflow.batch.columns import LINE_NUMBER, Columns, look
from promptflow.batch.images import absolute_images
from promptflow.exceptions import DataFileError
from promptflow.workspace.optional import need

Row = dict[str, Any]

_BOM = b"\xef\xbb\xbf"
_GZIP = ".gz"
_PARQUET_ROWS = 1000  # at once; pyarrow's own 65,536 are a gigabyte where rows hold documents
_LARGEST_CELL = 2**31 - 1  # the csv module refuses cells over 131,072 characters unless told
_logger = logging.getLogger(__name__)


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of ``path``, a file or a folder (all its files, recursively, in the order of their names)."""
    if path.is_file():
        yield from read_file(path)
        return
    for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
        yield from read_file(file)


def read_file(file: Path) -> Iterator[Row]:
    """The rows of one file, by its extension. Relative image paths become absolute: they are meant from the file."""
    read = _READERS.get(_kind_of(file), _read_unknown)
    try:
        if file.stat().st_size == 0:
            return
        for row in read(file):
            try:
                row = absolute_images(row, file.parent)
            except RecursionError:
                raise DataFileError(f"{file.name}: a row is nested too deeply", location=str(file)) from None
            yield row
    except OSError as error:
        raise DataFileError(f"{file.name} cannot be read: {error.strerror or error}", location=str(file)) from error


def look_at(path: Path) -> Columns:
    """The size and the columns of a file or folder. Of parquet, what the files say of themselves is enough."""
    if path.suffix.lower() == ".parquet" and path.is_file() and path.stat().st_size:
        with _open_parquet(path) as table:
            names = tuple(table.schema_arrow.names)
            if LINE_NUMBER not in names:
                return Columns(table.metadata.num_rows, names)
    return look(read_rows(path))


def _kind_of(file: Path) -> str:
    """The extension that says what is in the file: ``.csv`` of ``a.csv`` and of ``a.csv.gz``."""
    suffix = file.suffix.lower()
    return Path(file.stem).suffix.lower() if suffix == _GZIP else suffix


def _read_jsonl(file: Path) -> Iterator[Row]:
    for number, line in _lines(file):
        if not line.strip():
            continue
        row = _parse_json(line, file, number)
        if not isinstance(row, dict):
            raise _bad_row(file, number, f"expected a JSON object, found {_kind(row)}")
        yield row


def _read_unknown(file: Path) -> Iterator[Row]:
    rows = _read_jsonl(file)
    try:
        first = next(rows, None)
    except DataFileError:
        _logger.warning("%s is none of csv, tsv, json, jsonl, parquet: left out", file)
        return
    if first is not None:
        yield first
        yield from rows


def _read_json(file: Path) -> Iterator[Row]:
    data = _parse_json(b"".join(line for _, line in _lines(file)), file, 1)
    if isinstance(data, dict):
        data = _records_of(data)
    if not isinstance(data, list):
        raise _bad_row(file, 1, f"expected a list of objects, found {_kind(data)}")
    for number, row in enumerate(data):
        if not isinstance(row, dict):
            raise DataFileError(
                f"{file.name}: item {number} is {_kind(row)}, not an object", location=f"{file}: item {number}"
            )
        yield row


def _records_of(data: dict[str, Any]) -> list[Row]:
    """A table by columns (``{"a": [1, 2]}`` or ``{"a": {"0": 1}}``) as rows; anything else is one row."""
    columns = list(data.values())
    if columns and all(isinstance(c, list) for c in columns) and len({len(c) for c in columns}) == 1:
        return [dict(zip(data, values, strict=True)) for values in zip(*columns, strict=True)]
    if columns and all(isinstance(c, dict) and c and all(k.isdigit() for k in c) for c in columns):
        keys = {key: None for column in columns for key in column}
        return [{name: column[key] for name, column in data.items() if key in column} for key in keys]
    return [data]


def _read_table(delimiter: str) -> Callable[[Path], Iterator[Row]]:
    def read(file: Path) -> Iterator[Row]:
        if csv.field_size_limit() < _LARGEST_CELL:
            csv.field_size_limit(_LARGEST_CELL)
        reader = csv.reader(_text_lines(file), delimiter=delimiter, strict=True)
        try:
            names = _column_names(next(reader, []))
            for cells in reader:
                if not cells:
                    continue  # a blank line
                if len(cells) > len(names):
                    raise _bad_row(file, reader.line_num, f"expected {len(names)} cells, found {len(cells)}")
                yield dict(zip(names, cells, strict=False))
        except csv.Error as error:
            raise _bad_row(file, reader.line_num, str(error)) from error

    return read


def _column_names(header: list[str]) -> list[str]:
    """Header cells as unique names: a repeated ``x`` becomes ``x.1``, ``x.2``."""
    names: list[str] = []
    taken = set(header)
    seen: set[str] = set()
    for name in header:
        if name in seen:
            name = next(n for n in (f"{name}.{i}" for i in count(1)) if n not in taken)
        taken.add(name)
        seen.add(name)
        names.append(name)
    return names


def _read_parquet(file: Path) -> Iterator[Row]:
    with _open_parquet(file) as table:
        try:
            for batch in table.iter_batches(_PARQUET_ROWS):
                yield from batch.to_pylist()
        except (ValueError, OSError) as error:  # pyarrow's own errors are ValueErrors
            raise _bad_parquet(file, error) from error


def _open_parquet(file: Path) -> Any:
    parquet = need("pyarrow.parquet", extra="parquet")
    try:
        return parquet.ParquetFile(file)
    except (ValueError, OSError) as error:
        raise _bad_parquet(file, error) from error


def _bad_parquet(file: Path, error: Exception) -> DataFileError:
    return DataFileError(f"{file.name} is no readable parquet file: {error}", location=str(file))


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    with _open(file) as stream:
        for number, line in enumerate(stream, 1):
            yield number, line.removeprefix(_BOM) if number == 1 else line


@contextmanager
def _open(file: Path) -> Iterator[IO[bytes]]:
    if file.suffix.lower() != _GZIP:
        with file.open("rb") as stream:
            yield stream
        return
    import gzip  # with zlib 3 ms, for such files only
    import zlib

    try:
        with gzip.open(file, "rb") as stream:
            yield cast(IO[bytes], stream)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFileError(f"{file.name} is no complete gzip file: {error}", location=str(file)) from error


def _text_lines(file: Path) -> Iterator[str]:
    for number, line in _lines(file):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(file, number) from error


def _parse_json(text: bytes, file: Path, first_line: int) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text.decode("utf-8"))  # NaN and Infinity, which Python writes and strict JSON has not
    except UnicodeDecodeError as error:
        raise _not_utf8(file, first_line) from error
    except (json.JSONDecodeError, RecursionError) as error:
        line = first_line + getattr(error, "lineno", 1) - 1
        column = getattr(error, "colno", 1)
        message = f"{file.name}:{line}: no valid JSON: {getattr(error, 'msg', 'nested too deeply')}"
        raise DataFileError(message, location=f"{file}:{line}:{column}") from error


def _not_utf8(file: Path, line: int) -> DataFileError:
    return DataFileError(
        f"{file.name}:{line}: the text is not UTF-8", location=f"{file}:{line}", hint="save the file as UTF-8"
    )


def _bad_row(file: Path, line: int, problem: str) -> DataFileError:
    return DataFileError(f"{file.name}:{line}: {problem}", location=f"{file}:{line}")


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null", dict: "an object"}
    return names.get(type(value), "a number")


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _read_table(","),
    ".tsv": _read_table("\t"),
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
