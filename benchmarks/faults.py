"""Kills at random moments: of the driver, of worker processes, of Ray's nodes; and what became of the lines."""

from __future__ import annotations

import random
import sys
from importlib.util import find_spec

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.kills import NODE, WORKER, Killer, Setting, Tally
from benchmarks.model import model
from benchmarks.ray_nodes import ray_nodes

LATENCY = 0.03  # short, so that most of the time something begins or ends
CALM = ("--cache", "off", "--concurrency", "16")
SETTINGS = (
    (50, Setting("driver, lines as tasks", "calls", CALM)),
    (30, Setting("driver, lines on threads", "blocking", CALM)),
    (20, Setting("driver, rows that fail, an aggregation", "grading", CALM)),
    (30, Setting("driver, lines in 2 workers", "calls", (*CALM, "--workers", "2"))),
    (30, Setting("workers, lines as tasks", "calls", (*CALM, "--workers", "2"), WORKER)),
    (20, Setting("workers, lines on threads", "blocking", (*CALM, "--workers", "2"), WORKER)),
)
ON_RAY = (*CALM, "--compute", "ray://auto")
RAY_SETTINGS = (
    (10, Setting("driver, lines on Ray", "calls", ON_RAY, rows=400, window=6)),
    (10, Setting("Ray nodes", "calls", ON_RAY, NODE, rows=800, window=6)),
)
SEED = 20240601


def faults(bench: Bench) -> list[Figure]:
    """200 kills in all, 20 of them of and on Ray, where it is installed."""
    tallies = []
    with model(LATENCY) as quick:
        other = Bench(quick, work=bench.work / "faults")
        for kills, setting in SETTINGS:
            tallies.append(_told(Killer(other, setting, kills, random.Random(SEED)).tally()))
        if find_spec("ray") is not None:
            with ray_nodes() as nodes:
                other.env.update(nodes.environment)
                for kills, setting in RAY_SETTINGS:
                    tallies.append(_told(Killer(other, setting, kills, random.Random(SEED), nodes).tally()))
    return [_figure(tally) for tally in tallies]


def _told(tally: Tally) -> Tally:
    print(f"  {tally.kills} kills of {tally.setting.name}", *tally.troubles, sep="\n    ", file=sys.stderr, flush=True)
    return tally


def _figure(tally: Tally) -> Figure:
    lines = f"{tally.lost} lost, {tally.duplicate} duplicate, {tally.wrong} wrong of {tally.lines:,} lines"
    return Figure(
        f"{tally.kills} kills of {tally.setting.name}, {tally.runs} runs", lines,
        f"{tally.repeated} of {tally.calls:,} calls repeated", f"0; <= {tally.in_flight} in flight", tally.ok,
    )  # fmt: skip
