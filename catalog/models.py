"""A model by whatever people call it -> the folder that an engine reads."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

from catalog.assets import Asset, AssetNotFoundError
from catalog.flavors import ADAPTER, base_model
from catalog.lineage import PARENT
from catalog.local import LocalModels, NotPulledError
from catalog.references import parse_reference
from catalog.registry import Registry
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace

BUILTIN = "builtin/"
WORKSPACE = "workspace/"
_PATHS = ("/", "./", "../", "~")
_REGISTERED = (WORKSPACE, "azureml:", "models:/")


class ModelNotFoundError(UserErrorException):
    """No model of this name is on this machine."""

    http_status = 404


@dataclass(frozen=True)
class ModelRef:
    """Where a model is. ``kind``: "builtin", "hub" (pulled), "registry", "folder" or "gguf" (a file).

    ``folder`` is a file where the model is one. Of an adapter, ``base`` is the name of the model that it belongs to and
    ``adapter_of`` that model, None if it is not on this machine.
    """

    name: str
    kind: str
    folder: Path
    version: str = ""
    digest: str = ""
    base: str = ""
    adapter_of: ModelRef | None = None

    @property
    def is_adapter(self) -> bool:
        return (self.folder / ADAPTER).is_file()


def find_model(name: str, workspace: Workspace) -> ModelRef:
    """The model called ``name``: a registered one (``NAME``, ``NAME:VERSION``, ``NAME@ALIAS``, with ``workspace/`` or
    ``azureml:`` before it), a pulled one (``ORG/NAME``,
    ``ORG/NAME:REVISION``), ``builtin/NAME``, a folder or a GGUF file; or
    ``MODEL@ADAPTER``, where both are such names. ModelNotFoundError says what was looked for."""
    if not name.strip():
        raise ModelNotFoundError("The name of the model is empty.", hint="pf model list, pf catalog list")
    if name.startswith(BUILTIN):
        return builtin(name)
    if name.startswith(_PATHS):
        found = _path(name)
        if found is not None:
            return found
    whole = _registered(name, workspace) or _pulled(name)
    if whole is not None:
        return _with_base(whole, workspace)
    base, at, adapter = name.rpartition("@")
    if at and base and adapter:
        return _adapter(base, adapter, workspace)
    found = _path(name)
    if found is not None:
        return found
    raise _not_found(name, workspace)


def builtin(name: str) -> ModelRef:
    """``builtin/NAME``. ModelNotFoundError."""
    # They come with the package of engines, which is above this one: by name only.
    spec = importlib.util.find_spec("serve")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    own = name.removeprefix(BUILTIN)
    for place in places:
        folder = Path(place, "engines", "builtin", own)
        if folder.name == own and folder.is_dir():
            return ModelRef(name, "builtin", folder)
    raise ModelNotFoundError(f"No model called {name} comes with promptflow.", hint="builtin/intent-mini does")


def _path(name: str) -> ModelRef | None:
    path = Path(name).expanduser()
    if path.is_dir():
        return ModelRef(name, "folder", path.absolute(), base=base_model(path))
    if path.is_file() and path.suffix == ".gguf":
        return ModelRef(name, "gguf", path.absolute())
    return None


def _pulled(name: str) -> ModelRef | None:
    """ORG/NAME or ORG/NAME:REVISION, of the hub's cache."""
    id, _, revision = name.partition(":")
    try:
        model = LocalModels().get(id, revision or None)
    except (NotPulledError, ValidationException):
        return None
    return ModelRef(id, "hub", model.folder, model.sha, model.sha, base=base_model(model.folder))


def _registered(name: str, workspace: Workspace) -> ModelRef | None:
    registry = Registry(workspace)
    try:
        reference = parse_reference(name)
    except ValidationException:
        return None
    try:
        asset = registry.get(reference)
    except AssetNotFoundError:
        # NAME@ADAPTER looks like NAME@ALIAS.
        if name.startswith(_REGISTERED) and not reference.alias:
            raise
        return None
    return _reference(asset, registry, reference.registry)


def _reference(asset: Asset, registry: Registry, other: str = "") -> ModelRef:
    if other:
        raise ValidationException(
            f"The registry {other} is another workspace's.", hint="share the model with this one: pf model share"
        )
    parents = [edge.source for edge in registry.lineage.sources(asset.id) if edge.relation == PARENT]
    folder = registry.folder(asset)
    base = base_model(folder)
    if base and parents:
        base = parents[0].removeprefix("hub:").removeprefix("model:")
    return ModelRef(asset.name, "registry", folder, asset.version, asset.digest, base)


def _with_base(found: ModelRef, workspace: Workspace) -> ModelRef:
    if not found.base:
        return found
    try:
        return replace(found, adapter_of=find_model(found.base, workspace))
    except UserErrorException:
        return found


def _adapter(base: str, adapter: str, workspace: Workspace) -> ModelRef:
    model, found = find_model(base, workspace), find_model(adapter, workspace)
    if not found.is_adapter:
        raise ValidationException(
            f"{adapter} is no adapter of {base}: it has no {ADAPTER}.", hint="write MODEL@ADAPTER, or MODEL@ALIAS"
        )
    return replace(found, base=base, adapter_of=model)


def _not_found(name: str, workspace: Workspace) -> ModelNotFoundError:
    names = Registry(workspace).assets.names()
    registered = (
        f"registered are {', '.join(names[:5])}{', …' if len(names) > 5 else ''}" if names else "none is registered"
    )
    return ModelNotFoundError(
        f"There is no model {name} on this machine: {registered}.",
        hint=f"pf catalog pull {name}" if "/" in name else "pf model list, pf catalog list",
    )
