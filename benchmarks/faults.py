"""Kills at random moments: of the driver, of worker processes, of Ray's nodes; and what became of the lines."""

from __future__ import annotations

import random

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.kills import WORKER, Killer, Setting, Tally
from benchmarks.model import model

LATENCY = 0.03  # short, so that most of the time something begins or ends
CALM = ("--cache", "off", "--concurrency", "16")
SETTINGS = (
    (70, Setting("driver, lines as tasks", "calls", CALM)),
    (50, Setting("driver, lines on threads", "blocking", CALM)),
    (30, Setting("driver, lines in 2 workers", "calls", (*CALM, "--workers", "2"))),
    (30, Setting("workers, lines as tasks", "calls", (*CALM, "--workers", "2"), WORKER)),
    (20, Setting("workers, lines on threads", "blocking", (*CALM, "--workers", "2"), WORKER)),
)
SEED = 20240601


def faults(bench: Bench) -> list[Figure]:
    """200 kills and more."""
    figures = []
    with model(LATENCY) as quick:
        other = Bench(quick, work=bench.work / "faults")
        for kills, setting in SETTINGS:
            tally = Killer(other, setting, kills, random.Random(SEED)).tally()
            figures.append(_figure(tally))
    return figures


def _figure(tally: Tally) -> Figure:
    for trouble in tally.troubles:
        print(trouble)
    lines = f"{tally.lost} lost, {tally.duplicate} duplicate, {tally.wrong} wrong of {tally.lines:,} lines"
    return Figure(
        f"{tally.kills} kills of {tally.setting.name}, {tally.runs} runs", lines,
        f"{tally.repeated} of {tally.calls:,} calls repeated", f"0; <= {tally.in_flight} in flight", tally.ok,
    )  # fmt: skip
