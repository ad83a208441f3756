"""Whether the files of a pulled model are what their hashes say. No hub is asked: blobs are named by their hashes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catalog.local import LocalFile, LocalModel
from catalog.transfer import new_hash

_PIECE = 1 << 20


@dataclass(frozen=True)
class Checked:
    """One file of a model. ``state``: "ok", "damaged" (other bytes than pulled), "missing" or "unknown" (no hash)."""

    name: str
    state: str
    size: int
    path: Path


def verify(model: LocalModel, progress: Callable[[int], None] = lambda count: None) -> list[Checked]:
    """Hash every file of a model, and look for links that lead nowhere."""
    found = [Checked(file.name, _state(file, progress), file.size, file.path) for file in model.files]
    return sorted([*found, *_missing(model)], key=lambda checked: checked.name)


def is_whole(path: Path, etag: str, progress: Callable[[int], None] = lambda count: None) -> bool:
    """Whether the content of ``path`` has the hash ``etag``: sha256, or git's sha1."""
    digest = new_hash(etag, path.stat().st_size)
    buffer = memoryview(bytearray(_PIECE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            progress(count)
    return digest.hexdigest() == etag


def _state(file: LocalFile, progress: Callable[[int], None]) -> str:
    if len(file.blob) not in (40, 64):
        return "unknown"
    return "ok" if is_whole(file.path, file.blob, progress) else "damaged"


def _missing(model: LocalModel) -> list[Checked]:
    known = {file.path for file in model.files}
    return [
        Checked(Path(place, name).relative_to(model.folder).as_posix(), "missing", 0, Path(place, name))
        for place, folders, names in os.walk(model.folder)
        for name in (*folders, *names)
        if Path(place, name).is_symlink() and Path(place, name) not in known
    ]
