"""`pf catalog prune`: files that nothing needs, off the disk."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from catalog.prune import Pruning
from promptflow.cli import exits
from promptflow.cli.args import add_yes
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.workspace import Workspace
from promptflow.workspace.sizes import size_text

HOURS = 24.0
_COLUMNS = ("what", "size", "place")


def prune(args: Namespace, out: Output) -> int:
    pruning = Pruning(Workspace.open(), hours=args.hours)
    found = pruning.find()
    flat = out.format in ("table", "tsv")
    rows = [{"what": o.what, "size": size_text(o.size) if flat else o.size, "place": str(o.place)} for o in found]
    out.result(rows, columns=_COLUMNS if flat else (), priority=_COLUMNS, name="place")
    if not found:
        return exits.OK
    if not out.confirm(f"Delete {len(found)} of them ({size_text(sum(one.size for one in found))})?", args.yes):
        out.note("not deleted")
        return exits.ERROR
    out.note(f"{size_text(pruning.remove())} are free")
    return exits.OK


def _hours(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise ArgumentTypeError(f"expected hours, found {text}")
    return value


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--hours", type=_hours, default=HOURS, metavar="N",
        help=f"Leave what was written to in the last so many hours ({HOURS:g}).",
    )  # fmt: skip
    add_yes(parser)


PRUNE = Command(
    prune,
    "Delete what killed pulls, removals and registrations left: files of the cache that no revision links to, and "
    "blobs of the workspace that no version is made of. Lists them; asks on a terminal, needs -y without one.",
    _arguments,
    ("pf catalog prune", "pf catalog prune --hours 1 -y"),
    "table",
)
