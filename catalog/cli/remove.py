"""`pf catalog remove`: a pulled model off the disk."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from catalog.cli.arguments import add_id
from catalog.local import LocalModels, NotPulledError
from catalog.uses import Uses, told
from promptflow.cli import exits
from promptflow.cli.args import add_yes
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from promptflow.workspace.sizes import size_text


def remove(args: Namespace, out: Output) -> int:
    models = LocalModels()
    found = [models.get(args.id, args.revision)] if args.revision else models.revisions(args.id)
    if not models.repo(args.id).is_dir():
        raise NotPulledError(f"{args.id} is not on this machine.", hint="pf catalog list")
    users = Uses(Workspace.open()).of(f"hub:{args.id}")
    if users:
        raise UserErrorException(f"{args.id} is used by {', '.join(map(told, users))}.", hint="stop them first")
    what = args.id + (f" at {found[0].sha[:12]}" if args.revision else "")
    if not out.confirm(f"Remove {what} ({size_text(sum(model.size for model in found))})?", args.yes):
        out.note("not removed")
        return exits.ERROR
    freed = models.remove(args.id, args.revision)
    out.note(f"removed {what}: {size_text(freed)} are free")
    return exits.OK


def _arguments(parser: ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument("--revision", metavar="REV", help="Only this branch, tag or commit, and what no other has.")
    add_yes(parser)


REMOVE = Command(
    remove, "Remove a pulled model. Asks on a terminal, needs -y without one.", _arguments,
    ("pf catalog remove Qwen/Qwen3-0.6B -y",),
)  # fmt: skip
