"""Pulls of a model whose processes are killed (SIGKILL) at random moments, until it is there and verifies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog.local import LocalModels
from catalog.parts import CHUNK
from catalog.transfer import DIGESTS
from catalog.verify import verify
from tests.hub_server import HubServer

LIMIT = 8 << 20  # bytes that a kill may cost
_DIGEST = 32
_SECONDS = 300.0  # for one command


@dataclass
class Tally:
    """What came of the pulls. ``again`` are bytes that were sent more than once, over all kills and the most of one."""

    kills: int = 0
    pulls: int = 0
    sent: int = 0
    again: int = 0
    most: int = 0
    damaged: int = 0
    failed: int = 0

    @property
    def ok(self) -> bool:
        return self.most <= LIMIT and not self.damaged and not self.failed


@dataclass
class Killer:
    """Pulls the one model of ``server`` into ``folder`` again and again."""

    server: HubServer
    id: str
    folder: Path
    seconds: tuple[float, float]  # from the first byte to the kill: between these
    seed: int = 1

    def run(self, kills: int) -> Tally:
        """Until so many processes were killed, and the last pull is complete."""
        tally, rng = Tally(), random.Random(self.seed)
        models = LocalModels(self.folder / "hub")
        while True:
            before = self._kept(models), sum(self.server.sent.values())
            killed, code = self._pull(rng.uniform(*self.seconds) if tally.kills < kills else None)
            sent = sum(self.server.sent.values()) - before[1]
            tally.sent += sent
            again = sent - (self._kept(models) - before[0])
            tally.again += again
            tally.most = max(tally.most, again)
            if killed:
                tally.kills += 1
                continue
            tally.pulls += 1
            tally.failed += code != 0
            if code == 0:
                tally.damaged += sum(file.state != "ok" for file in verify(models.get(self.id)))
            if tally.kills >= kills or tally.failed:
                return tally
            models.remove(self.id)

    def _kept(self, models: LocalModels) -> int:
        """Bytes that a pull need not fetch any more: whole blobs, and chunks that are listed."""
        blobs = models.repo(self.id) / "blobs"
        kept = 0
        for path in blobs.iterdir() if blobs.is_dir() else ():
            if path.name.endswith(DIGESTS):
                kept += path.stat().st_size // _DIGEST * CHUNK
            elif "." not in path.name:
                kept += path.stat().st_size
        return kept

    def _pull(self, kill_after: float | None) -> tuple[bool, int]:
        """One command; whether it was killed, and its exit code."""
        sent = sum(self.server.sent.values())
        command = [sys.executable, "-m", "promptflow.cli.main", "catalog", "pull", self.id, "--no-progress"]
        process = subprocess.Popen(
            command, env=self._environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            if kill_after is None:
                return False, process.wait(_SECONDS)
            deadline = time.monotonic() + _SECONDS
            while sum(self.server.sent.values()) == sent and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            try:
                return False, process.wait(kill_after)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                time.sleep(0.2)  # the server may still be sending to it
                return True, 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _environment(self) -> Mapping[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PF_"))},
            "HF_HOME": str(self.folder),
            "HF_ENDPOINT": self.server.url,
            "PF_HOME_DIRECTORY": str(self.folder / "pf"),
        }
