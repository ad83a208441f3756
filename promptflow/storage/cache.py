"""Results of nodes, kept by key over runs and processes.

It is an aid and nothing more: what cannot be read is a miss, what cannot be kept is forgotten, with one warning.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import zlib
from pathlib import Path
from typing import NamedTuple

from promptflow.exceptions import WorkspaceError
from promptflow.storage.cachefile import Entry, connect, evict, now, put
from promptflow.storage.cacherows import Rows

DEFAULT_MAX_SIZE = 10**9
FLUSH_SECONDS = 0.25
_MAX_WAITING = 64 << 20  # bytes of results that wait to be written; a disk that is slower than that gets no more
_COMPRESSED = 1  # bit of an entry's form; the others are the caller's
_COMPRESS_FROM = 2000  # bytes; below, what is saved is not worth the time
_FAILURES = (sqlite3.Error, OSError, WorkspaceError)
_logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """A result: its bytes, the form that they were put in, and which run, node and line made it."""

    value: bytes
    form: int
    run: str
    node: str
    line: int


class Cache:
    """The cache of a workspace, open in this process. Any thread may use it; nothing here raises."""

    def __init__(self, file: Path, max_size: int = DEFAULT_MAX_SIZE) -> None:
        """``max_size``: bytes."""
        self.file = file
        self._max_size = max_size
        self._lock = threading.Lock()
        self._rows: Rows | None = None
        self._new: dict[bytes, Entry] = {}
        self._used: dict[int, int] = {}
        self._waiting = 0
        self._is_broken = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._writer: threading.Thread | None = None

    def get(self, key: bytes) -> Found | None:
        """What was put under this key, by any process."""
        waiting = self._new.get(key)
        if waiting is not None:
            return _found(waiting.form, waiting.value, waiting.run, waiting.node, waiting.line)
        if self._is_broken:
            return None
        try:
            with self._lock:
                if self._rows is None:
                    self._rows = Rows(connect(self.file))
                row = self._rows.get(key)
            if row is None:
                return None
            number, _, form, checksum, value, *maker = row
            if zlib.crc32(value, zlib.crc32(key)) != checksum:
                raise sqlite3.DatabaseError("an entry is damaged")
            found = _found(form, value, *maker)
        except (*_FAILURES, zlib.error, TypeError) as error:
            self._give_up("read", error)
            return None
        self._used[number] = now()
        self._start_writer()
        return found

    def put(self, key: bytes, value: bytes, form: int, run: str, node: str, line: int) -> None:
        """Keep a result; it is written soon. ``form``: an even number below 256, which `get` gives back."""
        if self._is_broken or self._waiting > _MAX_WAITING:
            return
        if len(value) >= _COMPRESS_FROM:
            value, form = zlib.compress(value, 1), form | _COMPRESSED
        if len(value) > self._max_size // 2:
            return
        entry = Entry(key, run, node, line, form, zlib.crc32(value, zlib.crc32(key)), value, now())
        self._new[key] = entry
        self._waiting += entry.size
        self._start_writer()

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self._closing.set()
        self._wake.set()
        if self._writer is not None:
            self._writer.join()
        with self._lock:
            if self._rows is not None:
                self._rows.close()
                self._rows = None

    # -- writing, on a thread of its own ---------------------------------------------------------------------------
    def _start_writer(self) -> None:
        if self._wake.is_set():
            return
        with self._lock:
            if self._writer is None and not self._closing.is_set():
                self._writer = threading.Thread(target=self._write_on, name="node-cache", daemon=True)
                self._writer.start()
        self._wake.set()

    def _write_on(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while True:
                self._wake.wait()
                self._closing.wait(FLUSH_SECONDS)
                self._wake.clear()
                is_last = self._closing.is_set()  # only now: who closed before the line above will not wake us again
                if self._new or self._used:
                    connection = connection or connect(self.file)
                    self._flush(connection)
                if is_last:
                    return
        except _FAILURES as error:
            self._give_up("write", error)
        finally:
            if connection is not None:
                connection.close()

    def _flush(self, connection: sqlite3.Connection) -> None:
        entries = list(self._new.values())
        used = dict(self._used)
        put(connection, entries, [(at, number) for number, at in used.items()])
        for number in used:
            del self._used[number]
        for entry in entries:  # only now: until it is in the file, it is found here
            if self._new.get(entry.key) is entry:
                del self._new[entry.key]
        self._waiting = sum(entry.size for entry in list(self._new.values()))
        evict(connection, self._max_size)

    def _give_up(self, what: str, error: BaseException) -> None:
        with self._lock:
            is_first, self._is_broken = not self._is_broken, True
        if is_first:
            _logger.warning(
                "The node cache %s cannot be used (%s): %s. Nodes run without it.%s",
                self.file, what, error, "" if isinstance(error, WorkspaceError) else " pf cache clear makes a new one.",
            )  # fmt: skip


def _found(form: int, value: bytes, run: str, node: str, line: int) -> Found:
    if form & _COMPRESSED:
        return Found(zlib.decompress(value), form & ~_COMPRESSED, run, node, line)
    return Found(value, form, run, node, line)
