"""`pf catalog compare`: models side by side."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from catalog.cli.fit import add_wish, look
from catalog.facts import Facts
from catalog.fit import Fit
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.workspace.sizes import size_text


def compare(args: Namespace, out: Output) -> int:
    good, code = look(args, out)
    records = {facts.name: _record(facts, fit) for facts, fit in good}
    if out.format in ("table", "tsv"):
        lines = list(next(iter(records.values())))
        rows = [{"": line} | {name: _shown(line, told[line]) for name, told in records.items()} for line in lines]
        out.result(rows, columns=("", *records), priority=("", *records))
    else:
        out.result([{"model": name} | told for name, told in records.items()], name="model")
    return code


def _record(facts: Facts, fit: Fit) -> dict[str, Any]:
    """The same lines for each model."""
    best = fit.best
    return {
        "family": fit.family,
        "layers": fit.layers,
        "parameters": fit.parameters,
        "weights": fit.weights.stored,
        "context": fit.context,
        "cache_per_token": fit.cache_per_token,
        "fits": fit.fits,
        "engine": best.engine,
        "device": best.device,
        "dtype": best.dtype,
        "needed": best.needed if best.fits is not None else None,
        "max_context": best.max_context,
        "max_concurrency": best.max_concurrency,
        "why": best.why,
    }


def _shown(line: str, value: Any) -> str:
    if value is None:
        return "unknown"
    if line == "fits":
        return "yes" if value else "no"
    if line in ("weights", "cache_per_token", "needed"):
        return size_text(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="Two models or more: ids, folders, GGUF files.")
    add_wish(parser)


COMPARE = Command(
    compare, "Put models side by side: size, layers, cache, and what would run here.", _arguments,
    ("pf catalog compare Qwen/Qwen3-8B meta-llama/Llama-3.1-8B --gpu-memory 24GB",), "table",
)  # fmt: skip
