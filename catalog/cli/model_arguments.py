"""Which model the verbs of `pf model` mean, and the arguments that they share."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from catalog.assets import LATEST, Asset
from catalog.references import Reference, parse_reference
from catalog.registry import Registry
from catalog.share import find_registry
from promptflow.cli.args import KeyValues
from promptflow.cli.errors import UsageError
from promptflow.workspace import Workspace


def add_registry(parser: ArgumentParser) -> None:
    """--registry-name, where `az ml` has it: another workspace than the current one."""
    parser.add_argument(
        "--registry-name", metavar="REGISTRY",
        help="Of another workspace: its folder, or its name in the settings (registries.NAME).",
    )  # fmt: skip


def open_registry(args: Namespace) -> Registry:
    """The registry that the command is about."""
    workspace = Workspace.open()
    return Registry(find_registry(args.registry_name, workspace) if args.registry_name else workspace)


def add_model(parser: ArgumentParser, *, label: bool = True) -> None:
    """-n NAME with -v VERSION or -l ALIAS, as `az ml` has them; NAME:VERSION and NAME@ALIAS will do, too."""
    parser.add_argument(
        "-n",
        "--name",
        required=True,
        metavar="NAME",
        help="Name of the model; NAME:VERSION and NAME@ALIAS will do, too.",
    )
    parser.add_argument("-v", "--version", metavar="VERSION", help="Its version; without one the newest is meant.")
    if label:
        parser.add_argument("-l", "--label", metavar="ALIAS", help="An alias of a version, or `latest`.")


def add_texts(parser: ArgumentParser) -> None:
    """What may be said of a version when it is made and later."""
    parser.add_argument("--description", metavar="TEXT", help="What it is.")
    parser.add_argument("--stage", metavar="STAGE", help="Such as Development, Staging or Production.")
    parser.add_argument("--tags", action=KeyValues, nargs="+", metavar="KEY=VALUE", help="Tags.")
    parser.add_argument("--properties", action=KeyValues, nargs="+", metavar="KEY=VALUE", help="Properties.")
    parser.add_argument("--card", metavar="FILE", help="A Markdown file that describes it, over its own README.md.")
    parser.add_argument(
        "--alias", action="append", default=[], metavar="ALIAS", help="Point an alias to it; repeatable."
    )


def reference(args: Namespace) -> Reference:
    """What was asked for. UsageError if it is said twice."""
    found = parse_reference(args.name)
    version, alias = args.version or "", getattr(args, "label", None) or ""
    if (version and alias) or ((version or alias) and (found.version or found.alias)):
        raise UsageError("a version is named twice", hint="give one of -v, -l, NAME:VERSION and NAME@ALIAS")
    return Reference(found.name, found.version or version, found.alias or alias, found.registry)


def names_all(wanted: Reference) -> bool:
    """Whether only a name was given: for archive and restore that is all of its versions."""
    return not wanted.version and not wanted.alias


def exact(registry: Registry, args: Namespace) -> Asset:
    """The one version that is to be lost: it must be said which, unless there is but one."""
    wanted = reference(args)
    if names_all(wanted):
        versions = registry.assets.versions(wanted.name, archived=None, limit=2)
        if len(versions) > 1:
            raise UsageError(f"model {wanted.name} has several versions", hint="add -v VERSION")
        return versions[0] if versions else registry.get(Reference(wanted.name, alias=LATEST))
    return registry.get(wanted)


def tag_filters(words: Sequence[str]) -> dict[str, str | None]:
    """`team=search`, or `team` alone: whatever its value."""
    return {key: value if equals else None for key, equals, value in (word.partition("=") for word in words)}
