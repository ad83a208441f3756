"""Batches that wait for a model: how near to the model's own time, and what a line costs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.figures import Figure, ms
from benchmarks.model import ROOT

BARE_LOOP = str(ROOT / "benchmarks/bare_loop.py")
FEW, MANY = 1000, 10_000
SHARES = {64: 0.95, 256: 0.80}  # of the ideal, from the first call to the last, by lines at once
COMMAND_SHARE, CPU_ABOVE_BARE = 0.85, 0.0006


@dataclass(frozen=True)
class _Batch:
    """``span``: seconds from the first call to the last answer, as the model saw them; ``ideal``: the least."""

    cpu: float
    wall: float
    span: float
    ideal: float
    pss_mb: float
    ok: bool


def llm_batch(bench: Bench) -> list[Figure]:
    figures = []
    for concurrency, share in SHARES.items():
        few = [_run(bench, FEW, concurrency) for _ in range(min(bench.repetitions, 3))]
        few.sort(key=lambda batch: batch.cpu)
        middle, many = few[len(few) // 2], _run(bench, MANY, concurrency)
        bare = {rows: _bare(bench, rows, concurrency) for rows in (FEW, MANY)}
        figures += [
            _near_ideal(middle, bare[FEW], FEW, concurrency, share),
            _near_ideal(many, bare[MANY], MANY, concurrency, share),
            *([_command(middle)] if concurrency == 64 else []),
            _cpu_per_line(middle, many, bare[MANY]),
            Figure("  memory of the 10,000 rows (PSS)", f"{many.pss_mb:.0f} MB", "-", "<= 150 MB", many.pss_mb <= 150),
        ]
    return figures


def _run(bench: Bench, rows: int, concurrency: int) -> _Batch:
    bench.model.reset()
    # No node is taken from a run before: this is about the model.
    cost = bench.batch("llm", rows, "--concurrency", str(concurrency), "--cache", "off")
    told = bench.model.stats()
    ok = cost.ok and told["requests"] == rows
    ideal = rows * bench.model.latency / concurrency
    return _Batch(cost.cpu, cost.wall, told["last"] - told["first"], ideal, cost.pss_mb, ok)


def _bare(bench: Bench, rows: int, concurrency: int) -> _Batch:
    """The same calls by a loop that does nothing else; its start-up does not count as CPU."""
    bench.model.reset()
    cost = bench.python(BARE_LOOP, bench.model.url, str(rows), str(concurrency))
    told = bench.model.stats()
    ideal = rows * bench.model.latency / concurrency
    cpu = float(json.loads(cost.out)["cpu"])
    return _Batch(cpu, cost.wall, told["last"] - told["first"], ideal, cost.pss_mb, cost.ok)


def _near_ideal(batch: _Batch, bare: _Batch, rows: int, concurrency: int, bound: float) -> Figure:
    share = batch.ideal / batch.span if batch.span else 0.0
    name = f"LLM batch, {rows:,} rows, {concurrency} at once, first to last call"
    value = f"{share:.1%} of ideal ({batch.span:.2f} s)"
    reference = f"{batch.ideal:.2f} s; bare loop {bare.ideal / bare.span:.1%}"
    return Figure(name, value, reference, f">= {bound:.0%}", share >= bound and batch.ok)


def _command(batch: _Batch) -> Figure:
    share = batch.ideal / batch.wall
    value = f"{share:.1%} of ideal ({batch.wall:.2f} s)"
    return Figure("  the whole command", value, f"{batch.ideal:.2f} s", f">= {COMMAND_SHARE:.0%}",
                  share >= COMMAND_SHARE)  # fmt: skip


def _cpu_per_line(few: _Batch, many: _Batch, bare: _Batch) -> Figure:
    """From 1,000 rows to 10,000, so that start-up does not count."""
    ours, floor = (many.cpu - few.cpu) / (MANY - FEW), bare.cpu / MANY
    above = ours - floor
    return Figure("  CPU per line above a bare aiohttp loop", f"{ms(above)} ({ms(ours)})", ms(floor),
                  f"<= {ms(CPU_ABOVE_BARE)}", few.ok and many.ok and above <= CPU_ABOVE_BARE)  # fmt: skip
