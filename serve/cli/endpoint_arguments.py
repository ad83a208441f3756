"""Arguments that the verbs of `pf endpoint` and `pf deployment` share, and how they print."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from promptflow.cli.args import KeyValues, add_yes
from promptflow.cli.output import Output
from promptflow.workspace import Workspace
from serve.endpoints.store import EndpointStore

WAIT_SECONDS = 1200.0  # for instances to be ready: a new environment may have much to install


def open_store() -> EndpointStore:
    return EndpointStore(Workspace.open())


def add_endpoint(parser: ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("-n", "--name", required=required, metavar="NAME", help="Name of the endpoint.")
    add_cloud(parser)


def add_deployment(parser: ArgumentParser, *, required: bool = True, of: str = "endpoint") -> None:
    parser.add_argument("-n", "--name", required=required, metavar="NAME", help="Name of the deployment.")
    parser.add_argument(
        "-e", "--endpoint-name", "--endpoint", required=required, metavar="ENDPOINT", help=f"Name of its {of}."
    )
    add_cloud(parser)


def add_endpoint_to_delete(parser: ArgumentParser) -> None:
    add_endpoint(parser)
    add_yes(parser)
    add_at_once(parser)


def add_deployments_to_list(parser: ArgumentParser) -> None:
    parser.add_argument("-e", "--endpoint-name", "--endpoint", metavar="ENDPOINT", help="Of this endpoint only.")
    add_cloud(parser)


def add_labels(parser: ArgumentParser) -> None:
    parser.add_argument("--description", metavar="TEXT", help="What it is.")
    parser.add_argument("--tags", action=KeyValues, nargs="+", metavar="KEY=VALUE", help="Tags.")
    parser.add_argument("--properties", action=KeyValues, nargs="+", metavar="KEY=VALUE", help="Properties.")


def add_allow_pickle(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--allow-pickle", action="store_true", help="Load pickles: whoever made them can run code here."
    )


def add_at_once(parser: ArgumentParser) -> None:
    """For scripts that say not to wait where there is nothing to wait for."""
    parser.add_argument("--no-wait", action="store_true", help="Without effect: it is done at once.")


def add_cloud(parser: ArgumentParser) -> None:
    """What scripts for the cloud say, and what means nothing here: all is local."""
    parser.add_argument("--local", action="store_true", help="Without effect: all is local.")
    for words in (("-g", "--resource-group"), ("-w", "--workspace-name"), ("--subscription",)):
        parser.add_argument(*words, help=SUPPRESS)


def add_file(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("-f", "--file", metavar="FILE", help=f"The YAML of {what}, as `az ml` takes it.")
    parser.add_argument(
        "--set", dest="overrides", action=KeyValues, nargs="+", default={}, metavar="PATH=VALUE",
        help="Set keys of the file: tags.team=search instance_count=2 ...",
    )  # fmt: skip


def add_wait(parser: ArgumentParser) -> None:
    parser.add_argument("--no-wait", action="store_true", help="Do not wait until it is done.")
    parser.add_argument(
        "--timeout", type=float, default=WAIT_SECONDS, metavar="SECONDS", help=f"Wait so long ({WAIT_SECONDS:g})."
    )


def is_sure(what: str, deployments: Sequence[str], args: Namespace, out: Output) -> bool:
    """Whether ``what``, with its deployments, is to be deleted."""
    holding = f" with its deployments {', '.join(deployments)}" if deployments else ""
    if out.confirm(f"Delete {what}{holding}?", args.yes):
        return True
    out.note("not deleted")
    return False


def tell_all(
    out: Output,
    rows: Sequence[Mapping[str, Any]],
    flat: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    columns: Sequence[str],
    priority: Sequence[str],
) -> None:
    """A list of records; in a table, ``flat`` says what its cells hold."""
    if out.query or out.format not in ("table", "tsv"):
        out.result(rows)
        return
    out.result([{**row, **flat(row)} for row in rows], columns=columns, priority=priority)
