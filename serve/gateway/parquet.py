"""Captured lines as Parquet, in a process of its own: pyarrow is 50 MB that the server would never get rid of, and an
hour's lines may be more than its memory.

    python -P -m serve.gateway.parquet FILE.jsonl...
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from promptflow.workspace.atomic import replacing
from promptflow.workspace.optional import need

ROWS = 4096  # of a row group: what is in memory at once
ROW_BYTES = 64 * 1024 * 1024  # of a row group, if the rows are large
NICENESS = 10
TEXTS = (
    "id", "time", "source", "type", "datacontenttype", "correlationid", "path", "data", "data_base64", "headers",
)  # fmt: skip
NUMBERS = ("status", "size")


def to_parquet(file: Path) -> Path:
    """The file's lines as Parquet beside it, in its place; ``data`` is text. MissingExtraError without pyarrow."""
    arrow, parquet = need("pyarrow", extra="parquet"), need("pyarrow.parquet", extra="parquet")
    schema = arrow.schema([*((name, arrow.string()) for name in TEXTS), *((name, arrow.int64()) for name in NUMBERS)])
    target = _free(file)
    with file.open("rb") as lines, replacing(target, 0o600) as opened:
        with parquet.ParquetWriter(opened, schema) as writer:
            for rows in _groups(lines):
                writer.write_table(arrow.table([_column(name, rows) for name in schema.names], schema=schema))
    file.unlink()
    return target


def _free(file: Path) -> Path:
    """A name that nothing has: a line may come when the others of its hour are Parquet already."""
    names = (file.with_name(f"{file.stem}{f'-{number}' if number else ''}.parquet") for number in itertools.count())
    return next(name for name in names if not name.exists())


def _groups(lines: Iterable[bytes]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for line in lines:
        with contextlib.suppress(ValueError):  # what a full disk has left of a line
            rows.append(orjson.loads(line))
            size += len(line)
        if len(rows) >= ROWS or size >= ROW_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _column(name: str, rows: list[dict[str, Any]]) -> list[Any]:
    return [row.get(name) for row in rows] if name in NUMBERS else [_cell(row.get(name)) for row in rows]


def _cell(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def main(files: Iterable[Path]) -> int:
    """Do it with all of them. 1 if one stays as it was."""
    os.nice(NICENESS)
    failed = 0
    for file in files:
        try:
            to_parquet(file)
        except Exception as error:
            failed = 1
            print(f"{file} stays as it is: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main(map(Path, sys.argv[1:])))
