"""Who works on a run: one process at a time, and everybody can see whether there is one.

The lock is the kernel's, on a file in the run's folder: however its holder ends, it is let go.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from promptflow.exceptions import RunGoesOnError
from promptflow.storage.jsonl import open_file

_FILE = "lock"
_PATIENCE = 0.5  # seconds: somebody may only be looking, and a process that was killed takes a moment to be gone
_held: set[int] = set()


class RunLock:
    """``with RunLock(folder, name):`` holds the run. Raises RunGoesOnError while another process, or thread, does."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / _FILE
        self._name = name
        self._file = -1

    def __enter__(self) -> RunLock:
        file = open_file(self._path, 0)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(file)
                    raise RunGoesOnError(
                        f"Run {self._name!r} goes on in another process.",
                        hint=f"watch it: pf run stream -n {self._name}",
                    ) from None
            time.sleep(0.02)
        self._file = file
        _held.add(file)
        return self

    def __exit__(self, *error: object) -> None:
        _held.discard(self._file)
        os.close(self._file)


def is_held(folder: Path) -> bool:
    """Whether a process works on the run in this folder."""
    try:
        file = os.open(folder / _FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def is_unused(folder: Path) -> bool:
    """Whether nothing of a run has got into this folder, and nobody is about to make it."""
    return not is_held(folder) and {path.name for path in folder.iterdir()} <= {_FILE}


def _after_fork() -> None:
    # A process that a tool forked must not keep the lock when this one has died.
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
