"""A tape as a file: JSON lines, written as calls end, read back whole.

{"tape": 1, "by": "9f3c", …}                                    one per process that wrote to it
{"connection": "aoai", "type": …, "configs": …, "secret_keys": …}  what a stand-in is made from
{"by": "9f3c", "n": 7, "line": 3, "node": "ask", "method": "POST", "url": …, "body": …, "answer": {…}}
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from promptflow.exceptions import TapeError
from promptflow.workspace.atomic import file_error

NAME = "tape.jsonl"
VERSION = 1


class TapeWriter:
    """Appends records. Until it has a file they are kept: a flow may call a model before its run has a folder."""

    def __init__(self) -> None:
        self._file = -1
        self._path = Path()
        self._waiting: list[bytes] = []
        self._lock = threading.Lock()

    def open(self, path: Path) -> None:
        """Write to ``path`` from now on, after what is there already: a run may be resumed."""
        with self._lock:
            try:
                self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
                size = os.fstat(self._file).st_size
                torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
            except OSError as error:
                raise file_error("write", path, error) from error
            self._path = path
            self._write(b"\n" * torn + b"".join(self._waiting))
            self._waiting.clear()

    def append(self, record: Mapping[str, Any]) -> None:
        data = to_line(record)
        if self._file < 0:
            with self._lock:
                if self._file < 0:
                    self._waiting.append(data)
                    return
        self._write(data)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, data: bytes) -> None:
        # One write per record: processes may share the file, and what a crash cuts off is the end of a line.
        try:
            written = os.write(self._file, data)
            if written < len(data):
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise file_error("write", self._path, error) from error


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """One record at the end of a file that several processes may write to."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, to_line(record))
    finally:
        os.close(file)


def to_line(record: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(record) + b"\n"
    except TypeError:  # huge integers, half a surrogate pair
        import json

        return json.dumps(record).encode() + b"\n"


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a tape in order. A line that a crash cut off is passed over. Raises TapeError."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TapeError(f"The tape {path} cannot be read: {error.strerror}.", location=str(path)) from error
    damaged = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        record = _parse(line)
        if damaged and not (isinstance(record, dict) and "tape" in record):
            raise _damaged(path, damaged)
        if not isinstance(record, dict):
            damaged = number  # the end of what a process wrote: the file's end or another's beginning follows
            continue
        damaged = 0
        if record.get("tape", VERSION) != VERSION:
            raise TapeError(
                f"This tape is of version {record['tape']}, which is not known here.",
                location=f"{path}:{number}",
                hint="upgrade promptflow",
            )
        if number == 1 and "tape" not in record:
            raise _damaged(path, number)
        yield record


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _damaged(path: Path, number: int) -> TapeError:
    return TapeError(
        "This is no tape, or a damaged one.",
        location=f"{path}:{number}",
        hint="record it anew: pf run create --record, pf flow test --record FILE",
    )
