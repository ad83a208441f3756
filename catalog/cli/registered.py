"""The registered or built-in model that a word of a command line means."""

from __future__ import annotations

from pathlib import Path

from catalog.assets import Asset, AssetNotFoundError
from catalog.models import BUILTIN, builtin
from catalog.references import is_hub_id
from catalog.registry import Registry
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace


def registered(name: str) -> tuple[Asset, Path] | None:
    """The version and its folder; None where ``name`` is a path, an id on a hub, or of no registered model."""
    if Path(name).expanduser().exists() or is_hub_id(name):
        return None
    registry = Registry(Workspace.open())
    try:
        asset = registry.get(name)
    except (AssetNotFoundError, ValidationException):
        return None
    return asset, registry.folder(asset)


def builtin_folder(name: str) -> Path | None:
    """Of ``builtin/NAME``, if there is no such path here. ModelNotFoundError."""
    if not name.startswith(BUILTIN) or Path(name).exists():
        return None
    return builtin(name).folder
