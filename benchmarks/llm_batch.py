"""Batches that wait for a model: how near to the model's own time, and what a line costs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.figures import Figure, ms
from benchmarks.measure import Cost
from benchmarks.model import ROOT

BARE_LOOP = str(ROOT / "benchmarks/bare_loop.py")
FEW, MANY = 1000, 10_000
SHARES = {64: 0.95, 256: 0.80}  # of the ideal, from the first call to the last, by lines at once
COMMAND_SHARE, CPU_ABOVE_BARE = 0.85, 0.0006


@dataclass(frozen=True)
class _Batch:
    """``span``: seconds from the first call to the last answer, as the model saw them; ``ideal``: the least."""

    cost: Cost
    span: float
    ideal: float
    ok: bool


def llm_batch(bench: Bench) -> list[Figure]:
    figures = []
    for concurrency, share in SHARES.items():
        few = [_run(bench, FEW, concurrency) for _ in range(min(bench.repetitions, 3))]
        few.sort(key=lambda batch: batch.cost.cpu)
        middle, many = few[len(few) // 2], _run(bench, MANY, concurrency)
        figures += [_near_ideal(batch, rows, concurrency, share) for batch, rows in ((middle, FEW), (many, MANY))]
        if concurrency == 64:
            figures += _command(middle)
        figures.append(_cpu_per_line(bench, middle, many, concurrency))
        figures.append(Figure("  memory of the 10,000 rows (PSS)", f"{many.cost.pss_mb:.0f} MB", "-", "<= 150 MB",
                              many.cost.pss_mb <= 150))  # fmt: skip
    return figures


def _run(bench: Bench, rows: int, concurrency: int) -> _Batch:
    bench.model.reset()
    # No node is taken from a run before: this is about the model.
    cost = bench.batch("llm", rows, "--concurrency", str(concurrency), "--cache", "off")
    told = bench.model.stats()
    ok = cost.ok and told["requests"] == rows
    return _Batch(cost, told["last"] - told["first"], rows * bench.model.latency / concurrency, ok)


def _near_ideal(batch: _Batch, rows: int, concurrency: int, bound: float) -> Figure:
    share = batch.ideal / batch.span if batch.span else 0.0
    name = f"LLM batch, {rows:,} rows, {concurrency} at once, first to last call"
    value = f"{share:.1%} of ideal ({batch.span:.2f} s)"
    return Figure(name, value, f"{batch.ideal:.2f} s", f">= {bound:.0%}", share >= bound and batch.ok)


def _command(batch: _Batch) -> list[Figure]:
    share = batch.ideal / batch.cost.wall
    value = f"{share:.1%} of ideal ({batch.cost.wall:.2f} s)"
    return [Figure("  the whole command", value, f"{batch.ideal:.2f} s", f">= {COMMAND_SHARE:.0%}",
                   share >= COMMAND_SHARE)]  # fmt: skip


def _cpu_per_line(bench: Bench, few: _Batch, many: _Batch, concurrency: int) -> Figure:
    """From 1,000 rows to 10,000, so that start-up does not count; the bare loop does not count its own."""
    ours = (many.cost.cpu - few.cost.cpu) / (MANY - FEW)
    out = bench.python(BARE_LOOP, bench.model.url, str(MANY), str(concurrency)).out
    bare = float(json.loads(out)["cpu"]) / MANY
    above = ours - bare
    return Figure(f"  CPU per line above a bare aiohttp loop, {concurrency} at once", f"{ms(above)} ({ms(ours)})",
                  ms(bare), f"<= {ms(CPU_ABOVE_BARE)}", few.ok and many.ok and above <= CPU_ABOVE_BARE)  # fmt: skip
