"""`pf model create` and `pf model update`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.assets import Asset
from catalog.cli.model_arguments import add_model, add_registry, add_texts, open_registry, reference
from catalog.registry import Registry, read_card, record
from catalog.schemas import KEYS, load_model_file, model_spec
from catalog.sources import is_url
from promptflow.cli.args import add_set
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.cli.overrides import apply
from promptflow.cli.said import said

_GIVEN = ("name", "version", "type", "description", "stage", "run")
_CHANGING = ("description", "stage", "tags", "properties")
_FLAT = ("tags", "properties")


def create(args: Namespace, out: Output) -> None:
    data, marks = load_model_file(args.file) if args.file else ({}, None)
    data = apply(data, args.overrides, known=[*KEYS, *data], flat=_FLAT)
    registry = open_registry(args)
    folder = Path(args.file).parent if args.file else Path()
    given = _given(args, data)
    places = said(marks, args.overrides or (), given, _FLAT)
    asset = registry.create(model_spec({**data, **given}, folder, places))
    _tell(registry, asset, out)
    out.hint(f"pf model show -n {asset.name} -v {asset.version}")


def update(args: Namespace, out: Output) -> None:
    registry = open_registry(args)
    asset = registry.get(reference(args))
    current = {key: getattr(asset, key) for key in _CHANGING}
    changed = apply(current, args.overrides, known=_CHANGING, typed=False, flat=_FLAT)
    for path in args.remove:
        _remove(changed, path)
    changed |= {key: getattr(args, key) for key in ("description", "stage") if getattr(args, key) is not None}
    for key in ("tags", "properties"):
        changed[key] = {**changed[key], **(getattr(args, key) or {})}
    changes = {key: value for key, value in changed.items() if value != current[key]}
    if args.card is not None:
        changes["card"] = read_card(Path(args.card))
    if changes:
        asset = registry.update(asset, changes)
    for alias in args.alias:
        registry.aliases.set(asset, alias)
    for alias in args.remove_alias:
        if not registry.aliases.remove(asset.name, alias):
            raise UsageError(f"--remove-alias {alias}: model {asset.name} has no such alias")
    _tell(registry, asset, out)


def _given(args: Namespace, data: Mapping[str, Any]) -> dict[str, Any]:
    """What the flags say, over the file. Their paths are relative to where the command runs."""
    given = {key: getattr(args, key) for key in _GIVEN if getattr(args, key) is not None}
    if args.path is not None:
        given["path"] = args.path if is_url(args.path) else os.path.abspath(args.path)
    if args.card is not None:
        given["card"] = os.path.abspath(args.card)
    for key in ("tags", "properties"):
        if getattr(args, key):
            given[key] = {**(data.get(key) or {}), **getattr(args, key)}
    for key, words in (("aliases", args.alias), ("data", args.data), ("parent", args.parent)):
        if words:
            given[key] = [*_as_list(data.get(key)), *words]
    return given


def _tell(registry: Registry, asset: Asset, out: Output) -> None:
    out.result(record(asset, registry.aliases.of(asset.name)))


def _remove(changed: dict[str, Any], path: str) -> None:
    head, _, key = path.partition(".")
    if head in ("description", "stage") and not key:
        changed[head] = None
    elif head in ("tags", "properties") and key in changed[head]:
        del changed[head][key]
    else:
        raise UsageError(f"--remove {path}: there is no such thing to remove", hint="tags.KEY, properties.KEY, stage")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _create_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-f", "--file", metavar="FILE", help="A model YAML file, as `az ml` takes it.")
    parser.add_argument("-n", "--name", metavar="NAME", help="Name of the model, over the file's.")
    parser.add_argument("-v", "--version", metavar="VERSION", help="Its version; without one, the next number.")
    parser.add_argument("-p", "--path", metavar="PATH", help="A file or folder, runs:/RUN/PATH, or a url.")
    parser.add_argument(
        "-t", "--type", metavar="TYPE", help="custom_model (the default), mlflow_model or triton_model."
    )
    add_texts(parser)
    parser.add_argument("--run", metavar="RUN", help="Lineage: the run that made it.")
    parser.add_argument("--data", action="append", default=[], metavar="DATA", help="Lineage: data it was made of.")
    parser.add_argument(
        "--parent", action="append", default=[], metavar="MODEL", help="Lineage: a model it was made of."
    )
    add_set(parser, "Set keys of the file: version=2 tags.team=search ...")
    add_registry(parser)


def _update_arguments(parser: ArgumentParser) -> None:
    add_model(parser)
    add_registry(parser)
    add_texts(parser)
    add_set(parser, "What to change: description=..., stage=..., tags.KEY=..., properties.KEY=...")
    parser.add_argument("--remove", action="append", default=[], metavar="PATH", help="Remove tags.KEY, stage, ...")
    parser.add_argument("--remove-alias", action="append", default=[], metavar="ALIAS", help="Forget an alias.")


CREATE = Command(
    create, "Register a model: keep its files under a name and a version that never changes.", _create_arguments,
    (
        "pf model create -f model.yml",
        "pf model create -n my-model -p ./model --alias champion --tags team=search",
        "pf model create -n my-model -p runs:/my_run/model --type mlflow_model",
    ),
    "json",
)  # fmt: skip
UPDATE = Command(
    update, "Change what may change of a version: description, stage, tags, properties, card, aliases.",
    _update_arguments,
    (
        "pf model update -n my-model -v 3 --set stage=Production tags.reviewed=yes",
        "pf model update -n my-model -v 3 --alias champion",
    ),
    "json",
)  # fmt: skip
