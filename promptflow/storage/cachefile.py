"""The file of the node cache: one SQLite database that all processes of a workspace share.

The content of an entry and its last use lie in tables of their own, so that noting a use touches few pages.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from promptflow.exceptions import WorkspaceError
from promptflow.workspace.atomic import file_error, make_folder
from promptflow.workspace.locks import file_lock

VERSION = 1
BUSY_SECONDS = 5.0
_HEADROOM = 0.1  # a cache that is full makes more room than it needs, so that it need not do so each time
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, run TEXT, node TEXT, line INTEGER, made INTEGER,
    form INTEGER, checksum INTEGER, value BLOB);
CREATE TABLE IF NOT EXISTS uses (id INTEGER PRIMARY KEY, used INTEGER, size INTEGER);
"""
_PUT = """
INSERT INTO entries (key, run, node, line, made, form, checksum, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET run = excluded.run, node = excluded.node, line = excluded.line,
    made = excluded.made, form = excluded.form, checksum = excluded.checksum, value = excluded.value
"""
_PUT_USE = "INSERT OR REPLACE INTO uses SELECT id, ?, ? FROM entries WHERE key = ?"
_ENTRY_BYTES = 150  # about what an entry takes beside its value


@dataclass(frozen=True, slots=True)
class Entry:
    """The result of a node. ``run``, ``node`` and ``line`` tell which one made it; ``made`` and ``used`` are
    milliseconds since 1970."""

    key: bytes
    run: str
    node: str
    line: int
    form: int
    checksum: int
    value: bytes
    made: int

    @property
    def size(self) -> int:
        return len(self.value) + _ENTRY_BYTES


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def connect(file: Path) -> sqlite3.Connection:
    """Open the cache, made if need be; usable from all threads, one at a time. Raises sqlite3.Error, WorkspaceError."""
    make_folder(file.parent)
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        if _version(connection) == 0:
            with file_lock(file.with_suffix(".lock")):  # several processes may want a new file at once
                _create(connection)
        if _version(connection) != VERSION:
            raise sqlite3.DatabaseError(f"it is of version {_version(connection)}, known is {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    if _version(connection) != 0:
        return
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before there is a table
    connection.execute("PRAGMA journal_mode = WAL")
    with writing(connection):
        for statement in _TABLES.strip().split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction. It takes the file's lock at its start, where waiting for it is possible."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # some errors have ended it already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def put(connection: sqlite3.Connection, entries: Sequence[Entry], uses: Sequence[tuple[int, int]]) -> None:
    """Write new results, and the times of last uses as ``(milliseconds, id)``."""
    with writing(connection):
        connection.executemany(
            _PUT, [(e.key, e.run, e.node, e.line, e.made, e.form, e.checksum, e.value) for e in entries]
        )
        connection.executemany(_PUT_USE, [(e.made, e.size, e.key) for e in entries])
        connection.executemany("UPDATE uses SET used = ? WHERE id = ?", uses)


def bytes_used(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def evict(connection: sqlite3.Connection, max_size: int, headroom: float = _HEADROOM) -> int:
    """Remove what was not used for longest until no more than ``max_size`` bytes are in use; how many entries."""
    removed = 0
    while (excess := bytes_used(connection) - max_size) > 0:
        oldest = _oldest(connection, excess + int(max_size * headroom))
        if not oldest:
            break
        with writing(connection):
            connection.executemany("DELETE FROM entries WHERE id = ?", oldest)
            connection.executemany("DELETE FROM uses WHERE id = ?", oldest)
        removed += len(oldest)
    if removed:
        connection.executescript("PRAGMA incremental_vacuum")  # execute would free one page only
    return removed


def _oldest(connection: sqlite3.Connection, size: int) -> list[tuple[int]]:
    found: list[tuple[int]] = []
    with closing(connection.execute("SELECT id, size FROM uses ORDER BY used, id")) as rows:
        for number, bytes_ in rows:
            found.append((number,))
            size -= bytes_
            if size <= 0:
                break
    return found


# -- for people -------------------------------------------------------------------------------------------------------
def stats(file: Path) -> dict[str, int]:
    """``entries``, ``bytes`` in use and ``nodes``, which is how many nodes have results in it."""
    if not file.exists():
        return {"entries": 0, "bytes": 0, "nodes": 0}
    with _opened(file) as connection:
        entries, nodes = connection.execute("SELECT count(*), count(DISTINCT node) FROM entries").fetchone()
        return {"entries": entries, "bytes": bytes_used(connection), "nodes": nodes}


def newest(file: Path, limit: int | None, node: str | None = None) -> list[dict[str, object]]:
    """The entries that were used last: ``key``, ``node``, ``run``, ``line``, ``made``, ``used``, ``size``."""
    if not file.exists():
        return []
    with _opened(file) as connection:
        rows = connection.execute(
            "SELECT key, node, run, line, made, used, size FROM uses JOIN entries USING (id) "
            "WHERE ? IS NULL OR node = ? ORDER BY used DESC, id DESC LIMIT ?",
            (node, node, -1 if limit is None else limit),
        ).fetchall()
    names = ("key", "node", "run", "line", "made", "used", "size")
    return [dict(zip(names, (row[0].hex(), *row[1:]), strict=True)) for row in rows]


def prune(file: Path, max_size: int) -> int:
    """Remove what was not used for longest until the file is no larger than ``max_size`` bytes; how many entries."""
    if not file.exists():
        return 0
    with _opened(file) as connection:
        removed = evict(connection, max_size, headroom=0)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return removed


def clear(file: Path) -> None:
    """Remove the cache, damaged or not. A process that uses it meanwhile goes on with what it has open."""
    folder = file.parent
    doomed = folder.with_name(f"{folder.name}.removed-{uuid.uuid4().hex[:8]}")
    try:
        folder.rename(doomed)  # the database and its log at once: an old log would damage a new database
    except FileNotFoundError:
        return
    except OSError as error:
        raise file_error("remove the cache", folder, error) from error
    shutil.rmtree(doomed, ignore_errors=True)


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """The cache, for one question. Raises WorkspaceError where it cannot be read."""
    try:
        with closing(connect(file)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise WorkspaceError(
            f"The cache cannot be used: {error}.", location=str(file), hint="pf cache clear makes a new one"
        ) from error
