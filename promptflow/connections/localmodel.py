"""The name of a model on this machine -> which server runs it, and what requests call it there."""

from __future__ import annotations

import hashlib
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptflow.workspace import Workspace

FINDER = "catalog.models"  # by name: this package imports nothing above it
EMBEDDED = "builtin/intent-mini"
FAKE = "fake/"  # the engine that tests and demonstrations run on
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class LocalModel:
    """A model, or an adapter of one. ``server`` is the model that a process is started for: with its version, where it
    has one. ``name`` is what the process calls it. ``stamp`` tells apart what a folder held at different times."""

    server: str
    name: str = ""
    adapter: str = ""
    stamp: str = ""

    @property
    def asked(self) -> str:
        """What requests say as their model."""
        name = self.name or self.server
        return f"{name}@{self.adapter}" if self.adapter else name

    @property
    def exact(self) -> str:
        """The same with versions: two with the same one give the same answers."""
        named = f"{self.server}@{self.adapter}" if self.adapter else self.server
        return f"{named} {self.stamp}" if self.stamp else named

    @property
    def folder(self) -> str:
        """The name of a folder for its server: the end of the model's, and a digest of all of it."""
        digest = hashlib.blake2b(f"{self.server} {self.stamp}".encode(), digest_size=6).hexdigest()
        return f"{_NOT_IN_NAMES.sub('-', self.server)[-60:].strip('-.')}-{digest}"


def find_local(model: str, workspace: Workspace) -> LocalModel:
    """``model`` is a built-in one, a registered or pulled one, a folder, or MODEL@ADAPTER of such names. An error of
    the catalog's says what there is instead."""
    if model == EMBEDDED or model.startswith(FAKE):  # it is there: the catalog need not be loaded
        return LocalModel(model)
    found = importlib.import_module(FINDER).find_model(model, workspace)
    if not found.is_adapter:
        return _base(found)
    if found.adapter_of is None:
        # The server says what is missing: it is asked for the adapter as if it were a model.
        return LocalModel(_exact(found), found.name)
    base = _base(found.adapter_of)
    if found.kind != "folder":
        return LocalModel(base.server, base.name, _exact(found), base.stamp)
    return LocalModel(base.server, base.name, str(_linked(found.folder, workspace)), base.stamp)


def _base(found: Any) -> LocalModel:
    stamp = _stamp(found.folder) if found.kind in ("folder", "gguf") else ""
    name = str(found.folder) if stamp else found.name
    return LocalModel(_exact(found), name, stamp=stamp)


def _exact(found: Any) -> str:
    if found.kind in ("folder", "gguf"):
        return str(found.folder)
    return f"{found.name}:{found.version}" if found.version else str(found.name)


def _stamp(folder: Path) -> str:
    """Another one whenever a file of the folder is written."""
    files = [folder] if folder.is_file() else sorted(file for file in folder.iterdir() if file.is_file())
    told = [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return hashlib.blake2b(repr(told).encode(), digest_size=6).hexdigest()


def _linked(folder: Path, workspace: Workspace) -> Path:
    """A link to an adapter's folder that is named after what is in it: a server that has read an adapter keeps it under
    its name, and would not see that it was trained again."""
    digest = hashlib.blake2b(f"{folder} {_stamp(folder)}".encode(), digest_size=10).hexdigest()
    link = workspace.home / "engines" / "adapters" / digest
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            link.symlink_to(folder)
        except FileExistsError:
            pass  # another process wanted it at the same time
    return link
