"""A large file on its way to the disk while more of it comes, so that there is little to wait for at the end."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor

_EVERY = 64 << 20


class Flusher:
    """Asks the disk to keep what was written, from time to time, in a thread. Errors of the disk are raised here."""

    def __init__(self, handle: int) -> None:
        self.handle, self.waiting = handle, 0
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self.asked: Future[None] | None = None

    def __enter__(self) -> Flusher:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.pool.shutdown()
        if kind is None and self.asked is not None:
            self.asked.result()  # the kernel tells of an error once

    def wrote(self, count: int) -> None:
        """So many bytes more."""
        self.waiting += count
        if self.waiting < _EVERY or (self.asked is not None and not self.asked.done()):
            return
        if self.asked is not None:
            self.asked.result()
        self.asked, self.waiting = self.pool.submit(os.fsync, self.handle), 0
