"""Tables that are read in pieces: where the pieces of a file begin and end, and one of them as a pandas table.

Text files are cut at line feeds, and a piece is read with the header of its file; of parquet files, pieces are rows.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from promptflow.exceptions import DataFileError
from promptflow.workspace.optional import need

DELIMITED, PARQUET, JSON_LINES = "delimited", "parquet", "json_lines"
NO_HEADER = "no_header"
_BOM = b"\xef\xbb\xbf"
_KINDS = {
    ".csv": DELIMITED, ".tsv": DELIMITED, ".txt": DELIMITED, ".parquet": PARQUET, ".pqt": PARQUET,
    ".jsonl": JSON_LINES, ".ndjson": JSON_LINES, ".json": JSON_LINES,
}  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """How the files of a table are read. ``multi_line``: cells in quotes may have line feeds."""

    kind: str = DELIMITED
    delimiter: str = ","
    header: bool = True
    encoding: str = "utf-8"
    multi_line: bool = False
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Reader:
        return cls(**{**data, "keep": tuple(data["keep"]), "drop": tuple(data["drop"])})


@dataclass(frozen=True)
class Piece:
    """``rows`` of a file, from ``start`` to ``stop``: bytes, or rows of a parquet file."""

    file: str
    start: int
    stop: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def reader_of(file: Path) -> Reader | None:
    """How a file that is given without a description is read, by its extension; None where that does not tell."""
    kind = _KINDS.get(file.suffix.lower())
    return Reader(kind, "\t" if file.suffix.lower() == ".tsv" else ",", multi_line=True) if kind else None


def pieces(file: Path, reader: Reader, enough: Callable[[int, int], bool]) -> Iterator[Piece]:
    """The pieces of one file; one ends when ``enough`` says so of its rows and bytes."""
    if reader.kind == PARQUET:
        yield from _rows_of_parquet(file, enough)
        return
    if reader.encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
        raise DataFileError(f"{file.name} is said to be {reader.encoding}, and is read in pieces as UTF-8 only.")
    try:
        with file.open("rb") as lines:
            start = at = len(_header(lines, reader))
            rows = 0
            for record in _records(lines, reader):
                at += len(record)
                rows += bool(record.strip())
                if enough(rows, at - start):
                    yield Piece(str(file), start, at, rows)
                    start, rows = at, 0
            if rows:
                yield Piece(str(file), start, at, rows)
    except OSError as error:
        raise DataFileError(f"{file} cannot be read: {error.strerror or error}") from error


def read(found: Sequence[Piece], reader: Reader) -> Any:
    """The pieces as one table of pandas. DataFileError where they are not what they were said to be."""
    pandas = need("pandas", extra="pandas")
    tables = [_table(piece, reader, pandas) for piece in found]
    table = tables[0] if len(tables) == 1 else pandas.concat(tables, ignore_index=True)
    missing = [name for name in reader.keep if name not in table.columns]
    if missing:
        raise DataFileError(f"The table has no column '{missing[0]}'; it has {', '.join(map(str, table.columns))}.")
    table = table[list(reader.keep)] if reader.keep else table
    return table.drop(columns=[name for name in reader.drop if name in table.columns])


def read_whole(file: Path, reader: Reader) -> Any:
    """A whole file as a table of pandas."""
    found = [*pieces(file, replace(reader, keep=(), drop=()), lambda rows, size: False)]
    if not found:
        raise DataFileError(f"{file.name} has no rows.")
    return read(found, reader)


def _table(piece: Piece, reader: Reader, pandas: Any) -> Any:
    file = Path(piece.file)
    try:
        if reader.kind == PARQUET:
            return _parquet(piece)
        with file.open("rb") as lines:
            head = _header(lines, reader)
            lines.seek(piece.start)
            data = lines.read(piece.stop - piece.start)
        if reader.kind == JSON_LINES:
            return pandas.DataFrame([json.loads(line) for line in data.split(b"\n") if line.strip()])
        table = pandas.read_csv(
            io.BytesIO(head.removeprefix(_BOM) + data), sep=reader.delimiter, encoding=reader.encoding,
            header=0 if reader.header else None,
        )  # fmt: skip
        return table if reader.header else table.rename(columns=lambda number: f"Column{number + 1}")
    except OSError as error:
        raise DataFileError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, LookupError) as error:  # pandas' errors are ValueErrors; LookupError: no such encoding
        raise DataFileError(f"{file.name} cannot be read: {error}") from error


def _header(lines: BinaryIO, reader: Reader) -> bytes:
    if reader.kind != DELIMITED or not reader.header:
        return b""
    return next(_records(lines, reader), b"")


def _records(lines: BinaryIO, reader: Reader) -> Iterator[bytes]:
    """Lines; with ``multi_line`` those that a quote is open at the end of go with the next."""
    if reader.kind != DELIMITED or not reader.multi_line:
        yield from iter(lines.readline, b"")  # the file itself would be closed with this generator
        return
    held = b""
    for line in lines:
        held += line
        if held.count(b'"') % 2 == 0:
            yield held
            held = b""
    if held:
        yield held


def _rows_of_parquet(file: Path, enough: Callable[[int, int], bool]) -> Iterator[Piece]:
    with _open_parquet(file) as table:
        rows = table.metadata.num_rows
        each = max(1, sum(table.metadata.row_group(at).total_byte_size for at in range(table.num_row_groups)) // rows) \
            if rows else 1  # fmt: skip
    start = 0
    for at in range(1, rows + 1):
        if enough(at - start, (at - start) * each) or at == rows:
            yield Piece(str(file), start, at, at - start)
            start = at


def _parquet(piece: Piece) -> Any:
    """Only the row groups that the rows are in are read."""
    with _open_parquet(Path(piece.file)) as table:
        groups: list[int] = []
        first = at = 0
        for number in range(table.num_row_groups):
            rows = table.metadata.row_group(number).num_rows
            if at < piece.stop and at + rows > piece.start:
                first = at if not groups else first
                groups.append(number)
            at += rows
        return table.read_row_groups(groups).slice(piece.start - first, piece.rows).to_pandas()


def _open_parquet(file: Path) -> Any:
    parquet = need("pyarrow.parquet", extra="parquet")
    try:
        return parquet.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise DataFileError(f"{file.name} is no parquet file that can be read: {error}") from error
