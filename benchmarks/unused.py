"""What is not used costs nothing: no module of Ray, cache, tapes or workers is loaded, and no line takes longer."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Figure, us
from benchmarks.model import ROOT

ROWS, PAIRS, BOUND = 5000, 7, 1.03
SCRIPT = str(ROOT / "benchmarks/loaded.py")
# Modules, with all that is below them, that only those runs load that ask for what they do.
UNUSED = (
    "ray",
    "promptflow.batch.processes",
    "promptflow.batch.ray_transport",
    "promptflow.executor.worker",
    "promptflow.llm.throttle",
    "promptflow.storage.cache",
    "promptflow.tape",
    "alembic",
    "fsspec",
    "multiprocessing",
    "openai",
    "pandas",
    "pyarrow",
    "sqlalchemy",
)
LIGHT = ("promptflow.tape", "promptflow.tape.current")  # a context variable: whether there is a tape


def unused(bench: Bench) -> list[Figure]:
    return [_modules(bench, "py3"), _modules(bench, "llm"), _cpu(bench)]


def _modules(bench: Bench, flow: str) -> Figure:
    loaded = bench.python(SCRIPT, *bench.create(flow, 200), "--cache", "off").out.rpartition("modules: ")[2].split()
    there = [name for name in loaded if name not in LIGHT and any(f"{name}.".startswith(f"{one}.") for one in UNUSED)]
    value = ", ".join(there) or f"none of {len(UNUSED)}"
    return Figure(f"modules for what is not used, flow {flow}", value, bound="none", ok=bool(loaded) and not there)


def _cpu(bench: Bench) -> Figure:
    default, off = [], []
    for _ in range(PAIRS):  # in turns, so that other load meets both
        default.append(bench.batch("py3", ROWS))
        off.append(bench.batch("py3", ROWS, "--cache", "off"))
    cpu = [min(cost.cpu for cost in costs) / ROWS * 1e6 for costs in (default, off)]  # the rest is other load
    ratio = cpu[0] / cpu[1]
    ok = all(cost.ok for cost in default + off) and ratio <= BOUND
    name = "CPU per line with the cache on but for no node, against --cache off"
    return Figure(name, f"{ratio:.2f}x ({us(cpu[0])})", us(cpu[1]), f"<= {BOUND}x", ok)
