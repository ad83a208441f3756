"""`pf catalog show`: the card of one model."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from catalog.assets import Asset
from catalog.cards import README, Card, card_of, card_of_path, card_of_pulled
from catalog.cli.arguments import add_endpoint
from catalog.cli.registered import builtin_folder, registered
from catalog.consents import Consents
from catalog.hub import Hub
from catalog.huberrors import HubError, HubGatedError
from catalog.hubinfo import ModelInfo
from catalog.local import LocalModel, LocalModels, NotPulledError
from catalog.own_results import own_results
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace

_ADAPTERS = 5


def show(args: Namespace, out: Output) -> None:
    path = builtin_folder(args.id) or Path(args.id).expanduser()
    found = registered(args.id)
    if path.exists() or found:
        if args.card or args.files:
            hint = f"look into {path}" if not found else f"pf model show -n {args.id} --files"
            raise ValidationException("--card and --files are for models of a hub.", hint=hint)
        out.result(_of_version(*found) if found else _record(card_of_path(path)), name="id")
        return
    pulled = _pulled(args.id, args.revision)
    hub = Hub(args.endpoint)
    model = None if args.local else _asked(hub, args.id, args.revision, pulled, out)
    if args.card:
        out.text(_readme(hub, model, pulled))
    elif args.files:
        out.result(_files(model, pulled))
    else:
        out.result(_full(hub, args.id, model, pulled), name="id")


def _pulled(id: str, revision: str | None) -> LocalModel | None:
    try:
        return LocalModels().get(id, revision)
    except (NotPulledError, ValidationException):
        return None


def _asked(hub: Hub, id: str, revision: str | None, pulled: LocalModel | None, out: Output) -> ModelInfo | None:
    """What the hub says; of a pulled model, what is here will do where the hub says nothing."""
    try:
        return hub.model(id, revision)
    except HubError as error:
        if pulled is None:
            raise
        out.note(f"as pulled; {error}")
        return None


def _full(hub: Hub, id: str, model: ModelInfo | None, pulled: LocalModel | None) -> dict[str, Any]:
    found: dict[str, Any]
    if model is not None:
        found = _record(card_of(model, lambda name: _small(hub, model, name)))
        adapters = hub.search(tags=(f"base_model:adapter:{model.id}",), limit=_ADAPTERS)
        found["adapters"] = [adapter.id for adapter in adapters if adapter.id != model.id][:_ADAPTERS]
    elif pulled is not None:
        found = _record(card_of_pulled(pulled))
    else:
        raise NotPulledError(f"{id} is not on this machine.", hint="leave --local out to ask the hub")
    found["pulled"] = {"revision": pulled.sha, "folder": str(pulled.folder), "size": pulled.size} if pulled else None
    workspace = Workspace.open()
    found["own_results"] = [asdict(result) for result in own_results(workspace, id)]
    said = Consents(workspace).of(id)
    found["accepted"] = [{"what": c.what, "user": c.user, "time": c.time, **c.facts} for c in said]
    return found


def _of_version(asset: Asset, folder: Path) -> dict[str, Any]:
    """The card of a registered version. Its licence and consents are those of where it came from: `pf model show`."""
    id = f"{asset.name}:{asset.version}"
    own = [asdict(result) for result in own_results(Workspace.open(), id)]
    return {**_record(card_of_path(folder)), "id": id, "own_results": own}


def _record(card: Card) -> dict[str, Any]:
    full = asdict(card)
    return {**full, "sizes": dict(card.sizes)}


def _small(hub: Hub, model: ModelInfo, name: str) -> bytes:
    try:
        return hub.read_small(model.id, model.sha, name)
    except HubGatedError:  # what the hub says of its files will do
        return b""


def _readme(hub: Hub, model: ModelInfo | None, pulled: LocalModel | None) -> str:
    if pulled is not None and (pulled.folder / README).is_file():
        return (pulled.folder / README).read_text(errors="replace").rstrip("\n")
    if model is None or README not in {file.name for file in model.files}:
        raise ValidationException("The model has no card.")
    return hub.read_small(model.id, model.sha, README).decode(errors="replace").rstrip("\n")


def _files(model: ModelInfo | None, pulled: LocalModel | None) -> list[dict[str, Any]]:
    here = {file.name: file for file in pulled.files} if pulled else {}
    if model is None:
        return [{"name": f.name, "size": f.size, "hash": f.blob, "pulled": True} for f in here.values()]
    return [
        {"name": f.name, "size": f.size, "hash": f.etag, "pulled": f.name in here and here[f.name].blob == f.etag}
        for f in model.files
    ]


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", help="ORGANISATION/NAME of a model, a registered name, a folder or a GGUF file."
    )
    parser.add_argument("--revision", metavar="REV", help="A branch, tag or commit (main).")
    parser.add_argument("--files", action="store_true", help="List its files instead.")
    parser.add_argument("--card", action="store_true", help="Print its card instead.")
    parser.add_argument("--local", action="store_true", help="Show what is on this machine, and ask no hub.")
    add_endpoint(parser)


SHOW = Command(
    show, "Show the card of a model: licence, task, languages, size, context, formats, adapters, results.", _arguments,
    ("pf catalog show Qwen/Qwen3-0.6B", "pf catalog show ./my-model", "pf catalog show Qwen/Qwen3-0.6B --files"),
    "json",
)  # fmt: skip
