"""Start-up: CPU of commands and imports that do next to nothing."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Figure, ms

IMPORT_TOOL = "from promptflow.core import tool"
IMPORT_LLM = "import promptflow.llm.node, promptflow.llm.transport, aiohttp, jinja2.sandbox"


def version(bench: Bench) -> list[Figure]:
    return [bench.against_bare("pf --version, CPU", bench.median("pf", "--version"), 1.5)]


def flow_test(bench: Bench) -> list[Figure]:
    argv = ["pf", "flow", "test", "--flow", str(bench.flows / "tiny")]
    ours, reference = bench.median(*argv), bench.reference(*argv)
    return [
        bench.against_bare("pf flow test, one Python node, CPU", ours, 15),
        Figure("  against promptflow 1.18.5", ms(ours.cpu), ms(reference.cpu), "less", ours.cpu < reference.cpu),
        Figure("  memory (PSS)", f"{ours.pss_mb:.0f} MB", "-", "<= 50 MB", ours.pss_mb <= 50),
    ]


def imports(bench: Bench) -> list[Figure]:
    reference = ms(bench.reference("python", "-c", IMPORT_TOOL).cpu)
    tool, llm = bench.median("python", "-c", IMPORT_TOOL), bench.median("python", "-c", IMPORT_LLM)
    return [
        Figure(f"{IMPORT_TOOL}, CPU", ms(tool.cpu), reference, "<= 60 ms", tool.cpu <= 0.060),
        Figure("imports of the LLM path, CPU", ms(llm.cpu), reference, "<= 250 ms", llm.cpu <= 0.250),
    ]
