"""`registered`: the registered model that a word of a command line means."""

from __future__ import annotations

from pathlib import Path

from catalog.assets import Asset, AssetNotFoundError
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
