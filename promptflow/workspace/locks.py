"""Locks between processes, on files: let go by the kernel when their holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from promptflow.exceptions import WorkspaceError
from promptflow.workspace.atomic import file_error, make_folder


@contextlib.contextmanager
def file_lock(path: Path, timeout: float = 60.0) -> Iterator[None]:
    """Hold the lock ``path`` inside the block, against other processes and other threads of this one."""
    make_folder(path.parent)
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise file_error("open the lock file", path, error) from error
    try:
        _acquire(handle, path, timeout)
        yield
    finally:
        # The file stays: removing it would let two processes hold two different files of one name.
        os.close(handle)


def _acquire(handle: int, path: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise WorkspaceError(
                    f"Another process holds {path} for more than {timeout:g} s.",
                    hint="look for a pf process that hangs",
                ) from error
        except OSError as error:
            raise file_error("lock", path, error) from error
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
