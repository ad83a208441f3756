"""`pf model`: looking at registered models, hiding and losing them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalog.assets import Asset
from catalog.cli.model_arguments import (
    add_model,
    add_registry,
    exact,
    names_all,
    open_registry,
    reference,
    tag_filters,
)
from catalog.registry import Registry, record
from catalog.schemas import check_stage, check_type
from catalog.uses import told
from promptflow.cli import exits
from promptflow.cli.args import add_paging, add_yes
from promptflow.cli.command import Command
from promptflow.cli.output import Output

_COLUMNS = ("name", "version", "type", "stage", "aliases", "size", "created_at", "description", "tags")
_PRIORITY = ("name", "version", "stage", "type", "size", "created_at")


def list_models(args: Namespace, out: Output) -> None:
    registry = open_registry(args)
    limit = None if args.all_results else args.max_results
    found = registry.list(
        args.name,
        stage=check_stage(args.stage) if args.stage else None,
        type=check_type(args.type) if args.type else None,
        tags=tag_filters(args.tag),
        archived=True if args.archived_only else None if args.include_archived else False,
        limit=limit,
    )
    out.result(_rows(registry, found, out), columns=_COLUMNS if _flat(out) else (), priority=_PRIORITY)
    if limit is not None and len(found) == limit:
        out.hint(f"the first {limit}; --all-results shows all")


def show(args: Namespace, out: Output) -> None:
    registry = open_registry(args)
    asset = registry.get(reference(args))
    if args.card:
        out.text(registry.card(asset).rstrip("\n"))
        return
    full = record(asset, registry.aliases.of(asset.name))
    full["lineage"] = [{"relation": e.relation, "source": e.source} for e in registry.lineage.sources(asset.id)]
    full["used_by"] = [told(user) for user in registry.uses.of(asset.id)]
    if args.files:
        full["files"] = [
            {"path": f.path, "size": f.size, "digest": f"sha256:{f.digest}"} for f in registry.files(asset)
        ]
    if args.lineage:
        full["lineage"] = [vars(edge) for edge in registry.lineage.above(asset.id)]
        full["made_of_it"] = [vars(edge) for edge in registry.lineage.below(asset.id)]
    out.result(full)


def download(args: Namespace, out: Output) -> None:
    registry = open_registry(args)
    asset = registry.get(reference(args))
    path = registry.download(asset, Path(args.download_path))
    out.result({"name": asset.name, "version": asset.version, "path": str(path), "digest": f"sha256:{asset.digest}"})


def archive(args: Namespace, out: Output) -> None:
    _set_archived(args, out, True)


def restore(args: Namespace, out: Output) -> None:
    _set_archived(args, out, False)


def delete(args: Namespace, out: Output) -> int:
    registry = open_registry(args)
    asset = exact(registry, args)
    aliases = [alias for alias, version in registry.aliases.of(asset.name).items() if version == asset.version]
    called = f" (alias {', '.join(aliases)})" if aliases else ""
    if not out.confirm(f"Delete model {asset.name}:{asset.version}{called} for good?", args.yes):
        out.note("not deleted")
        return exits.ERROR
    registry.delete(asset)
    out.note(f"deleted model {asset.name}:{asset.version}")
    return exits.OK


def _set_archived(args: Namespace, out: Output, archived: bool) -> None:
    registry = open_registry(args)
    wanted = reference(args)
    if names_all(wanted):
        registry.assets.archive_name(wanted.name, archived)
        out.note(f"{'archived' if archived else 'restored'} model {wanted.name}")
        return
    asset = registry.archive(registry.get(wanted), archived)
    out.result(record(asset, registry.aliases.of(asset.name)))


def _rows(registry: Registry, found: Sequence[Asset], out: Output) -> list[dict[str, Any]]:
    aliases = {name: registry.aliases.of(name) for name in {asset.name for asset in found}}
    rows = [record(asset, aliases[asset.name]) for asset in found]
    if _flat(out):
        for row in rows:
            row["created_at"] = row["creation_context"]["created_at"][:19].replace("T", " ")
            row["aliases"] = ", ".join(row["aliases"])
            row["tags"] = ", ".join(f"{key}={value}" for key, value in row["tags"].items())
    return rows


def _flat(out: Output) -> bool:
    return out.format in ("table", "tsv")


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-n", "--name", metavar="NAME", help="All versions of this model, newest first.")
    parser.add_argument("--stage", metavar="STAGE", help="Only those in this stage.")
    parser.add_argument("--type", metavar="TYPE", help="Only custom_model, mlflow_model or triton_model.")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="KEY[=VALUE]", help="Only those with this tag; repeatable."
    )
    add_paging(parser)
    parser.add_argument("--archived-only", action="store_true", help="Only archived ones.")
    parser.add_argument("--include-archived", action="store_true", help="Archived ones as well.")
    add_registry(parser)


def _named(parser: ArgumentParser) -> None:
    add_model(parser)
    add_registry(parser)


def _show_arguments(parser: ArgumentParser) -> None:
    add_model(parser)
    add_registry(parser)
    parser.add_argument("--files", action="store_true", help="Show its files, too.")
    parser.add_argument(
        "--lineage", action="store_true", help="Show all that it goes back to, and what was made of it."
    )
    parser.add_argument("--card", action="store_true", help="Print its card instead.")


def _download_arguments(parser: ArgumentParser) -> None:
    add_model(parser)
    add_registry(parser)
    parser.add_argument("-p", "--download-path", default=".", metavar="FOLDER", help="Where to (here): FOLDER/NAME/...")


def _delete_arguments(parser: ArgumentParser) -> None:
    add_model(parser)
    add_registry(parser)
    add_yes(parser)


LIST = Command(
    list_models, "List the newest version of each registered model, or all versions of one.", _list_arguments,
    ("pf model list -o table", "pf model list -n my-model --tag team=search"), "json",
)  # fmt: skip
SHOW = Command(
    show, "Show a version of a registered model.", _show_arguments,
    ("pf model show -n my-model -v 3", "pf model show -n my-model@champion --files"), "json",
)  # fmt: skip
DOWNLOAD = Command(
    download, "Write the files of a version to FOLDER/NAME.", _download_arguments,
    ("pf model download -n my-model -v 3 --download-path models",), "json",
)  # fmt: skip
ARCHIVE = Command(
    archive, "Hide a version from lists, or without one the whole model.", _named,
    ("pf model archive -n my-model -v 3",), "json",
)  # fmt: skip
RESTORE = Command(
    restore, "Bring an archived version or model back.", _named, ("pf model restore -n my-model -v 3",), "json"
)
DELETE = Command(
    delete, "Delete a version and its files for good. Asks on a terminal, needs -y without one.", _delete_arguments,
    ("pf model delete -n my-model -v 3 -y",),
)  # fmt: skip
