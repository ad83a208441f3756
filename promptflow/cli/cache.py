"""`pf cache`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from promptflow.cli import exits
from promptflow.cli.args import add_paging, add_yes
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.client.client import PFClient
from promptflow.exceptions import WorkspaceError
from promptflow.workspace.sizes import parse_size, size_text

_PRIORITY = ("key", "node", "run", "line", "used", "size")


def stats(args: Namespace, out: Output) -> None:
    found = PFClient().cache.stats()
    if out.format == "table":
        found |= {name: size_text(found[name]) for name in ("bytes", "max_size")}
    out.result(found)


def list_entries(args: Namespace, out: Output) -> None:
    limit = None if args.all_results else args.max_results
    out.result(PFClient().cache.list(args.node, limit), priority=_PRIORITY, name="key")


def clear(args: Namespace, out: Output) -> int:
    cache = PFClient().cache
    try:
        found = cache.stats()
        what = f"{found['entries']:,} results of nodes ({size_text(found['bytes'])})"
    except WorkspaceError:
        what = "a damaged cache"
    if not out.confirm(f"Remove {what}?", args.yes):
        out.note("not removed")
        return exits.ERROR
    cache.clear()
    out.note(f"removed {what}")
    return exits.OK


def prune(args: Namespace, out: Output) -> int:
    if not out.confirm(f"Shrink the cache to {size_text(args.max_size)}?", args.yes):
        out.note("not removed")
        return exits.ERROR
    removed = PFClient().cache.prune(args.max_size)
    out.note(f"removed {removed:,} results of nodes, those that were not used for longest")
    return exits.OK


def _size(text: str) -> int:
    size = parse_size(text)
    if size is None:
        raise UsageError(f"--max-size {text} is no size", hint="write 500MB or 2GB")
    return size


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--node", metavar="NAME", help="Only results of nodes with this name.")
    add_paging(parser)


def _prune_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--max-size", required=True, type=_size, metavar="SIZE", help="What may stay: 500MB, 2GB.")
    add_yes(parser)


STATS = Command(
    stats, "Show how many results of nodes are kept, and how much space they take.",
    examples=("pf cache stats", "pf cache stats -o json"), format="table",
)  # fmt: skip
LIST = Command(
    list_entries, "List kept results of nodes, those used last first.", _list_arguments,
    ("pf cache list", "pf cache list --node ask --all-results -o tsv"), "table",
)  # fmt: skip
CLEAR = Command(
    clear, "Remove all kept results of nodes. Asks on a terminal, needs -y without one.", add_yes,
    ("pf cache clear -y",),
)  # fmt: skip
PRUNE = Command(
    prune, "Remove the results of nodes that were not used for longest. Asks on a terminal, needs -y without one.",
    _prune_arguments, ("pf cache prune --max-size 500MB -y",),
)  # fmt: skip
