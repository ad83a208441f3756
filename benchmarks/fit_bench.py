"""`pf catalog fit` through a mirror on loopback: seconds, and bytes on the line, for models of eight architectures."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import OURS, WORK, Bench
from benchmarks.counted import counted
from benchmarks.figures import Figure, ms, show
from benchmarks.fit_models import pulled
from benchmarks.measure import clean_environment, run
from catalog.facts import facts_of_hub
from catalog.fit import predict
from catalog.hub import Hub
from catalog.machine import Machine

# Dense, windows, experts, quantised, states, latent vectors in 270 files, 191 files, an encoder.
MODELS = ("llama_8b", "gemma3_1b", "qwen3_30b_a3b", "gpt_oss_20b", "mamba_2_8b", "deepseek_v3", "llama_405b",
          "bert_base")  # fmt: skip


def catalog_fit(bench: Bench) -> list[Figure]:
    """The slowest model counts."""
    return figures(bench.work, min(bench.repetitions, 5))


def figures(work: Path, repetitions: int) -> list[Figure]:
    folder = work / "fit"
    shutil.rmtree(folder, ignore_errors=True)
    stored = dict(pulled(name, folder / "mirror/hub") for name in MODELS)
    with _mirror(folder / "mirror") as url:
        within = {id: _median(lambda id=id: _fit(id, url), repetitions) for id in stored}
        command = {id: _median(lambda id=id: _command(id, url, folder / "home"), repetitions) for id in stored}
        with counted(int(url.rpartition(":")[2])) as line:
            found = {id: (_exact(id, line.url, stored[id]), line.take()) for id in stored}
    shutil.rmtree(folder)
    exact = sum(right for right, _ in found.values())
    most = max(found, key=lambda id: found[id][1])
    return [
        _slowest("pf catalog fit from a mirror, the slowest model", command),
        _slowest("  without the start of the command", within),
        Figure("  bytes on the line, the most", f"{found[most][1]:,} ({most})",
               f"median {statistics.median_high(count for _, count in found.values()):,}", "<= 1 MB",
               found[most][1] <= 1_000_000),
        Figure("  weights told to the byte", f"{exact} of {len(stored)}", "-", "all", exact == len(stored)),
    ]  # fmt: skip


def _slowest(name: str, seconds: dict[str, float]) -> Figure:
    slowest = max(seconds, key=lambda id: seconds[id])
    middle = statistics.median(seconds.values())
    value = f"{ms(seconds[slowest])} ({slowest})"
    return Figure(name, value, f"median of {len(seconds)} models {ms(middle)}", "<= 1 s", seconds[slowest] <= 1)


def _median(measure: Callable[[], float], repetitions: int) -> float:
    return statistics.median(measure() for _ in range(repetitions))


def _fit(id: str, url: str) -> float:
    start = time.perf_counter()
    facts = facts_of_hub(id, None, Hub(url))
    predict(facts.config, facts.weights, Machine.here())
    return time.perf_counter() - start


def _exact(id: str, url: str, stored: int) -> bool:
    weights = facts_of_hub(id, None, Hub(url)).weights
    return weights is not None and weights.exact and weights.stored == stored


def _command(id: str, url: str, home: Path) -> float:
    cost = run([str(OURS / "pf"), "catalog", "fit", id, "--endpoint", url], clean_environment(home, OURS))
    assert cost.ok, cost.out
    return cost.wall


@contextmanager
def _mirror(home: Path) -> Iterator[str]:
    """The mirror of what was pulled to ``home``, in a process of its own."""
    env = {**clean_environment(home, OURS), "HF_HUB_CACHE": str(home / "hub")}
    words = [str(OURS / "pf"), "catalog", "mirror", "--port", "0", "-o", "json"]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield next(line for line in process.stdout if '"url"' in line).split('"')[3]
        finally:
            process.terminate()


if __name__ == "__main__":
    WORK.mkdir(exist_ok=True)
    measured = figures(WORK, 5)
    show(measured)
    sys.exit(0 if all(figure.ok for figure in measured) else 1)
