"""Something done again and again beside a batch."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Ticker:
    """Calls ``tick`` on a thread of its own, which ends with the process; ``tick`` says in how many seconds again."""

    def __init__(self, name: str, tick: Callable[[], float]) -> None:
        self._tick = tick
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"promptflow-{name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """When it returns, ``tick`` is not called any more."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._tick()):
            pass
