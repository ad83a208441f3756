"""`pf catalog fit`: will models run here."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from catalog.cli.registered import builtin_folder, registered
from catalog.facts import Facts, facts_of, facts_of_folder
from catalog.fit import DTYPES, Fit, predict
from catalog.hub import Hub
from catalog.machine import Machine
from catalog.measured import highest, measured
from catalog.plans import Plan, Wish
from promptflow.cli import exits
from promptflow.cli.args import positive
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.sizes import parse_size, size_text

AT_ONCE = 4
_COLUMNS = (
    "model", "fits", "engine", "device", "dtype", "needs", "has", "weights", "cache", "context", "concurrency",
    "max_context", "max_concurrency", "why",
)  # fmt: skip
_PRIORITY = ("model", "fits", "engine", "needs", "has", "why", "dtype", "device", "max_context", "max_concurrency")


def fit(args: Namespace, out: Output) -> int:
    good, code = look(args, out)
    if args.measure:
        for facts, found in good:
            _measure(facts, found, out)
    if out.format in ("table", "tsv"):
        rows = [row for facts, fit in good for row in _rows(facts, fit, args.all)]
        out.result(rows, columns=_COLUMNS, priority=_PRIORITY, name="model")
    else:
        workspace = Workspace.open()
        out.result([record(facts, fit, workspace) for facts, fit in good], name="model")
    return code


def look(args: Namespace, out: Output) -> tuple[list[tuple[Facts, Fit]], int]:
    """The models that can be told of, and the exit code. The others are noted; the error is raised if it is all."""
    machine, wish = _machine(args), _wish(args)
    hub = Hub(args.endpoint)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda name: _looked(name, args.revision, hub, machine, wish), args.models))
    good = [one for one in found if not isinstance(one, UserErrorException)]
    errors = [one for one in found if isinstance(one, UserErrorException)]
    if errors and not good:
        raise errors[0]
    for error in errors:
        out.note(f"error: {error}", "red")
    return good, exits.ERROR if errors else exits.OK


def _measure(facts: Facts, fit: Fit, out: Output) -> None:
    """Load the model in a process of its own, which keeps what it took."""
    if facts.folder is None:
        raise ValidationException(f"{facts.name} is not on this machine.", hint=f"pf catalog pull {facts.name}")
    if fit.fits is False:
        raise ValidationException(f"{facts.name} does not fit this machine.", hint="pf catalog fit --all says why")
    out.note(f"loading {facts.name}")
    words = [sys.executable, "-m", "serve.engines.measure", facts.measured_as, str(facts.folder)]
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise UserErrorException(f"{facts.name} could not be loaded: {last[0]}")


def _looked(
    name: str, revision: str | None, hub: Hub, machine: Machine, wish: Wish
) -> tuple[Facts, Fit] | UserErrorException:
    try:
        facts = registered_facts(name) or facts_of(name, revision, hub=hub)
        return facts, predict(facts.config, facts.weights, machine, wish, onnx=facts.onnx, onnx_first=facts.onnx_first)
    except UserErrorException as error:
        return error


def registered_facts(name: str) -> Facts | None:
    """Of a model that is built in or in the registry, if ``name`` is the name of one and not a path."""
    if (folder := builtin_folder(name)) is not None:
        return replace(facts_of_folder(folder), name=name)
    if (found := registered(name)) is None:
        return None
    asset, folder = found
    return replace(facts_of_folder(folder), name=f"{asset.name}:{asset.version}")


def record(facts: Facts, fit: Fit, workspace: Workspace) -> dict[str, Any]:
    """Everything, in bytes, with the loads that were measured here."""
    return {
        "model": facts.name,
        "revision": facts.revision,
        "fits": fit.fits,
        "family": fit.family,
        "layers": fit.layers,
        "parameters": fit.parameters,
        "weights": fit.weights.stored,
        "weights_exact": fit.weights.exact,
        "context": fit.context,
        "cache_per_token": fit.cache_per_token,
        "bytes_read": facts.read,
        "pulled": facts.folder is not None,
        "best": _plan(fit.best),
        "plans": [_plan(plan) for plan in fit.plans],
        "measured": [asdict(load) for load in measured(workspace, facts.measured_as)],
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return asdict(plan) | {"needed": plan.needed}


def _rows(facts: Facts, fit: Fit, every: bool) -> list[dict[str, Any]]:
    """One row for the best way, or all; then what was measured."""
    rows = [_row(facts, plan) for plan in (fit.plans if every else (fit.best,))]
    for load in highest(measured(Workspace.open(), facts.measured_as)):
        taken = {"needs": size_text(load.peak or load.weights + load.cache), "weights": size_text(load.weights)}
        rows.append({"model": facts.name, "fits": "measured", "engine": load.engine, "device": load.device,
                     "dtype": load.dtype, "cache": size_text(load.cache), "context": load.context} | taken)  # fmt: skip
    return rows


def _row(facts: Facts, plan: Plan) -> dict[str, Any]:
    said = {True: "yes", False: "no", None: "unknown"}[plan.fits]
    known = plan.fits is not None
    return {
        "model": facts.name,
        "fits": f"{said}, as a copy in {plan.dtype}" if plan.copy else said,
        "engine": plan.engine,
        "device": f"{plan.gpus} {plan.device}" if plan.gpus > 1 else plan.device,
        "dtype": plan.dtype,
        "needs": size_text(plan.needed) if known else "",
        "has": size_text(plan.available * max(1, plan.gpus)) if known and plan.gpus < 2 else _each(plan),
        "weights": size_text(plan.weights) if known else "",
        "cache": size_text(plan.cache) if known else "",
        "context": plan.context or "",
        "concurrency": plan.concurrency or "",
        "max_context": plan.max_context,
        "max_concurrency": plan.max_concurrency,
        "why": plan.why,
    }


def _each(plan: Plan) -> str:
    return f"{size_text(plan.available)} each" if plan.available else ""


def _machine(args: Namespace) -> Machine:
    machine = Machine.here()
    return machine.with_gpu(args.gpu_memory, args.gpus or 1) if args.gpu_memory else machine


def _wish(args: Namespace) -> Wish:
    return Wish(args.context or 0, args.concurrency, args.dtype, args.adapters, args.adapter_rank)


def size(text: str) -> int:
    value = parse_size(text)
    if not value:
        raise ArgumentTypeError(f"expected a size such as 24GB, found {text}")
    return value


def add_wish(parser: ArgumentParser) -> None:
    """What is wanted of a model, and on what machine."""
    parser.add_argument("--context", type=positive, metavar="N", help="Tokens of prompt and answer (up to 8192).")
    parser.add_argument("--concurrency", type=positive, default=1, metavar="N", help="Answers at the same time (1).")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="auto",
        help="The type to calculate in, or of a quantised copy (auto: as stored).",
    )  # fmt: skip
    parser.add_argument("--adapters", type=positive, default=0, metavar="N", help="LoRA adapters at the same time (0).")
    parser.add_argument("--adapter-rank", type=positive, default=16, metavar="N", help="Their largest rank (16).")
    parser.add_argument("--gpu-memory", type=size, metavar="SIZE", help="As if there were a GPU of 24GB, say.")
    parser.add_argument("--gpus", type=positive, metavar="N", help="With --gpu-memory: as if there were several.")
    parser.add_argument("--revision", metavar="REVISION", help="A branch, tag or commit.")
    parser.add_argument("--endpoint", metavar="URL", help="The hub to ask (HF_ENDPOINT, else huggingface.co).")


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="Id on the hub, registered name, folder, or GGUF file."
    )
    add_wish(parser)
    parser.add_argument("--all", action="store_true", help="All ways to run it, not the best alone.")
    parser.add_argument("--measure", action="store_true", help="Load models that are here, and show what they took.")


FIT = Command(
    fit, "Tell whether models would run on this machine, with what engine, context and concurrency.",
    _arguments,
    ("pf catalog fit Qwen/Qwen3-8B", "pf catalog fit Qwen/Qwen3-8B --gpu-memory 24GB --context 32768 --all"), "table",
)  # fmt: skip
