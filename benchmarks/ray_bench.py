"""A Ray cluster of this machine beside one process: what the way there costs, what work of a processor gains."""

from __future__ import annotations

from importlib.util import find_spec

from benchmarks.bench import Bench
from benchmarks.figures import Figure, us
from benchmarks.flows import write_data

ROWS, BUSY_ROWS = 10_000, 600
BUSY = """
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${busy.output}"}
nodes:
- name: busy
  type: python
  source: {type: code, path: busy.py}
  inputs: {question: "${inputs.question}"}
"""
BUSY_PY = """
import time
from promptflow.core import tool

@tool
def busy(question: str) -> str:
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass
    return question
"""


def ray_batch(bench: Bench) -> list[Figure]:
    if find_spec("ray") is None:
        return [Figure("batch on Ray", "not installed: promptflow[ray]")]
    start = bench.batch("py3", 1, "--compute", "ray")
    cluster = bench.batch("py3", ROWS, "--compute", "ray")
    process = bench.batch("py3", ROWS)
    first = bench.batch("py3", 1)
    per_row = (cluster.wall - start.wall) / ROWS * 1e6
    alone = (process.wall - first.wall) / ROWS * 1e6
    return [
        Figure("Ray, start and end of a cluster, whole command", f"{start.wall:.1f} s", ok=start.ok),
        Figure("  three Python nodes, 10,000 rows, per row", us(per_row), f"{us(alone)} in one process", ok=cluster.ok),
        _busy(bench, start.wall),
    ]


def _busy(bench: Bench, start: float) -> Figure:
    folder = bench.flows / "busy"
    folder.mkdir(exist_ok=True)
    (folder / "flow.dag.yaml").write_text(BUSY, encoding="utf-8")
    (folder / "busy.py").write_text(BUSY_PY, encoding="utf-8")
    write_data(bench.flows, BUSY_ROWS)
    process = bench.batch("busy", BUSY_ROWS)
    cluster = bench.batch("busy", BUSY_ROWS, "--compute", "ray")
    seconds = cluster.wall - start
    return Figure(
        f"  20 ms of processor a row, {BUSY_ROWS} rows, without the start",
        f"{process.wall / seconds:.1f}x ({seconds:.1f} s)",
        f"{process.wall:.1f} s in one process",
        ok=cluster.ok and process.ok,
    )
