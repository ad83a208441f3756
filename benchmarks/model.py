"""The slow model as a process, and what it says about its callers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Model:
    """A server that answers after ``latency`` seconds at ``url``."""

    url: str
    latency: float

    def stats(self) -> dict[str, Any]:
        """See `benchmarks.slow_model.Stats`."""
        return self._get("/stats")

    def reset(self) -> dict[str, Any]:
        """Forget all calls; gives back what was counted until now."""
        return self._get("/reset")

    def calls(self) -> dict[str, int]:
        """How often each message came."""
        return self._get("/calls")

    def settled(self) -> dict[str, Any]:
        """The counts once connections of processes that have just ended are seen to be closed."""
        before: dict[str, Any] = {}
        while (now := self.stats()) != before:
            before = now
            time.sleep(0.02)
        return now

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            told: dict[str, Any] = json.load(answer)
            return told


@contextmanager
def model(latency: float) -> Iterator[Model]:
    """A slow model of its own, which ends with the block."""
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.slow_model", "--latency", str(latency)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert server.stdout is not None and server.stdin is not None
    try:
        yield Model(f"http://127.0.0.1:{server.stdout.readline().strip()}", latency)
    finally:
        server.stdin.close()
        server.wait(10)
        server.stdout.close()
