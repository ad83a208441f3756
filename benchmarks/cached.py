"""A run again, with every result of a node in the cache: no calls, and next to no time."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Figure, us

ROWS, NODES = 10_000, 3
PER_NODE = 100.0


def cached(bench: Bench) -> list[Figure]:
    """Three model nodes per line. All that the warm run costs is put down to its nodes, but for its start-up."""
    words = ["--cache", "auto", "--concurrency", "256"]
    bench.pf("cache", "clear", "-y")
    off = bench.batch("llm3", ROWS, "--cache", "off", "--concurrency", "256")
    bench.model.reset()
    first = bench.batch("llm3", ROWS, *words)
    calls = bench.model.reset()["requests"]
    warm = bench.batch("llm3", ROWS, *words)
    again = bench.model.reset()["requests"]
    start = bench.batch("llm3", 1, *words)
    per_node = (warm.cpu - start.cpu) / ((ROWS - 1) * NODES) * 1e6
    return [
        Figure(f"warm cache, {ROWS:,} rows of {NODES} model nodes, CPU per node", us(per_node), "-",
               f"<= {us(PER_NODE)}", per_node <= PER_NODE and first.ok and warm.ok),
        Figure("  CPU per node of filling it, above --cache off", us((first.cpu - off.cpu) / (ROWS * NODES) * 1e6)),
        Figure("  wall", f"{warm.wall:.1f} s", f"{first.wall:.1f} s when cold"),
        Figure("  calls of the model", str(again), f"{calls} when cold", "0", again == 0),
    ]  # fmt: skip
