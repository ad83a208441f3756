"""Parts of a file to the disk: past the memory of the kernel where they come faster than that takes them.

A page of a file in memory costs several times what the disk itself does. What comes from far is slow enough to go
through memory, and is there when the model is loaded; from a mirror nearby, it would hold up what comes after it.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from pathlib import Path

ALIGNED = 4096  # what disks ask of the place, the length and the memory of what goes straight to them
_FAST = 200e6  # bytes per second


class PartWriter:
    """Writes to ``handle``, whose file is at ``path``; from several threads, each to a place of its own."""

    def __init__(self, handle: int, path: Path) -> None:
        self.handle = handle
        self.straight = _open_straight(path)
        self.since, self.count = time.monotonic(), 0

    def close(self) -> None:
        if self.straight is not None:
            os.close(self.straight)
            self.straight = None

    def write(self, start: int, data: memoryview) -> None:
        """All of ``data`` at a place of the file. OSError."""
        self.count += len(data)
        if self.straight is not None and self.count > _FAST * (time.monotonic() - self.since):
            count = self._write_straight(self.straight, start, data)
            start, data = start + count, data[count:]
        write_at(self.handle, start, data)

    def _write_straight(self, handle: int, start: int, data: memoryview) -> int:
        """How many of the first bytes of ``data`` were written: none where the disk does not take them so."""
        if start % ALIGNED:
            return 0
        try:
            return os.pwrite(handle, data[: len(data) - len(data) % ALIGNED], start)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return 0


def aligned(size: int) -> mmap.mmap:
    """Memory that can go straight to the disk."""
    return mmap.mmap(-1, size)


def write_at(handle: int, start: int, data: memoryview) -> None:
    """All of ``data`` at a place of a file."""
    while data:
        count = os.pwrite(handle, data, start)
        data, start = data[count:], start + count


def _open_straight(path: Path) -> int | None:
    if not hasattr(os, "O_DIRECT"):
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # a file system that cannot
        return None
