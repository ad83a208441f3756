"""A thread that looks at a vLLM server now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable

LOOK_SECONDS = 0.25  # between two looks
METRICS_SECONDS = 2.0  # between two that are to read its metrics, too


class Watcher:
    """Calls ``look``, with whether it is to read metrics, until that returns False."""

    def __init__(self, name: str, look: Callable[[bool], bool]) -> None:
        self.name, self._look = name, look
        self._now = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._now.clear()
        thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        thread.start()
        self._thread = thread

    def now(self) -> None:
        """Look at once: something may be wrong."""
        self._now.set()

    def join(self) -> None:
        """Until it has ended, which ``look`` has decided."""
        self._now.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None

    def _run(self) -> None:
        since, due = 0.0, False
        while self._look(due):
            woken = self._now.wait(LOOK_SECONDS)
            self._now.clear()
            # Not just when something may be wrong: it would not answer.
            since = 0.0 if woken or due else since + LOOK_SECONDS
            due = since >= METRICS_SECONDS
