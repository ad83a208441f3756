"""Every figure of the product, each as a ratio against a reference measured in the same run.

    python -m benchmarks.run [--only TEXT...] [--repetitions N] [--long]

References: the bare interpreter, promptflow 1.18.5 and LangGraph (installed once under .bench/, from the package
index), a bare aiohttp loop, and the ideal of a model that answers in 200 ms.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from benchmarks.batch_bench import batch_jobs
from benchmarks.bench import WORK, Bench
from benchmarks.cached import cached
from benchmarks.engine_figures import engine
from benchmarks.faults import faults
from benchmarks.figures import Figure, show
from benchmarks.fit_bench import catalog_fit
from benchmarks.gateway_bench import gateway
from benchmarks.gateway_flips import flips
from benchmarks.in_process import in_process
from benchmarks.llm_batch import llm_batch
from benchmarks.million import million
from benchmarks.model import model
from benchmarks.openai_bench import openai
from benchmarks.pull_bench import pull
from benchmarks.python_batch import evaluation, python_batch
from benchmarks.ray_bench import ray_batch
from benchmarks.registry_bench import registry
from benchmarks.scoring_bench import scoring
from benchmarks.startup import flow_test, imports, version
from benchmarks.unused import unused
from benchmarks.zero_bench import zero

LATENCY = 0.2
PARTS: tuple[Callable[[Bench], list[Figure]], ...] = (
    version,
    flow_test,
    imports,
    in_process,
    python_batch,
    evaluation,
    llm_batch,
    cached,
    million,
    unused,
    ray_batch,
    faults,
    registry,
    catalog_fit,
    engine,
    openai,
    scoring,
    zero,
    pull,
    gateway,
    flips,
    batch_jobs,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="run those whose name contains "
                        "one of these: " + ", ".join(part.__name__ for part in PARTS))  # fmt: skip
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--long", action="store_true", help="also measure what takes the reference minutes")
    arguments = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    figures = []
    with model(LATENCY) as slow:
        bench = Bench(slow, arguments.repetitions, long=arguments.long)
        for part in PARTS:
            if any(text in part.__name__ for text in arguments.only):
                print(f"{part.__name__} ...", file=sys.stderr, flush=True)
                figures += part(bench)
    show(figures)
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
