"""Batches of pure Python: three nodes per line, and an evaluation with an aggregation, against promptflow 1.18.5."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Figure, us
from benchmarks.flows import write_data
from benchmarks.measure import Cost, median

FEW, MANY = 1000, 10_000
# promptflow 1.18.5 grows with the square of the rows: 11.9 s and 142 s on the machine of the first measurements.
GROWTH_OF_REFERENCE = 142 / 11.9
MAPPING = ["question=${data.question}", "answer=${run.outputs.answer}"]


def python_batch(bench: Bench) -> list[Figure]:
    one = median(lambda: bench.batch("py3", 1), bench.repetitions)
    few = median(lambda: bench.batch("py3", FEW), bench.repetitions)
    many = median(lambda: bench.batch("py3", MANY), min(bench.repetitions, 3))
    reference = _reference(bench, FEW)
    slow = _reference(bench, MANY) if bench.long else reference * GROWTH_OF_REFERENCE
    ok = one.ok and few.ok and many.ok
    per_line = [(few.cpu - one.cpu) / (FEW - 1) * 1e6, (many.cpu - one.cpu) / (MANY - 1) * 1e6]
    return [
        _times("three Python nodes, 1,000 rows, whole command", few, reference, 15),
        _times("three Python nodes, 10,000 rows, whole command", many, slow, 40, "" if bench.long else "~"),
        Figure("  CPU per line, 1,000 rows", us(per_line[0]), "-", "<= 300 µs", ok and per_line[0] <= 300),
        Figure("  CPU per line, 10,000 rows", us(per_line[1]), us(per_line[0]), "<= 1.1x",
               ok and per_line[1] <= min(300, 1.1 * per_line[0])),
    ]  # fmt: skip


def evaluation(bench: Bench) -> list[Figure]:
    """An evaluation of the outputs of a run of 1,000 rows; that run is not counted."""
    words = [*bench.create("eval", FEW), "--run", "evaluated", "--column-mapping", *MAPPING]
    bench.batch("py3", FEW, "--name", "evaluated")
    ours = median(lambda: bench.completed(bench.pf(*words)), bench.repetitions)
    bench.reference("pf", "run", "delete", "--name", "evaluated", "-y")
    bench.reference("pf", *bench.create("py3", FEW), "--name", "evaluated")
    reference = bench.completed(bench.reference("pf", *words)).wall
    return [_times("evaluation with aggregation, 1,000 rows, whole command", ours, reference, 12)]


def _reference(bench: Bench, rows: int) -> float:
    """Seconds of promptflow 1.18.5 for the same command."""
    write_data(bench.flows, rows)
    return bench.completed(bench.reference("pf", *bench.create("py3", rows), timeout=600)).wall


def _times(name: str, ours: Cost, reference: float, bound: float, about: str = "") -> Figure:
    times = reference / ours.wall
    value = f"{times:.1f}x ({ours.wall:.2f} s)"
    return Figure(name, value, f"{about}{reference:.1f} s", f">= {bound}x", times >= bound and ours.ok)
