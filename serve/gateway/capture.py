"""What is kept of an endpoint's requests and answers: sampled here, written elsewhere, and never in anybody's way."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from serve.endpoints.spec import Collector

MAX_PAYLOAD = 1024 * 1024  # bytes of one body; of a larger one, only its size is kept
MAX_WAITING = (
    32 * 1024 * 1024
)  # bytes of a deployment that are not written yet; what comes then is dropped, and counted


@dataclass(frozen=True, slots=True)
class Captured:
    """One request with its answer; a body that was too large is None."""

    id: str
    at: float
    path: str
    status: int
    media: str
    request: bytes | None
    request_size: int
    answer_media: str
    answer: bytes | None
    answer_size: int
    headers: dict[str, str]

    @property
    def size(self) -> int:
        return 256 + len(self.request or b"") + len(self.answer or b"")


class Capture:
    """The queue between the gateway, which adds, and the thread that writes, which takes."""

    def __init__(self, endpoint: str, deployment: str, settings: Collector) -> None:
        self.endpoint, self.deployment, self.settings = endpoint, deployment, settings
        self.dropped = 0
        self.headers = frozenset(name.lower().encode() for name in settings.capture_headers)
        self._due = 0.0
        self._waiting: deque[Captured] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def wants(self) -> bool:
        """Whether the next request is one of the sample: evenly spread, not by chance."""
        self._due += self.settings.sampling_rate
        if self._due < 1.0 - 1e-9:
            return False
        self._due -= 1.0
        return True

    def add(self, captured: Captured) -> None:
        with self._lock:
            if self._bytes + captured.size > MAX_WAITING:
                self.dropped += 1
                return
            self._bytes += captured.size
            self._waiting.append(captured)

    def take(self) -> list[Captured]:
        """All that waits."""
        with self._lock:
            taken, self._waiting, self._bytes = list(self._waiting), deque(), 0
        return taken

    def lost(self, count: int) -> None:
        """So many could not be written."""
        with self._lock:
            self.dropped += count
