"""`pf run search`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import Any

from catalog.runs import FoundRun, RunSearch
from promptflow.cli.args import add_paging
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.workspace import Workspace

_COLUMNS = ("name", "status", "created")
_OURS = ("__pf__.", "duration", "prompt_tokens", "completion_tokens", "total_tokens")


def run(args: Namespace, out: Output) -> None:
    found = RunSearch(Workspace.open()).find(
        " and ".join(args.filter),
        order=args.order_by,
        limit=2**31 if args.all_results else args.max_results,
        archived=True if args.archived_only else None if args.include_archived else False,
    )
    if out.format not in ("table", "tsv"):
        out.result([asdict(one) for one in found])
        return
    rows = [_row(one) for one in found]
    metrics = sorted({key for row in rows for key in row} - set(_COLUMNS))
    out.result(rows, columns=(*_COLUMNS, *metrics), priority=("name", *metrics))


def _row(found: FoundRun) -> dict[str, Any]:
    """Name, status, time, and what the flow measured; -o json has what we measured, too."""
    metrics = {key: value for key, value in found.metrics.items() if not key.startswith(_OURS)}
    return {"name": found.name, "status": found.status, "created": found.created[:19].replace("T", " "), **metrics}


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "filter", nargs="*", metavar="CONDITION",
        help="Such as \"metrics.f1 > 0.8 and tags.team = 'search'\"; all that are given must hold.",
    )  # fmt: skip
    parser.add_argument(
        "--order-by", default="-created", metavar="KEY",
        help="metrics.NAME, tags.NAME or a field such as created; - before it: the highest first (-created).",
    )  # fmt: skip
    add_paging(parser, default=100)
    parser.add_argument("--archived-only", action="store_true", help="Only archived runs.")
    parser.add_argument("--include-archived", action="store_true", help="Archived runs as well.")


SEARCH = Command(
    run, "Find runs by their metrics, tags and fields.", _arguments,
    (
        "pf run search 'metrics.accuracy > 0.8' --order-by=-metrics.accuracy -r 10",
        "pf run search \"tags.team = 'search' and status = 'Failed'\" -o json",
    ),
    "table",
)  # fmt: skip
