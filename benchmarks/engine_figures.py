"""The torch engine's tokens per CPU second as figures. `benchmarks.engine_bench` measures, in a process of its own."""

from __future__ import annotations

import json

from benchmarks.bench import OURS, Bench
from benchmarks.figures import Figure
from benchmarks.measure import run
from benchmarks.model import ROOT

_BARE, _ENGINE, _ONE_BY_ONE = "bare manager", "our engine", "generate, one by one"


def engine(bench: Bench) -> list[Figure]:
    """On one thread: threads of torch that wait for each other burn CPU, the more the busier the machine is."""
    words = ["-m", "benchmarks.engine_bench", "--json", "--repetitions", str(min(bench.repetitions, 3))]
    done = run([str(OURS / "python"), *words], {**bench.env, "OMP_NUM_THREADS": "1"}, ROOT, timeout=900)
    assert done.ok, done.out
    rates = {name: cpu for name, (cpu, _) in json.loads(done.out.splitlines()[-1]).items()}
    bare = rates.pop(_BARE)
    first = _figure("torch engine, 16 at once: tokens per CPU second", rates.pop(_ENGINE), bare)
    one_by_one = _figure("  transformers' generate, one request at a time", rates.pop(_ONE_BY_ONE), bare)
    return [first, one_by_one, *(_figure(f"  {name.removeprefix('our engine, ')}", rate, bare)
                                 for name, rate in rates.items())]  # fmt: skip


def _figure(name: str, rate: float, bare: float) -> Figure:
    """Without a bound: that is on the engine behind HTTP, in `benchmarks.openai_bench`."""
    return Figure(name, f"{rate / bare:.2f}x ({rate:.0f})", f"bare manager {bare:.0f}")
