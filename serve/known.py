"""The models that a server of any model can be asked for, by the names that lead to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from catalog.flavors import ADAPTER
from catalog.local import LocalModels
from catalog.models import find_model
from catalog.registry import Registry
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from serve.engines import builtin_models
from serve.engines.kinds import may_run


@dataclass(frozen=True)
class Known:
    """``base``: of an adapter, the name of its model."""

    name: str
    base: str = ""


def known_models(workspace: Workspace) -> list[Known]:
    """What is built in, registered and pulled, in this order. What no engine runs is left out, and adapters whose model
    is not here."""
    found = [Known(name) for name in builtin_models()]
    seen = {one.name for one in found}
    for name, files in _held(workspace):
        if name in seen:
            continue
        seen.add(name)
        if ADAPTER in files:
            if base := _base(name, workspace):
                found.append(Known(name, base))
        elif may_run(files):
            found.append(Known(name))
    return found


def _held(workspace: Workspace) -> Iterator[tuple[str, Collection[str]]]:
    """Names, each with the files of what it leads to."""
    registry = Registry(workspace)
    for asset in registry.list():
        prefix = f"{asset.path}/"
        yield asset.name, {file.path.removeprefix(prefix) for file in registry.files(asset)}
    local = LocalModels()
    for id in dict.fromkeys(model.id for model in local.list()):
        yield id, {file.name for file in local.get(id).files}


def _base(adapter: str, workspace: Workspace) -> str:
    try:
        found = find_model(adapter, workspace).adapter_of
    except UserErrorException:
        return ""
    return found.name if found is not None else ""
