"""Pulls from a hub on loopback: the rate against the disk's and sha256's, and 50 kills while pulling."""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.bench import WORK, Bench
from benchmarks.figures import Figure, show
from benchmarks.pull_kills import LIMIT, Killer, Tally
from catalog.ranges import RemoteFile
from catalog.transfer import CHUNK, download
from tests.hub_server import Repo, serving

SIZE = 2_000_000_000
KILLS = 50
_ID, _FILE = "bench/big", "model.safetensors"


def pull(bench: Bench) -> list[Figure]:
    """A synthetic model of 2 GB."""
    return figures(bench.work, bench.repetitions)


def figures(work: Path, repetitions: int) -> list[Figure]:
    model = work / "hub" / _ID
    model.mkdir(parents=True, exist_ok=True)
    weights = model / _FILE
    if not weights.is_file() or weights.stat().st_size != SIZE:
        _write_random(weights)
    (model / "config.json").write_text("{}")
    folder = work / "pulled"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with _server(work / "hub") as url:
        rates = [_rates(url, weights, folder) for _ in range(max(3, repetitions // 2))]
    hashed, written, pulled = (statistics.median(each[i] for each in rates) for i in range(3))
    share = statistics.median(rate[2] / min(rate[0], rate[1]) for rate in rates)
    tally = _kills(model, folder)
    shutil.rmtree(folder)
    return [
        Figure("pull 2 GB, of the slower of disk and sha256", f"{share:.0%} ({_rate(pulled)})",
               f"disk {_rate(written)}, sha256 {_rate(hashed)}", ">= 90 %", share >= 0.9),
        Figure(f"{tally.kills} kills while pulling 2 GB: files damaged", str(tally.damaged + tally.failed),
               f"{tally.pulls} complete pulls", "0", not tally.damaged and not tally.failed),
        Figure("fetched again per kill, the most", f"{tally.most / 2**20:.1f} MiB",
               f"mean {tally.again / max(1, tally.kills) / 2**20:.1f} MiB", "<= 8 MiB", tally.most <= LIMIT),
    ]  # fmt: skip


def _kills(model: Path, folder: Path) -> Tally:
    with serving({_ID: Repo({path.name: path for path in sorted(model.iterdir())})}) as server:
        return Killer(server, _ID, folder, (0.0, 2.0)).run(KILLS)


def _rates(url: str, weights: Path, folder: Path) -> tuple[float, float, float]:
    """Bytes per second of sha256 over the file, of writing as much to the disk, and of pulling it."""
    etag, hashed = _timed(lambda: _hash(weights))
    _, written = _timed(lambda: _write_random(folder / "written"))
    (folder / "written").unlink()
    blob = folder / etag
    _, pulled = _timed(lambda: download(RemoteFile(f"{url}/{_ID}/resolve/main/{_FILE}", SIZE), etag, blob))
    blob.unlink()
    return SIZE / hashed, SIZE / written, SIZE / pulled


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    value = call()
    return value, time.perf_counter() - start


def _hash(path: Path) -> str:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def _write_random(path: Path) -> None:
    """SIZE bytes on the disk itself. The same MiB again and again, with a number: no two chunks are equal."""
    chunk = bytearray(os.urandom(CHUNK))
    with path.open("wb", buffering=0) as file:
        for number in range(-(-SIZE // CHUNK)):
            chunk[:8] = number.to_bytes(8, "big")
            file.write(memoryview(chunk)[: min(CHUNK, SIZE - number * CHUNK)])
        os.fsync(file.fileno())


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hub_server", str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def _rate(rate: float) -> str:
    return f"{rate / 1e6:.0f} MB/s"


if __name__ == "__main__":
    WORK.mkdir(exist_ok=True)
    measured = figures(WORK, 6)
    show(measured)
    sys.exit(0 if all(figure.ok for figure in measured) else 1)
