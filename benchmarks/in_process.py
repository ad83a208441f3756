"""A flow called in process, against promptflow 1.18.5 and LangGraph."""

from __future__ import annotations

import json

from benchmarks.bench import Bench
from benchmarks.figures import Figure, us
from benchmarks.measure import Cost
from benchmarks.model import ROOT

CHAIN = str(ROOT / "benchmarks/chain.py")


def in_process(bench: Bench) -> list[Figure]:
    flow = str(bench.flows / "py3")
    repetitions = range(bench.repetitions)
    ours = _median([bench.python(CHAIN, "flow", flow) for _ in repetitions])
    original = _median([bench.reference("python", CHAIN, "flow", flow) for _ in repetitions])
    graph = _median([bench.reference("python", CHAIN, "langgraph") for _ in repetitions])
    return [
        Figure("three Python nodes in process, per call", us(ours), "-", "<= 120 µs", ours <= 120),
        Figure("  against promptflow 1.18.5", f"{original / ours:.1f}x", us(original), ">= 10x", original >= 10 * ours),
        Figure("  against LangGraph", f"{graph / ours:.1f}x", us(graph), ">= 5x", graph >= 5 * ours),
    ]


def _median(costs: list[Cost]) -> float:
    """Microseconds per call."""
    values = sorted(float(json.loads(cost.out.splitlines()[-1])["us"]) for cost in costs)
    return values[len(values) // 2]
