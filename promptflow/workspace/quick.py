"""Single rows of an up-to-date SQLite store, by the standard library.

SQLAlchemy takes 115 ms to import: a third of the start of a batch run, which reads a connection, adds the row of the
run, changes it once and tells of its progress. Whatever is out of the ordinary (another database, another version, a
locked or full disk) is answered with None, and left to the slower way, which tells what is wrong.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from promptflow.workspace.jsontext import dumps, loads
from promptflow.workspace.migrations import HEAD, VERSION_TABLE

T = TypeVar("T")
Query = tuple[str, str, Mapping[str, Any]]  # the table that it is of, the SQL, and values for it

# The tables it serves, with their columns that are not plain values. A test holds this against the tables.
JSON_COLUMNS: dict[str, tuple[str, ...]] = {
    "connections": ("config",), "runs": ("record",), "events": ("payload",), "assets": ("record",), "asset_aliases": (),
    "asset_names": (), "lineage": (), "uses": (), "run_values": (), "meta": (), "secrets": (),
    "endpoints": ("record",), "deployments": ("record",), "batch_endpoints": ("record",),
    "batch_deployments": ("record",), "jobs": ("record",),
}  # fmt: skip
BOOLEAN_COLUMNS: dict[str, tuple[str, ...]] = {
    "connections": (), "runs": ("archived",), "events": (), "assets": ("archived",), "asset_aliases": (),
    "asset_names": ("archived",), "lineage": (), "uses": (), "run_values": (), "meta": (), "secrets": (),
    "endpoints": (), "deployments": (), "batch_endpoints": (), "batch_deployments": (), "jobs": ("archived",),
}  # fmt: skip
_BUSY_SECONDS = 60


class Missing:
    """The answer that there is no such row, as opposed to None: not known."""


class QuickRows:
    """Rows by name of one SQLite file."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def get(self, table: str, name: str) -> dict[str, Any] | type[Missing] | None:
        """The row called ``name``, or Missing."""

        def read(connection: sqlite3.Connection) -> dict[str, Any] | type[Missing]:
            cursor = connection.execute(f"SELECT * FROM {table} WHERE name = ?", (name,))
            values = cursor.fetchone()
            columns = [column[0] for column in cursor.description]
            return Missing if values is None else decoded(table, dict(zip(columns, values, strict=True)))

        return self._ask(table, read)

    def select(self, table: str, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """The rows of a query, whose columns are read as those of ``table``."""
        return self._ask(table, lambda connection: _rows(connection, table, query, values))

    def select_all(self, queries: Sequence[Query]) -> list[list[dict[str, Any]]] | None:
        """The rows of each query, of one moment."""

        def read(connection: sqlite3.Connection) -> list[list[dict[str, Any]]]:
            connection.execute("BEGIN")
            return [_rows(connection, *query) for query in queries]

        return self._ask(queries[0][0], read) if all(table in JSON_COLUMNS for table, _, _ in queries) else None

    def add(self, table: str, row: Mapping[str, Any]) -> bool | None:
        """Insert the row; False if its name is taken."""
        return self._ask(table, lambda connection: _insert(connection, table, row).rowcount == 1)

    def append(self, table: str, row: Mapping[str, Any]) -> int | None:
        """Insert a row without a name; its id."""
        return self._ask(table, lambda connection: _insert(connection, table, row).lastrowid)

    def update(self, table: str, name: str, values: Mapping[str, Any]) -> bool | None:
        """Change columns of the row called ``name``; False if there is none."""
        changed = _encoded(table, values)
        statement = f"UPDATE {table} SET {', '.join(f'{column} = ?' for column in changed)} WHERE name = ?"
        parameters = (*changed.values(), name)
        return self._ask(table, lambda connection: connection.execute(statement, parameters).rowcount == 1)

    def _ask(self, table: str, question: Callable[[sqlite3.Connection], T]) -> T | None:
        if self._file is None or table not in JSON_COLUMNS or not self._file.is_file():
            return None
        try:
            with closing(sqlite3.connect(self._file, timeout=_BUSY_SECONDS)) as connection, connection:
                connection.execute("PRAGMA synchronous = NORMAL")
                version = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
                return question(connection) if version is not None and version[0] == HEAD else None
        except sqlite3.Error:
            return None


def _rows(connection: sqlite3.Connection, table: str, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    cursor = connection.execute(query, values)
    columns = [column[0] for column in cursor.description]
    return [decoded(table, dict(zip(columns, row, strict=True))) for row in cursor.fetchall()]


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> sqlite3.Cursor:
    values = _encoded(table, row)
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"
    return connection.execute(statement, tuple(values.values()))


def _encoded(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dumps(value) if name in JSON_COLUMNS[table] else value for name, value in row.items()}


def decoded(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row with its columns that are not plain values read from what SQLite keeps."""
    for name in JSON_COLUMNS[table]:
        if name in row:
            row[name] = loads(row[name])
    for name in BOOLEAN_COLUMNS[table]:
        if name in row:
            row[name] = bool(row[name])
    return row
