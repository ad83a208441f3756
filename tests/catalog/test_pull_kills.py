"""A pull that is killed again and again loses at most 8 MiB each time, and what comes out verifies."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.pull_kills import Killer
from catalog.parts import CHUNK
from tests.hub_server import Repo, serving

pytest.importorskip("huggingface_hub")


def test_kills_while_pulling(tmp_path: Path) -> None:
    weights = random.Random(3).randbytes(24 * CHUNK + 5)
    with serving({"acme/big": Repo({"config.json": b"{}", "model.safetensors": weights})}) as server:
        server.pause = 0.02  # four connections, four pieces to a chunk: half a second for the whole
        tally = Killer(server, "acme/big", tmp_path, (0.0, 0.3)).run(4)
    assert tally.ok, tally
    assert tally.kills == 4 and tally.sent >= len(weights)
