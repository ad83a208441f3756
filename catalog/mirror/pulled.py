"""The models that were pulled to this machine, under their own ids."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from catalog.local import LocalFile, LocalModel, LocalModels, NotPulledError
from catalog.mirror.entries import Entry, blob_oid, entry_of, large_entry
from catalog.mirror.errors import RepoNotFoundError, RevisionNotFoundError
from catalog.mirror.repo import MAIN, MODELS, Commit, Refs, Repo
from promptflow.exceptions import ValidationException

_SHA256 = 64  # digits


class Pulled:
    """A source of what is in the hub's cache. ``main`` is what was main when it was pulled, else the newest."""

    def __init__(self, models: LocalModels) -> None:
        self.models = models

    def find(self, kind: str, id: str, revision: str) -> Repo:
        model = self._model(kind, id, revision)
        return Repo(kind, id, _commit(model), {file.name: _entry(file) for file in model.files})

    def refs(self, kind: str, id: str) -> Refs:
        main = self._model(kind, id, MAIN)
        named = {name: other.sha for other in self.models.revisions(id) for name in other.refs}
        return Refs({MAIN: main.sha, **named})

    def heads(self, kind: str) -> Mapping[str, Hashable]:
        found: dict[str, tuple[Hashable, ...]] = {}
        for model in self.models.list() if kind == MODELS else ():
            state = model.sha, model.refs, len(model.files), model.updated
            found[model.id] = (*found.get(model.id, ()), state)
        return found

    def commits(self, kind: str, id: str, revision: str) -> list[Commit]:
        first = self._model(kind, id, revision)
        older = [model for model in self.models.revisions(id) if model.updated < first.updated]
        return [_commit(model) for model in (first, *older)]

    def _model(self, kind: str, id: str, revision: str) -> LocalModel:
        if kind != MODELS:
            raise RepoNotFoundError(id)
        try:
            return self.models.get(id, None if revision == MAIN else revision)
        except ValidationException as error:  # no name of a model
            raise RepoNotFoundError(id) from error
        except NotPulledError as error:
            if not self.models.revisions(id):
                raise RepoNotFoundError(id) from error
            raise RevisionNotFoundError(id, revision) from error


def _commit(model: LocalModel) -> Commit:
    date = datetime.fromtimestamp(model.updated, UTC).isoformat()
    return Commit(model.sha, f"{model.id} as it was pulled", date)


def _entry(file: LocalFile) -> Entry:
    place = functools.partial(Path, file.path)
    # Blobs are named by what the hub calls the file: nothing need be read.
    if len(file.blob) == _SHA256:
        return large_entry(file.name, file.size, file.blob, place)
    if file.blob:
        return Entry(file.name, file.size, file.blob, "", place)
    return _plain(file.name, file.path, file.size, file.path.stat().st_mtime_ns)


@functools.lru_cache(4096)
def _plain(name: str, path: Path, size: int, changed: int) -> Entry:
    """A file that is no link to a blob, as on disks without links: it is read once to know what to call it."""

    def sha256() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    place = functools.partial(Path, path)
    return entry_of(name, size, place, sha256=sha256, oid=lambda: blob_oid(path.read_bytes()))
