"""`pf model share`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from catalog.cli.model_arguments import add_model, reference
from catalog.registry import Registry, record
from catalog.share import find_registry, share
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.workspace import Workspace


def run(args: Namespace, out: Output) -> None:
    source = Registry(Workspace.open())
    asset = source.get(reference(args))
    with find_registry(args.registry_name, source.workspace) as other:
        target = Registry(other)
        kept = share(asset, source, target, name=args.share_with_name or "", version=args.share_with_version or "")
        out.result(record(kept, target.aliases.of(kept.name)))


def _arguments(parser: ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--registry-name", "--to", required=True, metavar="REGISTRY",
        help="The folder of another workspace, or its name in the settings: registries.NAME.",
    )  # fmt: skip
    parser.add_argument("--share-with-name", metavar="NAME", help="Another name there.")
    parser.add_argument("--share-with-version", metavar="VERSION", help="Another version there.")


SHARE = Command(
    run, "Copy a version to the registry of another workspace, where it has the same digest.", _arguments,
    ("pf model share -n my-model -v 3 --to /srv/team/.promptflow",), "json",
)  # fmt: skip
