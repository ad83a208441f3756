"""Files of JSON lines: added to in any order and sorted in the end, appended to, read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import orjson

from promptflow.exceptions import WorkspaceError
from promptflow.storage.sort import sort_file
from promptflow.workspace.atomic import file_error

# As Python's json writes, and orjson does not. Integers over 64 bits and lone surrogates are left to Python's; orjson
# would read such an integer as a float.
_BY_PYTHON = b'": '


class SortedLines:
    """Every `add` is one write that is on its way to the disk when it returns; `close` sorts by line number.

    The file is made with the first line, and ``link`` too, if given: a second name of the same file, where the file
    system has that. May be used from several threads; the memory it takes does not grow.
    """

    def __init__(self, path: Path, link: Path | None = None) -> None:
        self.path = path
        self._link = link
        self._file = -1
        self._closed = False
        self._lock = Lock()
        self._size = 0
        self._most = -1
        self._is_sorted = True

    def add(self, number: int, text: bytes) -> None:
        with self._lock:
            if self._closed:
                raise ValueError(f"{self.path} is closed")
            if self._file < 0:
                self._file = open_file(self.path, os.O_TRUNC | os.O_APPEND)
                self._most = number
                self._give_link()
            elif number <= self._most:
                self._is_sorted = False
            else:
                self._most = number
            line = text + b"\n"
            try:
                write_all(self._file, line, self.path)
            except WorkspaceError:
                with suppress(OSError):  # half a line would spoil the file
                    os.ftruncate(self._file, self._size)
                raise
            self._size += len(line)

    def close(self) -> None:
        """Sort the file, all or nothing, and close it. The second time does nothing."""
        with self._lock:
            self._closed = True
            if self._file < 0:
                return
            os.close(self._file)
            self._file = -1
        if not self._is_sorted:
            sort_file(self.path, _number)
            self._give_link()

    def _give_link(self) -> None:
        if self._link is None:
            return
        fresh = self._link.with_name(f".{self._link.name}.link")
        with suppress(OSError):  # some file systems have no second names
            fresh.unlink(missing_ok=True)
            os.link(self.path, fresh)
            os.replace(fresh, self._link)
            fresh.unlink(missing_ok=True)  # both were the same file already: then replacing does nothing


def _number(line: bytes) -> int:
    number: int = from_json(line)["line_number"]
    return number


class AppendedFiles:
    """Files that are appended to, the last few of them kept open: opening costs much more than writing."""

    def __init__(self, keep: int = 64) -> None:
        self._keep = keep
        self._open: dict[str, int] = {}
        self._lock = Lock()

    def append(self, path: str, data: bytes) -> None:
        with self._lock:
            file = self._open.get(path)
            if file is None:
                if len(self._open) >= self._keep:
                    os.close(self._open.pop(next(iter(self._open))))
                file = self._open[path] = open_file(path, os.O_APPEND)
            write_all(file, data, path)

    def close(self) -> None:
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])


def open_file(path: Path | str, how: int) -> int:
    """A file to write: O_TRUNC for a new one, O_APPEND to add to one. Raises WorkspaceError."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o666)
    except OSError as error:
        raise file_error("write", path, error) from error


def write_all(file: int, data: bytes, path: Path | str) -> None:
    """``os.write`` until everything is written. Raises WorkspaceError (disk full, ...)."""
    try:
        written = os.write(file, data)
        while written < len(data):  # a nearly full disk or a signal
            written += os.write(file, memoryview(data)[written:])
    except OSError as error:
        raise file_error("write", path, error) from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines file of ours; a last line that a crash cut off is left out."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        for line in stream:
            try:
                yield from_json(line)
            except ValueError:
                continue


def from_json(text: bytes) -> Any:
    """What `to_json` wrote. Raises ValueError."""
    if _BY_PYTHON not in text:
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(text)
    return json.loads(text)
