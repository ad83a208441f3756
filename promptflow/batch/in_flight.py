"""Which lines were in flight when a process died: their numbers in a small file, which outlives any crash.

A line whose code ends the whole process (a segmentation fault, ``os._exit``) would end it again and again when its run
is resumed: what was in flight runs apart then.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Container
from pathlib import Path

from promptflow.workspace.atomic import file_error

FILE = "in-flight"
SLOTS = 1024  # lines at once that have a place
_SLOT = struct.Struct("<Q")  # the line's number and one; 0 where the slot is free
_FREE = _SLOT.pack(0)


class InFlight:
    """The file of one run while it goes on. ``before``: lines that were in flight when it was left behind."""

    def __init__(self, file: Path) -> None:
        self.before = frozenset(_read(file))
        self._file = file
        self._slots: dict[int, int] = {}
        self._free = list(range(SLOTS - 1, -1, -1))
        try:
            self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Written, not only made larger: what is stored later needs no space on the disk then.
            os.pwrite(self._fd, bytes(SLOTS * _SLOT.size), 0)
        except OSError as error:
            raise file_error("write", file, error) from error
        for number in self.before:
            self.start(number)

    def start(self, number: int) -> None:
        """A line starts. One write of 8 bytes: the system has it even if the process ends within a microsecond."""
        if number not in self._slots and self._free:
            slot = self._slots[number] = self._free.pop()
            os.pwrite(self._fd, _SLOT.pack(number + 1), slot * _SLOT.size)

    def end(self, number: int) -> None:
        """A line's result is written."""
        slot = self._slots.pop(number, None)
        if slot is not None:
            os.pwrite(self._fd, _FREE, slot * _SLOT.size)
            self._free.append(slot)

    def close(self, ended: Container[int] = ()) -> None:
        """The process is still there: only lines that were suspect and have not ``ended`` stay so."""
        suspect = [number for number in self.before if number in self._slots and number not in ended]
        for number in self._slots.keys() - set(suspect):
            self.end(number)
        os.close(self._fd)
        if not suspect:
            self._file.unlink(missing_ok=True)


def _read(file: Path) -> list[int]:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return []
    whole = len(data) - len(data) % _SLOT.size
    return [number - 1 for (number,) in _SLOT.iter_unpack(data[:whole]) if number]
