"""Names of models -> what a router offers: where the files are, how large, which engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptflow.exceptions import UserErrorException, ValidationException
from serve.engines import NO_FILES, find_folder, open_engine
from serve.remote_offer import remote_offer
from serve.router import Served

if TYPE_CHECKING:
    from catalog.models import ModelRef
    from promptflow.workspace import Workspace

WEIGHTS = (".safetensors", ".onnx", ".onnx_data", ".gguf", ".bin")
PLAIN = ("builtin/", "/", "./", "../", "~")  # names of folders, which are found without the workspace
ADAPTER = "adapter_config.json"
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
        folders = {alias: self.adapter(source) for alias, source in (adapters or {}).items()}
        if self.kind in NO_FILES or name.startswith("fake/"):
            return self._served(name, None, folders)
        if name.startswith(PLAIN):
            folder = find_folder(name)
            if not (folder / ADAPTER).is_file():
                return self._served(name, folder, folders)
        return self._of(name, self._find(name), folders)

    def among_known(self, name: str) -> Served | None:
        """For names that come over HTTP: what was registered, pulled or is built in; no paths."""
        found = self._known(name)
        return self._of(name, found, {}) if found is not None and not found.is_adapter else None

    def known_adapter(self, base: str, adapter: str) -> Path | None:
        """The same for an adapter."""
        found = self._known(adapter)
        return found.folder if found is not None and found.is_adapter else None

    def any_adapter(self, base: str, adapter: str) -> Path | None:
        """An adapter by name or folder."""
        try:
            return self.adapter(adapter)
        except UserErrorException:
            return None

    def adapter(self, name: str) -> Path:
        folder = Path(name).expanduser()
        if not (folder / ADAPTER).is_file():
            folder = self._find(name).folder
        if not (folder / ADAPTER).is_file():
            raise ValidationException(f"'{name}' is no adapter: {folder} holds no {ADAPTER}.")
        return folder

    def _known(self, name: str) -> ModelRef | None:
        try:
            found = self._find(name)
        except UserErrorException:
            return None
        return found if found.kind in ("builtin", "hub", "registry") else None

    def _find(self, name: str) -> ModelRef:
        if not name.strip():
            raise ValidationException("The name of the model is empty.")
        # Imported here: it brings the database, which a server of a built-in model or a folder does without.
        from catalog.models import find_model

        return find_model(name, self.workspace())

    def _of(self, name: str, found: ModelRef, adapters: Mapping[str, Path]) -> Served:
        if not found.is_adapter:
            return self._served(name, found.folder, adapters, found.name)
        if found.adapter_of is None:
            raise ValidationException(
                f"'{found.name}' is an adapter of '{found.base}', which is not on this machine.",
                hint=f"pf catalog pull {found.base}" if found.base else "serve its base model with --adapter",
            )
        base = found.adapter_of
        return self._served(base.name, base.folder, {found.name: found.folder, **adapters})

    def _served(self, name: str, folder: Path | None, adapters: Mapping[str, Path], alias: str = "") -> Served:
        make = partial(open_engine, name, self.kind, folder, **self.options)
        size = int(weights_size(folder) * OVERHEAD) if folder is not None else 0
        return Served(name, make, size, dict(adapters), alias or name)


def weights_size(place: Path) -> int:
    """Bytes of the weights in a folder, or of a file; where there are several formats, of the largest."""
    if place.is_file():
        return place.stat().st_size
    sizes = [sum(file.stat().st_size for file in place.rglob(f"*{suffix}")) for suffix in WEIGHTS]
    return max(sizes, default=0)
