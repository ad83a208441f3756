"""Requests and tokens per minute of a connection, over all processes that use this workspace on this machine.

The ledger is a small file per connection, locked for the microseconds of each entry. A process that dies leaves it
whole: what it had reserved and did not send is lost, no more.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptflow.exceptions import WorkspaceError
from promptflow.llm.ledger import Ledger
from promptflow.workspace.atomic import make_folder
from promptflow.workspace.home import find_home

_CELL = struct.Struct("<d")
_SAME_CLOCK = 30.0  # seconds
_FIRST_TOKENS_PER_BYTE = 0.3
_MOST_FIRST_TOKENS = 4000.0  # an image is many bytes and few tokens
_LEARNS = 0.1
_TRIES = 60  # at the lock, in about a second
_LONGEST_PAUSE = 0.02  # seconds
_logger = logging.getLogger(__name__)
_all = threading.Lock()
_throttles: dict[tuple[Any, ...], Throttle] = {}


class Throttle:
    """One connection's limits. `reserve` before each request; `settle` when its tokens are known."""

    def __init__(self, file: Path, requests: int, tokens: int) -> None:
        self._lock = threading.Lock()
        self._tokens_per_byte = _FIRST_TOKENS_PER_BYTE
        self._has_learned = False
        self._fd: int | None = None
        cells: Any
        try:
            self._fd = _open(file, Ledger.size(requests))
            cells = _FileCells(self._fd)
        except (OSError, WorkspaceError) as error:  # a full disk, a folder that is not ours: better than no limit
            _logger.warning("%s cannot be used (%s): limits per minute hold for this process alone.", file, error)
            cells = [0.0] * Ledger.size(requests)
        self._ledger = Ledger(cells, requests, tokens)

    def estimate(self, size: int) -> float:
        """Tokens that a request of ``size`` bytes and its answer will have, as others had."""
        tokens = size * self._tokens_per_byte
        return tokens if self._has_learned else min(tokens, _MOST_FIRST_TOKENS)

    def reserve(self, tokens: float) -> float:
        """Take a place for a request: when it may be sent, by `time.monotonic`."""
        with self._entry():
            return self._ledger.reserve(time.monotonic(), tokens)

    def settle(self, size: int, reserved: float, tokens: float) -> None:
        """A request of ``size`` bytes was of so many tokens; 0 if the server took none."""
        with self._entry():
            self._ledger.settle(tokens - reserved)
        if tokens:
            seen = tokens / max(size, 1)
            self._tokens_per_byte += (seen - self._tokens_per_byte) * (_LEARNS if self._has_learned else 1.0)
            self._has_learned = True

    @contextmanager
    def _entry(self) -> Iterator[None]:
        with self._lock:
            held = self._fd is not None and _hold(self._fd)
            try:
                yield
            finally:
                if held:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)  # type: ignore[arg-type]


class _FileCells:
    """Numbers in a file, after the one that says by which clock the times are."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __getitem__(self, index: int) -> float:
        value: float = _CELL.unpack(os.pread(self._fd, _CELL.size, (index + 1) * _CELL.size))[0]
        return value

    def __setitem__(self, index: int, value: float) -> None:
        os.pwrite(self._fd, _CELL.pack(value), (index + 1) * _CELL.size)


def throttle_for(connection: Any, requests: int, tokens: int) -> Throttle:
    """The throttle of a connection with these limits: the same object each time."""
    # Without a name it is known by what it holds; a digest tells no key.
    known_by = [connection.name] if connection.name else [*connection.configs.values(), *connection.secrets.values()]
    key = (find_home().locks, connection.TYPE, *map(str, known_by), requests, tokens)
    with _all:
        if key not in _throttles:
            words = "\n".join([os.uname().nodename, *map(str, key[1:])])
            name = f"throttle-{hashlib.sha256(words.encode()).hexdigest()[:24]}"
            _throttles[key] = Throttle(key[0] / name, requests, tokens)
        return _throttles[key]


def _open(file: Path, cells: int) -> int:
    """The file, all 0 if it is new or from before the machine started. Its space is taken now, not when written to."""
    make_folder(file.parent)
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    held = _hold(fd)
    try:
        clock = time.time() - time.monotonic()
        head = os.pread(fd, _CELL.size, 0)
        size = (cells + 1) * _CELL.size
        if os.fstat(fd).st_size < size or abs(_CELL.unpack(head)[0] - clock) > _SAME_CLOCK:
            data = _CELL.pack(clock) + bytes(size - _CELL.size)
            if os.pwrite(fd, data, 0) < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.close(fd)
        raise
    if held:
        fcntl.flock(fd, fcntl.LOCK_UN)
    return fd


def _hold(fd: int) -> bool:
    """Lock the file. Who holds it does so for microseconds, unless it was stopped: then it is not waited for."""
    pause = 0.0001
    for _ in range(_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    return False
