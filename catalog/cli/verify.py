"""`pf catalog verify`: are pulled models what their hashes say."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from catalog.cli.arguments import add_endpoint
from catalog.cli.bytes_progress import bytes_progress
from catalog.formats import Wanted
from catalog.hub import Hub
from catalog.local import LocalModel, LocalModels
from catalog.pull import Puller
from catalog.verify import Checked
from catalog.verify import verify as checked
from promptflow.cli import exits
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.workspace import Workspace

_COLUMNS = ("id", "revision", "file", "state", "size")
_BAD = ("damaged", "missing")


def verify(args: Namespace, out: Output) -> int:
    if bool(args.id) == args.all:
        raise UsageError("Name a model, or say --all.")
    models = LocalModels()
    chosen = models.list() if args.all else [models.get(args.id, args.revision)]
    with bytes_progress(out, "verify", sum(model.size for model in chosen)) as progress:
        found = {model: checked(model, progress) for model in chosen}
    rows = [
        {"id": model.id, "revision": model.sha, "file": file.name, "state": file.state, "size": file.size}
        for model, files in found.items()
        for file in files
        if file.state in _BAD or not args.bad
    ]
    out.result(rows, columns=_COLUMNS if out.format in ("table", "tsv") else (), name="file")
    bad = {model: files for model in found if (files := [file for file in found[model] if file.state in _BAD])}
    if not bad:
        return exits.OK
    if not args.repair:
        out.hint("--repair fetches them again")
        return exits.INTEGRITY
    puller = Puller(Workspace.open(), Hub(args.endpoint), models)
    for model, files in bad.items():
        _repair(puller, model, files)
        out.note(f"fetched again: {', '.join(file.name for file in files)} of {model.id}")
    return exits.OK


def _repair(puller: Puller, model: LocalModel, files: Sequence[Checked]) -> None:
    plan = puller.plan(model.id, model.sha, Wanted(include=tuple(file.name for file in files)))
    for file in files:  # only now: the hub has it, and may be asked for it
        # A link that leads nowhere goes itself: what it may lead to is none of ours.
        (file.path.resolve() if file.state == "damaged" else file.path).unlink(missing_ok=True)
    puller.pull(plan)


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", metavar="ID", help="ORGANISATION/NAME of a pulled model.")
    parser.add_argument("--all", action="store_true", help="All models on this machine.")
    parser.add_argument("--revision", metavar="REV", help="A branch, tag or commit (main).")
    parser.add_argument("--bad", action="store_true", help="Show only files that are damaged or missing.")
    parser.add_argument("--repair", action="store_true", help="Fetch those again.")
    add_endpoint(parser)


VERIFY = Command(
    verify, "Hash the files of pulled models: exit code 5 if one is not what was pulled.", _arguments,
    ("pf catalog verify Qwen/Qwen3-0.6B", "pf catalog verify --all --bad"), "table",
)  # fmt: skip
