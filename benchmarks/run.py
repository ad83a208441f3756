"""Every figure of the product, each as a ratio against a reference measured in the same run.

    python -m benchmarks.run [--only TEXT] [--repetitions N]

References: the bare interpreter, promptflow 1.18.5 and LangGraph (installed once under .bench/, from the package
index), and the ideal of a model that answers in 200 ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.flows import write_flows
from benchmarks.measure import Cost, clean_environment, median, run

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".bench"
OURS = Path(sys.executable).parent
ROWS, CONCURRENCY, LATENCY = 1000, 64, 0.2
PIN = ["promptflow==1.18.5", "promptflow-tools", "keyrings.alt", "filelock<3.20", "langgraph"]


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, against what, and whether it is within its bound."""

    name: str
    value: str
    reference: str
    bound: str
    ok: bool


class Bench:
    def __init__(self, base_url: str, repetitions: int) -> None:
        self.base_url = base_url
        self.repetitions = repetitions
        self.reference = reference_environment()
        self.flows = WORK / "flows"
        write_flows(self.flows, ROWS, base_url)
        self.env = clean_environment(WORK / "home", OURS)
        self.ms_env = clean_environment(WORK / "home-ms", self.reference)
        for env, where in ((self.env, OURS), (self.ms_env, self.reference)):
            if where != OURS:  # no telemetry, and no trace service that the original would leave running
                for setting in ("telemetry.enabled=false", "trace.destination=none"):
                    run([str(where / "pf"), "config", "set", setting], env)
            run([str(where / "pf"), "connection", "create", "-f", str(self.flows / "connection.yaml")], env)
        self.bare = self.cpu([str(OURS / "python"), "-c", "pass"])

    def cpu(self, argv: list[str], env: dict[str, str] | None = None, repetitions: int | None = None) -> Cost:
        return median(lambda: run(argv, env or self.env, WORK), repetitions or self.repetitions)

    def version(self) -> list[Figure]:
        ours = self.cpu([str(OURS / "pf"), "--version"])
        return [self.against_bare("pf --version, CPU", ours, 1.5)]

    def flow_test(self) -> list[Figure]:
        argv = ["flow", "test", "--flow", str(self.flows / "tiny")]
        ours = self.cpu([str(OURS / "pf"), *argv])
        reference = self.cpu([str(self.reference / "pf"), *argv], self.ms_env, 1)
        return [
            self.against_bare("pf flow test, one Python node, CPU", ours, 15),
            Figure(
                "  the same, against promptflow 1.18.5",
                ms(ours.cpu),
                ms(reference.cpu),
                "less",
                ours.cpu < reference.cpu,
            ),
            Figure("  its memory (PSS)", f"{ours.pss_mb:.0f} MB", "-", "<= 50 MB", ours.pss_mb <= 50),
        ]

    def imports(self) -> list[Figure]:
        figures = []
        for name, code, bound in (
            ("from promptflow.core import tool, CPU", "from promptflow.core import tool", 0.060),
            (
                "imports of the LLM path, CPU",
                "import promptflow.llm.node, promptflow.llm.transport, aiohttp, jinja2.sandbox",
                0.250,
            ),
        ):
            ours = self.cpu([str(OURS / "python"), "-c", code])
            reference = self.cpu(
                [str(self.reference / "python"), "-c", "from promptflow.core import tool"], self.ms_env, 1
            )
            figures.append(Figure(name, ms(ours.cpu), ms(reference.cpu), f"<= {ms(bound)}", ours.cpu <= bound))
        return figures

    def in_process(self) -> list[Figure]:
        script = str(ROOT / "benchmarks/in_process.py")
        ours = self.calls([str(OURS / "python"), script, "flow", str(self.flows / "py3")], self.env)
        reference = self.calls([str(self.reference / "python"), script, "flow", str(self.flows / "py3")], self.ms_env)
        graph = self.calls([str(self.reference / "python"), script, "langgraph"], self.ms_env)
        return [
            Figure("three Python nodes in process, per call", us(ours), "-", "<= 120 µs", ours <= 120),
            Figure(
                "  against promptflow 1.18.5",
                f"{reference / ours:.1f}x",
                us(reference),
                ">= 10x",
                reference >= 10 * ours,
            ),
            Figure("  against LangGraph", f"{graph / ours:.1f}x", us(graph), ">= 5x", graph >= 5 * ours),
        ]

    def calls(self, argv: list[str], env: dict[str, str]) -> float:
        """Microseconds per call, the median of its runs."""
        values = sorted(json.loads(run(argv, env, WORK).out.splitlines()[-1])["us"] for _ in range(self.repetitions))
        return float(values[len(values) // 2])

    def batch(self) -> list[Figure]:
        env = {**self.env, "PF_WORKER_COUNT": str(CONCURRENCY)}
        data = str(self.flows / "data.jsonl")
        argv = [str(OURS / "pf"), "run", "create", "--flow", str(self.flows / "llm"), "--data", data]
        ours = median(lambda: run(argv, env, WORK), min(self.repetitions, 3))
        bare = [str(OURS / "python"), str(ROOT / "benchmarks/bare_loop.py"), self.base_url, str(ROWS), str(CONCURRENCY)]
        floor = min(float(run(bare, env, WORK).out) for _ in range(min(self.repetitions, 3)))
        ideal = ROWS * LATENCY / CONCURRENCY
        share = ideal / ours.wall
        cpu = ours.cpu / ROWS
        return [
            Figure(f"LLM batch, {ROWS} rows, {CONCURRENCY} at once, start-up included", f"{share:.0%} of ideal",
                   f"{ideal:.2f} s", ">= 85 %", share >= 0.85 and "Completed" in ours.out),
            Figure("  a bare aiohttp loop, start-up not counted", f"{ideal / floor:.0%} of ideal", f"{ideal:.2f} s",
                   "-", True),
            Figure("  CPU per row", f"{cpu * 1e3:.2f} ms", "-", "<= 1.5 ms", cpu <= 0.0015),
            Figure("  memory (PSS)", f"{ours.pss_mb:.0f} MB", "-", "<= 150 MB", ours.pss_mb <= 150),
        ]  # fmt: skip

    def against_bare(self, name: str, ours: Cost, bound: float) -> Figure:
        ratio = ours.cpu / self.bare.cpu
        reference = f"bare python {ms(self.bare.cpu)}"
        return Figure(name, f"{ratio:.2f}x ({ms(ours.cpu)})", reference, f"<= {bound}x", ratio <= bound and ours.ok)


def reference_environment() -> Path:
    """The bin folder of an environment with the references; made once."""
    folder = WORK / "reference"
    if not (folder / ".ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", *PIN], check=True)
        (folder / ".ready").touch()
    return folder / "bin"


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def us(value: float) -> str:
    return f"{value:.0f} µs"


def show(figures: list[Figure]) -> None:
    table = Table(title="promptflow benchmarks", title_justify="left")
    for column in ("figure", "measured", "reference", "bound", ""):
        table.add_column(column)
    for figure in figures:
        table.add_row(figure.name, figure.value, figure.reference, figure.bound, "ok" if figure.ok else "MISSED")
    Console(width=130).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run the benchmarks whose name contains this")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.slow_model", "--latency", str(LATENCY)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert server.stdout is not None and server.stdin is not None
    try:
        bench = Bench(f"http://127.0.0.1:{server.stdout.readline().strip()}", arguments.repetitions)
        parts: list[Callable[[], list[Figure]]] = [
            bench.version, bench.flow_test, bench.imports, bench.in_process, bench.batch,
        ]  # fmt: skip
        figures = [figure for part in parts if arguments.only in part.__name__ for figure in part()]
    finally:
        server.stdin.close()
        server.wait(10)
    show(figures)
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
