"""Finished traces on their way to the store: one append-only file per process, no database on the hot path.

Every line is one trace (or a part of one) as JSON. A burst is buffered for up to a second; a trace that comes
alone is written at once. ``tracing.store`` moves the files into the span table when somebody reads.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from promptflow.tracing.payload import dumps

if TYPE_CHECKING:
    from promptflow.tracing.spans import Span

MAX_TRACES = 256
MAX_BYTES = 256 * 1024
MAX_SECONDS = 1.0

resource: dict[str, Any] = {}  # what ``start_trace`` says about this process: collection, service name
_spools: dict[Path, Spool] = {}


class Spool:
    """The spool file of this process in one traces folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: list[bytes] = []
        self._bytes = 0
        self._written = -MAX_SECONDS
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._finalized = False
        self._path = self._folder / f"{os.getpid()}-{os.urandom(4).hex()}.jsonl"

    def append(self, spans: Sequence[Span]) -> None:
        """Take the spans of one trace."""
        self.append_rows([row_of(span) for span in spans])

    def append_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        line = dumps({"resource": resource, "spans": rows}).encode() + b"\n"
        with self._lock:
            self._lines.append(line)
            self._bytes += len(line)
            is_full = len(self._lines) >= MAX_TRACES or self._bytes >= MAX_BYTES
        if is_full or monotonic() - self._written >= MAX_SECONDS or not self._arm():
            self.flush()

    def _arm(self) -> bool:
        """See to it that what is buffered is written in a second, and when the process ends."""
        if not self._finalized:
            self._finalized = True
            # Children of multiprocessing leave without atexit.
            util: Any = sys.modules.get("multiprocessing.util")
            if util is not None:
                util.Finalize(None, self.flush, exitpriority=0)
        if self._writer is None:
            with self._lock:
                if self._writer is None:
                    writer = threading.Thread(target=self._write_on, name="promptflow-spool", daemon=True)
                    try:
                        writer.start()
                    except RuntimeError:
                        return False  # the interpreter is shutting down
                    self._writer = writer
        return True

    def _write_on(self) -> None:
        """One thread for all that comes in a row: one for each flush would be dozens at once in a fast batch, each
        with a stack and memory of its own."""
        while True:
            sleep(MAX_SECONDS)
            with self._lock:
                if not self._lines:
                    self._writer = None
                    return
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        with self._lock:
            lines, self._lines = self._lines, []
            self._bytes = 0
            self._written = monotonic()
            if lines:
                self._write(lines)

    def _write(self, lines: Sequence[bytes]) -> None:
        try:
            descriptor = self._open()
        except OSError:
            return  # a trace that cannot be kept must not stop the flow
        try:
            os.writev(descriptor, lines)  # not joined: half a megabyte, again and again, leaves holes in the memory
        except OSError:
            pass
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        """The file, locked. A reader may have claimed it (renamed it) meanwhile: then a new one is begun."""
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                if os.stat(self._path).st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            except FileNotFoundError:
                pass
            os.close(descriptor)

    def after_fork(self) -> None:
        self._lines, self._bytes = [], 0  # the parent writes its own
        self._start()


def spool_for(folder: Path) -> Spool:
    """The one spool of this process for ``folder``."""
    spool = _spools.get(folder)
    if spool is None:
        spool = _spools.setdefault(folder, Spool(folder))
    return spool


def flush() -> None:
    """Write what every spool of this process has buffered."""
    for spool in list(_spools.values()):
        spool.flush()


def row_of(span: Span) -> dict[str, Any]:
    """A span as the spool and the store hold it."""
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "name": span.name,
        "kind": span.kind,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "status": span.status,
        "message": span.message,
        "attributes": span.attributes,
        "events": span.events,
    }


def _after_fork() -> None:
    for spool in _spools.values():
        spool.after_fork()


atexit.register(flush)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
