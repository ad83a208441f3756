"""What nothing on the disk needs: what killed pulls, removals and registrations left in the cache and the blobs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from catalog.assets import LOCK
from catalog.local import PREFIX, LocalModels, revisions_of
from promptflow.workspace import Workspace

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PART = 500  # digests in one query
_HULL = "a model of no revision"


@dataclass(frozen=True)
class Leftover:
    """A file or folder that may go: ``what`` it is, and how many bytes will be free."""

    place: Path
    what: str
    size: int


class Pruning:
    """Only what was not written to for ``hours``: nothing links yet to what is being pulled or registered."""

    def __init__(self, workspace: Workspace, models: LocalModels | None = None, hours: float = 24.0) -> None:
        self.workspace, self.models = workspace, models or LocalModels()
        self._before = time.time() - hours * 3600

    def find(self) -> list[Leftover]:
        """All of it, by place."""
        return [*self._in_cache(), *self._blobs(self._unclaimed()), *self._layouts()]

    def remove(self) -> int:
        """Delete what is found now; how many bytes are free."""
        freed = sum(_delete(left, self._before) for left in list(self._in_cache()))
        # Under the lock of assets: whoever registers a version claims its blobs under it, and makes anew those that are
        # gone by then.
        with self.workspace.db.write(lock=LOCK):
            freed += sum(_delete(left, self._before) for left in [*self._blobs(self._unclaimed()), *self._layouts()])
        return freed

    def _in_cache(self) -> Iterator[Leftover]:
        """Blobs that no revision links to, files of pulls that nobody goes on with, and what is left of such models."""
        folder = self.models.folder
        for repo in sorted(folder.glob(PREFIX + "*")) if folder.is_dir() else ():
            files = [Path(entry.path) for entry in _entries(repo / "blobs") if entry.is_file(follow_symlinks=False)]
            # While a pull goes on, the files that it has whole are not linked to.
            if repo.is_symlink() or not all(map(self._is_old, files)):
                continue
            revisions = list(revisions_of(repo))
            linked = {file.blob for model in revisions for file in model.files}
            for file in sorted(files):
                if file.name not in linked:
                    whole = "." not in file.name
                    yield Leftover(file, "a blob of no revision" if whole else "a part of a download", _size(file))
            if not revisions:
                yield from self._hull(repo)

    def _hull(self, repo: Path) -> Iterator[Leftover]:
        """The folder of a model without revisions, once its blobs have gone, and the names of its revisions."""
        others = [path for path in sorted(repo.rglob("*")) if path.is_symlink() or not path.is_dir()]
        names = [path for path in others if path.relative_to(repo).parts[0] in ("refs", ".no_exist")]
        folders = [path for path in (repo, *repo.rglob("*")) if path.is_dir() and not path.is_symlink()]
        if all(path in names or path.parent == repo / "blobs" for path in others) and all(map(self._is_old, folders)):
            yield from (Leftover(name, "a name of no revision", _size(name)) for name in names)
            yield Leftover(repo, _HULL, 0)

    def _unclaimed(self) -> list[Path]:
        """Files among the blobs that no content is made of."""
        old = [path for path in self._blob_files() if self._is_old(path)]
        names = [path.name for path in old if _DIGEST.fullmatch(path.name)]
        wanted: set[str] = set()
        for at in range(0, len(names), _PART):
            part = names[at : at + _PART]
            for table, column in (("asset_blobs", "blob"), ("blobs", "digest")):
                rows = self.workspace.store.list(table, where={column: part}, columns=[column])
                wanted |= {str(row[column]) for row in rows}
        return [path for path in old if path.name not in wanted]

    def _blob_files(self) -> Iterator[Path]:
        """On this machine's disk; what is kept elsewhere, others may use, too."""
        place = self.workspace.blobs.local_file("0" * 64)
        for shard in _entries(place.parent.parent) if place is not None else ():
            if shard.is_dir(follow_symlinks=False) and len(shard.name) == 2:
                for entry in _entries(Path(shard.path)):
                    if _DIGEST.fullmatch(entry.name) or entry.name.endswith(".tmp"):
                        yield Path(entry.path)

    def _blobs(self, files: Iterable[Path]) -> Iterator[Leftover]:
        for file in sorted(files):
            yield Leftover(file, "a blob of no version", _size(file))

    def _layouts(self) -> Iterator[Leftover]:
        """Folders of contents that no version has, and those that were never finished."""
        root = self.workspace.home / "assets"
        for shard in _entries(root):
            for entry in _entries(Path(shard.path)):
                place = Path(entry.path)
                if self._is_old(place) and _DIGEST.fullmatch(entry.name):
                    if not self.workspace.store.list("assets", where={"digest": entry.name}, limit=1):
                        yield Leftover(place, "a folder of no version", _size(place))
                        continue
                    for inside in _entries(place):
                        if inside.name.endswith(".tmp") and self._is_old(Path(inside.path)):
                            yield Leftover(
                                Path(inside.path), "a folder that was not finished", _size(Path(inside.path))
                            )

    def _is_old(self, path: Path) -> bool:
        try:
            return path.lstat().st_mtime < self._before
        except FileNotFoundError:
            return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(place: Path) -> int:
    """Bytes that are free once it has gone: what has another name stays."""
    files = [place, *place.rglob("*")] if place.is_dir() else [place]
    states = [file.lstat() for file in files if not file.is_dir()]
    return sum(state.st_size for state in states if state.st_nlink == 1)


def _delete(left: Leftover, before: float) -> int:
    """What was written to since it was found stays: a pull touches what it is about to link to."""
    try:
        if left.what == _HULL:
            return _remove_empty(left.place)
        if left.place.lstat().st_mtime >= before:
            return 0
        if left.place.is_dir() and not left.place.is_symlink():
            shutil.rmtree(left.place)
        else:
            left.place.unlink()
    except FileNotFoundError:
        return 0
    return left.size


def _remove_empty(folder: Path) -> int:
    """Folders in which nothing is. What has something in it again stays."""
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(place)
    return 0
