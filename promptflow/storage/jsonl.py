"""A JSON-lines file that lines are added to in any order and that ends up sorted by line number."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import orjson

from promptflow.workspace.atomic import file_error


class SortedLines:
    """Every `add` is one write that is on its way to the disk when it returns; `close` sorts.

    The file is made with the first line. Only positions are held in memory. May be used from several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._closed = False
        self._lock = Lock()
        self._numbers = array("q")
        self._ends = array("q")

    def add(self, number: int, text: bytes) -> None:
        with self._lock:
            if self._closed:
                raise ValueError(f"{self.path} is closed")
            if self._file < 0:
                self._file = open_file(self.path, os.O_TRUNC)
            write_all(self._file, text + b"\n", self.path)
            self._numbers.append(number)
            self._ends.append((self._ends[-1] if self._ends else 0) + len(text) + 1)

    def close(self) -> None:
        """Sort the file, all or nothing, and close it. The second time does nothing."""
        with self._lock:
            self._closed = True
            if self._file < 0:
                return
            os.close(self._file)
            self._file = -1
        numbers = self._numbers
        if all(numbers[i] < numbers[i + 1] for i in range(len(numbers) - 1)):
            return
        sorted_path = self.path.with_name(f".{self.path.name}.sorted")
        with self.path.open("rb") as source, sorted_path.open("wb") as target:
            for i in sorted(range(len(numbers)), key=numbers.__getitem__):
                start = self._ends[i - 1] if i else 0
                source.seek(start)
                target.write(source.read(self._ends[i] - start))
        os.replace(sorted_path, self.path)


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
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                try:
                    yield json.loads(line)  # lone surrogates and the like, which only Python's json reads
                except ValueError:
                    continue
