"""Reading the node cache: by key, and with an entry the ones beside it.

A run over the same data asks for results about in the order in which they were made. One question to SQLite takes as
long as ten rows of an answer, so what lies beside an entry is read with it, as long as that is of use.
"""

from __future__ import annotations

import sqlite3
from typing import Any

BLOCK = 64  # entries by number that are read together
_KEPT = 4096  # entries in memory; the nodes of a flow are asked for in turns, each at a place of its own
_TRIAL = 2048  # entries read, after which one in eight must have been asked for
_SMALL = 4000  # bytes of a value that is read unasked
_COLUMNS = "id, key, form, checksum, value, run, node, line"

Row = tuple[Any, ...]


class Rows:
    """The entries of a cache: ``(id, key, form, checksum, value, run, node, line)``. One thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._beside: dict[bytes, Row] = {}
        self._read = 0
        self._of_use = 0
        connection.execute("PRAGMA query_only = TRUE")
        connection.execute("PRAGMA cache_size = -16000")  # KiB

    def get(self, key: bytes) -> Row | None:
        """The entry with this key. Raises sqlite3.Error."""
        row = self._beside.get(key)
        if row is not None:
            self._of_use += 1
            return row
        found: Row | None = self._connection.execute(f"SELECT {_COLUMNS} FROM entries WHERE key = ?", (key,)).fetchone()
        if found is not None and (self._read < _TRIAL or self._of_use * 8 > self._read):
            self._read_beside(found[0])
        return found

    def _read_beside(self, number: int) -> None:
        first = number - number % BLOCK
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE id BETWEEN ? AND ? AND length(value) < ?",
            (first, first + BLOCK - 1, _SMALL),
        ).fetchall()
        self._read += len(rows)
        if len(self._beside) > _KEPT:
            self._beside.clear()
        for row in rows:
            self._beside[row[1]] = row

    def close(self) -> None:
        self._connection.close()
