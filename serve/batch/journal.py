"""The journal of a job: what came of each mini-batch, with its rows, in one file that only grows.

A record carries a checksum: what a kill or a full disk left of the last one is cut off when the file is opened again,
and its mini-batch is done again. The last record of a mini-batch counts.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from promptflow.workspace.atomic import file_error, make_folder

_LONGEST_HEAD = 1 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A mini-batch that has ended: ``rows`` it gave, ``failed`` of its items; the text of its rows lies at
    ``offset``."""

    index: int
    rows: int
    failed: int
    error: str = ""
    attempts: int = 1
    offset: int = 0
    size: int = 0

    @property
    def is_done(self) -> bool:
        return not self.error


class Journal:
    """Open for one process at a time, which the job's lock sees to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[int, Entry] = {}
        make_folder(path.parent)
        try:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise file_error("open", path, error) from error
        self._end = self._read()
        self._file.truncate(self._end)

    def add(self, entry: Entry, text: bytes = b"") -> Entry:
        """Keep what came of a mini-batch. WorkspaceError if that cannot be written; nothing of it is left then."""
        head = {
            "index": entry.index, "rows": entry.rows, "failed": entry.failed, "error": entry.error,
            "attempts": entry.attempts, "size": len(text), "crc": zlib.crc32(text),
        }  # fmt: skip
        first = json.dumps(head, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        record = b"".join((first, text, b"\n"))
        try:
            self._write(record)
        except OSError as error:
            self._file.truncate(self._end)
            raise file_error("write", self.path, error) from error
        kept = Entry(
            entry.index, entry.rows, entry.failed, entry.error, entry.attempts, self._end + len(first), len(text)
        )
        self._end += len(record)
        self.entries[entry.index] = kept
        return kept

    def texts(self) -> Iterator[bytes]:
        """The rows of all mini-batches that are done, in the order of the mini-batches."""
        with open(self.path, "rb") as file:
            for index in sorted(self.entries):
                entry = self.entries[index]
                if not entry.is_done:
                    continue
                file.seek(entry.offset)
                left = entry.size
                while left:
                    chunk = file.read(min(left, _CHUNK))
                    if not chunk:
                        raise OSError(f"{self.path} is shorter than it was")
                    left -= len(chunk)
                    yield chunk

    def close(self) -> None:
        self._file.close()

    def _write(self, record: bytes) -> None:
        view = memoryview(record)
        while view:
            view = view[os.write(self._file.fileno(), view) :]

    def _read(self) -> int:
        """Where the last whole record ends."""
        with open(self.path, "rb") as file:
            end = 0
            while (entry := _entry(file)) is not None:
                end = file.tell()
                self.entries[entry.index] = entry
        return end


def _entry(file: BinaryIO) -> Entry | None:
    """The record that begins here; None where there is none, or a torn one."""
    line = file.readline(_LONGEST_HEAD)
    try:
        head = json.loads(line)
        size, crc = int(head.pop("size")), int(head.pop("crc"))
        entry = Entry(**head, offset=file.tell(), size=size)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    left, found = size, 0
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            return None
        found, left = zlib.crc32(chunk, found), left - len(chunk)
    return entry if line.endswith(b"\n") and file.read(1) == b"\n" and found == crc else None
