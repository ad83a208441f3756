"""Data that the workspace keeps by name: what `hf upload` brought to its hub, and what endpoints have collected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catalog.aliases import Aliases
from catalog.assets import LATEST, Asset, AssetNotFoundError, Assets
from catalog.contents import Contents
from catalog.references import parse_reference
from promptflow.exceptions import PathNotFoundError, ValidationException
from promptflow.workspace import Workspace

KIND = "data"
_PLACES = ("azureml://datastores/", "runs:/")  # and a workspace's: …/workspaces/W/datastores/…
_HINT = "give its path, or a url"


@dataclass(frozen=True)
class Data:
    """A version: ``path`` is a file or folder of this machine, ``asset`` its id, ``type`` what it was kept as."""

    path: Path
    asset: str
    type: str


def is_reference(text: str) -> bool:
    """Whether it names data, and is no path or url of its own."""
    return text.startswith(("azureml:", "runs:/"))


def find_data(text: str, workspace: Workspace) -> Data:
    """The data that ``azureml:NAME:VERSION``, ``azureml:NAME@latest`` and their like name, to be read where it is. Data
    of another registry is looked for under its own name here."""
    if text.startswith(_PLACES) or "/datastores/" in text:
        raise ValidationException(f"{text} is a place in Azure, which is not reached from here.", hint=_HINT)
    asset = _asset(text, workspace)
    if asset.form != "place":
        return Data(Contents(workspace).lay_out(asset), asset.id, asset.type)
    path = Path(asset.path)
    if not path.exists():
        raise PathNotFoundError(f"{text} was collected in {path}, which is not there any more.", hint=_HINT)
    return Data(path, asset.id, asset.type)


def _asset(text: str, workspace: Workspace) -> Asset:
    wanted, assets = parse_reference(text, KIND), Assets(workspace, KIND)
    try:
        if wanted.version:
            return assets.get(wanted.name, wanted.version)
        found = Aliases(assets).find(wanted.name, wanted.alias or LATEST)
    except AssetNotFoundError as error:
        raise AssetNotFoundError(f"{text}: {error.message}", hint=error.hint or _HINT) from None
    if found is None:
        raise AssetNotFoundError(
            f"{text}: data {wanted.name} has no alias {wanted.alias}.", hint="@latest is always one"
        )
    return found
