"""`pf catalog pull`: a model from a hub to this machine."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from catalog.cli.arguments import add_endpoint, add_id
from catalog.cli.bytes_progress import bytes_progress
from catalog.consents import LICENCE
from catalog.formats import WEIGHTS, Wanted
from catalog.hub import Hub
from catalog.pull import Plan, Puller
from promptflow.cli import exits
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.cli.style import is_terminal
from promptflow.workspace import Workspace
from promptflow.workspace.sizes import size_text


def pull(args: Namespace, out: Output) -> int:
    puller = Puller(Workspace.open(), Hub(args.endpoint))
    wanted = Wanted(tuple(args.include), tuple(args.exclude), args.weights, args.allow_pickle, args.trust_remote_code)
    plan = puller.plan(args.id, args.revision, wanted)
    _explain(plan, out)
    if args.dry_run:
        out.result(_planned(plan))
        return exits.OK
    accepted = args.accept_licence or LICENCE not in plan.asks
    if not accepted and is_terminal(sys.stdin):
        accepted = out.confirm(plan.asks[LICENCE], False)
    with bytes_progress(out, args.id, plan.size if accepted else 0) as progress:
        model = puller.pull(plan, accept=accepted, progress=progress)
    out.result(
        {"id": model.id, "revision": model.sha, "folder": str(model.folder), "size": model.size,
         "files": [file.name for file in model.files], "fetched": plan.fetch, "licence": plan.model.licence},
        name="id",
    )  # fmt: skip
    out.hint(f"pf model serve {model.id}")
    return exits.OK


def _explain(plan: Plan, out: Output) -> None:
    for note in plan.choice.notes:
        out.note(note)
    left = {why: files for why, files in plan.choice.left_out.items() if why not in ("other", "not asked for")}
    for why, files in left.items():
        out.note(f"left out, {why}: {len(files)} files, {size_text(sum(file.size or 0 for file in files))}")
    if "code" in left:
        out.hint("some models need their code to be loaded: --trust-remote-code, if you trust it")
    if not plan.model.licence:
        out.warn(f"{plan.model.id} names no licence")


def _planned(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.model.id,
        "revision": plan.model.sha,
        "licence": plan.model.licence,
        "asks": dict(plan.asks),
        "size": plan.size,
        "to_fetch": plan.fetch,
        "files": [{"name": file.name, "size": file.size} for file in plan.choice.taken],
        "left_out": {why: [file.name for file in files] for why, files in plan.choice.left_out.items()},
    }


def _arguments(parser: ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument("--revision", metavar="REV", help="A branch, tag or commit (main). What is kept is a commit.")
    parser.add_argument(
        "--include",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="Only weights whose names match, such as '*Q4_K_M*'.",
    )
    parser.add_argument("--exclude", nargs="+", default=[], metavar="PATTERN", help="No files whose names match.")
    parser.add_argument("--weights", choices=WEIGHTS, default="", help="The format, where a model has more than one.")
    parser.add_argument("--accept-licence", "--accept-license", action="store_true", help="You accept its licence.")
    parser.add_argument(
        "--allow-pickle", action="store_true", help="Take pickles, which can run any code when they are loaded."
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="Take the code that comes with the model.")
    parser.add_argument("--dry-run", action="store_true", help="Say what would be done, and do nothing.")
    add_endpoint(parser)


PULL = Command(
    pull, "Pull a model to where transformers, vLLM and hf look for it. After a stop it goes on where it was.",
    _arguments,
    ("pf catalog pull Qwen/Qwen3-0.6B", "pf catalog pull bartowski/some-model-GGUF --include '*Q8_0*'"), "json",
)  # fmt: skip
