"""The rows of a run as one table: csv, jsonl or parquet, row by row.

Columns: ``line_number``, ``inputs.<name>``, ``outputs.<name>``, ``status`` (Completed or Failed) and, where a row
failed, ``error``. What a cell of csv or a column of parquet cannot hold as it is, is JSON text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, TextIO

from promptflow.batch.columns import look
from promptflow.exceptions import RunArgumentError
from promptflow.storage.encode import to_json
from promptflow.storage.folder import RunFolder
from promptflow.storage.layout import LINE_NUMBER
from promptflow.workspace.optional import need
from promptflow.workspace.urls import file_name, filesystem_of, is_url, writing

FORMATS = ("jsonl", "csv", "parquet")
_CHUNK_ROWS = 1000
_GROUP_BYTES = 32 << 20  # of one row group in parquet
Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of a run; may be read again and again. Rows are streamed where the files are sorted, as a run leaves
    them at its end; of a run that was killed, they are sorted in memory."""

    folder: RunFolder

    def __iter__(self) -> Iterator[Row]:
        outputs = self._sorted(self.folder.outputs(), self._outputs.rising)
        output = next(outputs, None)
        for row in self._sorted(self.folder.inputs(), self._inputs.rising):
            number = row.pop(LINE_NUMBER)
            while output is not None and output[LINE_NUMBER] < number:
                output = next(outputs, None)
            cells = {LINE_NUMBER: number, **{f"inputs.{name}": value for name, value in row.items()}}
            if output is not None and output[LINE_NUMBER] == number:
                cells |= {f"outputs.{name}": value for name, value in output.items() if name != LINE_NUMBER}
                yield {**cells, "status": "Completed"}
            else:
                yield {**cells, "status": "Failed", "error": self._errors.get(number, "")}

    @property
    def columns(self) -> list[str]:
        inputs = [f"inputs.{name}" for name in self._inputs.names if name != LINE_NUMBER]
        outputs = [f"outputs.{name}" for name in self._outputs.names if name != LINE_NUMBER]
        failed = self._inputs.count > self._outputs.count
        return [LINE_NUMBER, *inputs, *outputs, "status", *(["error"] if failed else [])]

    @cached_property
    def _inputs(self) -> Any:
        return look(self.folder.inputs())

    @cached_property
    def _outputs(self) -> Any:
        return look(self.folder.outputs())

    @cached_property
    def _errors(self) -> dict[int, str]:
        failed = (record for record in self.folder.lines() if record.get("error"))
        return {record["index"]: str(record["error"].get("message", "")) for record in failed}

    def _sorted(self, rows: Iterable[Row], rising: bool) -> Iterator[Row]:
        return iter(rows) if rising else iter(sorted(rows, key=lambda row: row[LINE_NUMBER]))


def export(folder: RunFolder, target: str, format: str | None = None) -> int:
    """Write the rows of a run to a path or url; how many they are. Without ``format``, the name of the file tells."""
    format = format_of(target, format)
    table = Table(folder)
    if format == "parquet":
        parquet = need("pyarrow.parquet", extra="parquet")
        with writing(target) as file:
            return _write_parquet(parquet, table, file)
    with writing(target) as file:
        if not target.endswith(".gz"):
            return _write_text(table, format, file.write)
        import gzip  # for such files only

        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0) as compressed:
            return _write_text(table, format, compressed.write)


def check_target(target: str) -> None:
    """Raises what would keep an export from being written there and can be known before."""
    format_of(target)
    if is_url(target):
        filesystem_of(target)


def print_rows(folder: RunFolder, format: str, stream: TextIO) -> int:
    """Write the rows of a run to a text stream, as csv or jsonl."""
    return _write_text(Table(folder), format, lambda data: stream.write(data.decode("utf-8")))


def format_of(target: str, format: str | None = None) -> str:
    """What is asked for, or what the name of the file says. Raises RunArgumentError."""
    if format is None:
        name = (file_name(target) if is_url(target) else target).lower().removesuffix(".gz")
        format = next((known for known in FORMATS if name.endswith(f".{known}")), None)
    if format not in FORMATS:
        what = f"{format!r} is no format of an export" if format else f"The name {target} does not tell the format"
        raise RunArgumentError(f"{what}.", hint=f"one of {', '.join(FORMATS)}")
    return format


def _write_text(table: Table, format: str, write: Callable[[bytes], Any]) -> int:
    rows = 0
    for line in _jsonl(table) if format == "jsonl" else _csv(table):
        write(line)
        rows += 1
    return rows if format == "jsonl" else rows - 1  # csv has a header


def _jsonl(table: Table) -> Iterator[bytes]:
    for row in table:
        yield to_json(row) + b"\n"


def _csv(table: Table) -> Iterator[bytes]:
    columns = table.columns
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for cells in _with_header(columns, ([_cell(row.get(name)) for name in columns] for row in table)):
        writer.writerow(cells)
        yield buffer.getvalue().encode("utf-8", "replace")
        buffer.seek(0)
        buffer.truncate()


def _with_header(columns: list[str], rows: Iterator[list[str]]) -> Iterator[list[str]]:
    yield columns
    yield from rows


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else to_json(value).decode("utf-8")


# -- parquet: a column has one type -------------------------------------------------------------------------------
def _write_parquet(parquet: Any, table: Table, file: IO[bytes]) -> int:
    arrow = need("pyarrow", extra="parquet")
    kinds = {name: "null" for name in table.columns}
    for row in table:
        for name, value in row.items():
            if kinds[name] != "text":
                kinds[name] = _common(kinds[name], _kind(value))
    types = {name: _arrow_type(arrow, kind) for name, kind in kinds.items()}
    schema = arrow.schema(list(types.items()))
    rows = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(_chunks(arrow, schema, kinds, table)):
            rows += sum(chunk.num_rows for chunk in group)
            writer.write_table(arrow.Table.from_batches(group, schema))
    return rows


def _chunks(arrow: Any, schema: Any, kinds: dict[str, str], rows: Iterable[Row]) -> Iterator[Any]:
    names = list(kinds)
    cells: list[list[Any]] = [[] for _ in names]
    for row in rows:
        for column, name in zip(cells, names, strict=True):
            column.append(_value(row.get(name), kinds[name]))
        if len(cells[0]) == _CHUNK_ROWS:
            yield arrow.record_batch(cells, schema=schema)
            cells = [[] for _ in names]
    if cells[0]:
        yield arrow.record_batch(cells, schema=schema)


def _groups(chunks: Iterable[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for chunk in chunks:
        group.append(chunk)
        if sum(held.nbytes for held in group) >= _GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


def _kind(value: Any) -> str:
    """int, float, bool, str, null, list:<one of these>, or text for what becomes JSON text."""
    if isinstance(value, list):
        kind = "null"
        for item in value:
            kind = _common(kind, _kind(item))
        return "text" if kind == "text" or kind.startswith("list") else f"list:{kind}"
    kind = _KINDS.get(type(value), "text")
    return "text" if kind == "int" and not -(2**63) <= value < 2**63 else kind


_KINDS = {int: "int", float: "float", bool: "bool", str: "str", type(None): "null"}


def _common(first: str, second: str) -> str:
    """The kind that holds both."""
    if first == second or second == "null":
        return first
    if first == "null":
        return second
    if first.startswith("list:") and second.startswith("list:"):
        item = _common(first[5:], second[5:])
        return "text" if item == "text" else f"list:{item}"
    return "float" if {first, second} == {"int", "float"} else "text"


def _arrow_type(arrow: Any, kind: str) -> Any:
    if kind.startswith("list:"):
        return arrow.list_(_arrow_type(arrow, kind[5:]))
    types = {"int": arrow.int64(), "float": arrow.float64(), "bool": arrow.bool_(), "null": arrow.null()}
    return types.get(kind, arrow.string())


def _value(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "text" and not isinstance(value, str):
        return to_json(value).decode("utf-8")
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")  # lone surrogates have no place in a file
    if kind == "list:str":
        return [_value(item, "str") for item in value]
    return value
