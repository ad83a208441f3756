"""Two Ray nodes on this machine, one of which comes and goes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.model import ROOT

_PATIENCE = 120.0  # seconds for one command


@dataclass(frozen=True)
class Nodes:
    """``environment``: variables with which a command finds them."""

    environment: dict[str, str]
    process: subprocess.Popen[str]

    def kill_one(self) -> None:
        """End the second node at once."""
        self._do("kill")

    def add_one(self) -> None:
        self._do("add")

    def _do(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        _answer(self.process, "done")


@contextmanager
def ray_nodes() -> Iterator[Nodes]:
    process = subprocess.Popen(
        [sys.executable, "-P", str(ROOT / "benchmarks/ray_cluster.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        told = json.loads(_answer(process, "{"))
        yield Nodes({"RAY_ADDRESS": told["address"], "RAY_AUTH_TOKEN_PATH": told["token"]}, process)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def _answer(process: subprocess.Popen[str], begins: str) -> str:
    assert process.stdout is not None
    watchdog = threading.Timer(_PATIENCE, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:  # between things that Ray says
            if line.startswith(begins):
                return line
    finally:
        watchdog.cancel()
    raise RuntimeError("the Ray nodes have ended")
