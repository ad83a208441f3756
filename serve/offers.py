"""Names of models -> what a router offers: where the files are, how large, which engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptflow.exceptions import UserErrorException, ValidationException
from serve.engines import NO_FILES, find_folder, open_engine
from serve.lora import Adapter
from serve.remote_offer import remote_offer
from serve.served import Served

if TYPE_CHECKING:
    from catalog.models import ModelRef
    from promptflow.workspace import Workspace
    from serve.known import Known

WEIGHTS = (".safetensors", ".onnx", ".onnx_data", ".gguf", ".bin")
PLAIN = ("builtin/", "/", "./", "../", "~")  # names of folders, which are found without the workspace
ADAPTER = "adapter_config.json"
KNOWN = ("builtin", "hub", "registry")  # kinds of models that are in no folder of somebody's
OVERHEAD = 1.1  # what a model takes beside its weights, until it is loaded and can be asked


class Offers:
    """Finds models for one workspace, which is opened when a name needs it. ``kind`` and ``options`` are the engine's;
    with ``paths`` names may be folders: only for names that the owner of this process gives."""

    def __init__(
        self, workspace: Callable[[], Workspace], kind: str = "", options: Mapping[str, Any] | None = None
    ) -> None:
        self.workspace, self.kind, self.options = workspace, kind, dict(options or {})

    def offer(self, name: str, adapters: Mapping[str, str] | None = None) -> Served:
        """``name`` as a person gives it; an adapter's name offers its base model together with it."""
        if self.kind == "remote":
            return remote_offer(name, adapters or {}, self.options, self.workspace)
        given = {alias: self.adapter(source) for alias, source in (adapters or {}).items()}
        if self.kind in NO_FILES or name.startswith("fake/"):
            return self._served(name, None, given)
        if name.startswith(PLAIN):
            folder = find_folder(name)
            if not (folder / ADAPTER).is_file():
                return self._served(name, folder, given)
        found = self._find(name)
        if not found.is_adapter:
            return self._of(found, given, name)
        return self._of(_base_of(found), {found.name: _adapter(found), **given})

    def among_known(self, name: str) -> tuple[Served, str] | None:
        """For names that come over HTTP: what was registered, pulled or is built in, no paths; by its exact name, for
        what the name means may change. Of an adapter its base, and which adapter."""
        found = self._known(name)
        if found is None or not found.is_adapter:
            return None if found is None else (self._of(found, {}, _exact(found)), "")
        base = found.adapter_of
        if base is None or base.kind not in KNOWN:
            return None
        return self._of(base, {_exact(found): _adapter(found)}, _exact(base)), _exact(found)

    def all_known(self) -> list[Known]:
        """What `among_known` finds, by the names that people use."""
        # Imported here, as below.
        from serve.known import known_models

        return known_models(self.workspace())

    def known_adapter(self, base: str, adapter: str) -> tuple[str, Adapter] | None:
        """The same for an adapter: its exact name, and where it is."""
        found = self._known(adapter)
        return (_exact(found), _adapter(found)) if found is not None and found.is_adapter else None

    def any_adapter(self, base: str, adapter: str) -> tuple[str, Adapter] | None:
        """An adapter by name or folder."""
        try:
            return self.known_adapter(base, adapter) or (adapter, self.adapter(adapter))
        except UserErrorException:
            return None

    def adapter(self, name: str) -> Adapter:
        folder = Path(name).expanduser()
        found = Adapter(folder) if (folder / ADAPTER).is_file() else _adapter(self._find(name))
        if not (found.folder / ADAPTER).is_file():
            raise ValidationException(f"'{name}' is no adapter: {found.folder} holds no {ADAPTER}.")
        return found

    def _known(self, name: str) -> ModelRef | None:
        try:
            found = self._find(name)
        except UserErrorException:
            return None
        return found if found.kind in KNOWN else None

    def _find(self, name: str) -> ModelRef:
        if not name.strip():
            raise ValidationException("The name of the model is empty.")
        # Imported here: it brings the database, which a server of a built-in model or a folder does without.
        from catalog.models import find_model

        return find_model(name, self.workspace())

    def _of(self, found: ModelRef, adapters: Mapping[str, Adapter], name: str = "") -> Served:
        return replace(
            self._served(name or found.name, found.folder, adapters),
            alias=found.name,
            exact=_exact(found),
            asset=_asset(found),
        )

    def _served(self, name: str, folder: Path | None, adapters: Mapping[str, Adapter]) -> Served:
        make = partial(open_engine, name, self.kind, folder, **self.options)
        size = int(weights_size(folder) * OVERHEAD) if folder is not None else 0
        return Served(name, make, size, dict(adapters), alias=name, folder=folder, kind=self.kind)


def _base_of(adapter: ModelRef) -> ModelRef:
    if adapter.adapter_of is None:
        raise ValidationException(
            f"'{adapter.name}' is an adapter of '{adapter.base}', which is not on this machine.",
            hint=f"pf catalog pull {adapter.base}" if adapter.base else "serve its base model with --adapter",
        )
    return adapter.adapter_of


def _adapter(found: ModelRef) -> Adapter:
    return Adapter(found.folder, _asset(found))


def _asset(found: ModelRef) -> str:
    """What the registry's uses call it."""
    if found.kind == "hub":
        return f"hub:{found.name}"
    return f"model:{found.name}:{found.version}" if found.kind == "registry" else ""


def _exact(found: ModelRef) -> str:
    """The name that means the same tomorrow."""
    version = found.version[:12] if found.kind == "hub" else found.version
    return f"{found.name}:{version}" if version else found.name


def weights_size(place: Path) -> int:
    """Bytes of the weights in a folder, or of a file; where there are several formats, of the largest."""
    if place.is_file():
        return place.stat().st_size
    sizes = [sum(file.stat().st_size for file in place.rglob(f"*{suffix}")) for suffix in WEIGHTS]
    return max(sizes, default=0)
