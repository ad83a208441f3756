"""Models on this machine: the cache that huggingface_hub, transformers, vLLM and `hf` share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace.atomic import file_error

PREFIX = "models--"
MAIN = "main"
_SEPARATOR = "--"


class NotPulledError(UserErrorException):
    """The model, or that revision of it, is not on this machine."""

    http_status = 404


@dataclass(frozen=True)
class LocalFile:
    """A file of a pulled model: its name with ``/``, where it is, and the ``blob`` that holds it.

    ``blob`` is the name of the blob: its sha256, or git's sha1 of a small file; empty of a plain file in the snapshot.
    """

    name: str
    path: Path
    size: int
    blob: str = ""


@dataclass(frozen=True)
class LocalModel:
    """One revision of a pulled model. ``refs`` are the branches and tags that stood for it when it was pulled."""

    id: str
    sha: str
    folder: Path
    files: tuple[LocalFile, ...]
    refs: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its files, links followed."""
        return sum(file.size for file in self.files)

    @property
    def updated(self) -> float:
        """When the snapshot was made or last changed: seconds since 1970."""
        return self.folder.stat().st_mtime


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where huggingface_hub keeps models: ``HF_HUB_CACHE``, else ``HF_HOME``/hub, else ~/.cache/huggingface/hub.

    As in https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables.
    """
    chosen = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    if not chosen:
        cache = environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
        chosen = os.path.join(environ.get("HF_HOME") or os.path.join(cache, "huggingface"), "hub")
    return Path(os.path.abspath(os.path.expanduser(os.path.expandvars(chosen))))


def repo_folder_name(id: str) -> str:
    """``models--org--name``; ValidationException where ``id`` is no name of a model, such as a path."""
    parts = id.split("/")
    bad = any(not part or part.startswith(".") or _SEPARATOR in part or not _is_word(part) for part in parts)
    if len(parts) > 2 or bad:
        raise ValidationException(f"{id!r} is no name of a model.", hint="write ORGANISATION/NAME")
    return PREFIX + _SEPARATOR.join(parts)


class LocalModels:
    """The models in a cache folder; nothing is imported and no hub is asked."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def repo(self, id: str) -> Path:
        """The folder of all revisions of a model."""
        return self.folder / repo_folder_name(id)

    def list(self) -> Sequence[LocalModel]:
        """Every revision of every model, by name."""
        if not self.folder.is_dir():
            return []
        found = [model for repo in sorted(self.folder.glob(PREFIX + "*")) for model in revisions_of(repo)]
        return sorted(found, key=lambda model: (model.id.lower(), model.sha))

    def revisions(self, id: str) -> Sequence[LocalModel]:
        """The revisions of one model that are here, newest first."""
        return sorted(revisions_of(self.repo(id)), key=lambda model: -model.updated)

    def get(self, id: str, revision: str | None = None) -> LocalModel:
        """A branch, tag, commit or the beginning of one; without it ``main``, else the newest. Else NotPulledError."""
        found = self.revisions(id)
        for model in found:
            if (revision or MAIN) in model.refs or revision == model.sha:
                return model
        if revision is None and found:
            return found[0]
        begun = [model for model in found if revision and len(revision) >= 7 and model.sha.startswith(revision)]
        if len(begun) == 1:
            return begun[0]
        wanted = f"{id} at {revision}" if revision and found else id
        raise NotPulledError(f"{wanted} is not on this machine.", hint=f"pf catalog pull {id}")

    def remove(self, id: str, revision: str | None = None) -> int:
        """Remove a model, or one revision of it with the blobs that no other revision has; the bytes that are free."""
        repo = self.repo(id)
        if revision is None:
            if not repo.is_dir() or repo.is_symlink():
                raise NotPulledError(f"{id} is not on this machine.", hint="pf catalog list")
            return _remove_tree(repo)
        model = self.get(id, revision)
        others = [other for other in self.revisions(id) if other.sha != model.sha]
        if not others:
            return _remove_tree(repo)
        kept = {file.blob for other in others for file in other.files}
        _remove_tree(model.folder)
        for name in model.refs:
            (repo / "refs" / name).unlink(missing_ok=True)
        return sum(_unlink(repo / "blobs" / blob) for blob in {f.blob for f in model.files} - kept if blob)


def revisions_of(repo: Path) -> Iterator[LocalModel]:
    """The revisions in a folder of the cache."""
    snapshots = repo / "snapshots"
    if not snapshots.is_dir():
        return
    refs = dict(_refs(repo / "refs"))
    id = repo.name.removeprefix(PREFIX).replace(_SEPARATOR, "/")
    for folder in sorted(snapshots.iterdir()):
        if folder.is_dir() and not folder.is_symlink():
            names = tuple(name for name, sha in refs.items() if sha == folder.name)
            yield LocalModel(
                id,
                folder.name,
                folder,
                tuple(sorted(_files(folder, repo / "blobs"), key=lambda file: file.name)),
                names,
            )


def _refs(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_text(errors="replace").strip()


def _files(folder: Path, blobs: Path) -> Iterator[LocalFile]:
    """Files by name. A link that leads out of the blobs of its model is left out: it is none of the model's."""
    root = os.path.realpath(blobs)
    for place, _, names in os.walk(folder):
        inside = PurePath(place).relative_to(folder)
        for name in names:
            path = os.path.join(place, name)
            blob = os.path.realpath(path) if os.path.islink(path) else ""
            if blob and os.path.dirname(blob) != root or not os.path.isfile(path):
                continue
            size = os.stat(path).st_size
            yield LocalFile((inside / name).as_posix(), Path(path), size, os.path.basename(blob))


def _remove_tree(folder: Path) -> int:
    """Remove a folder; the bytes that are free: a blob that another model shares is still there."""
    freed = 0
    for place, _, names in os.walk(folder):
        for name in names:
            state = os.lstat(os.path.join(place, name))
            freed += state.st_size if state.st_nlink == 1 else 0
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise file_error("remove", folder, error) from error
    return freed


def _unlink(blob: Path) -> int:
    try:
        state = os.lstat(blob)
        blob.unlink()
    except FileNotFoundError:
        return 0
    return state.st_size if state.st_nlink == 1 else 0


def _is_word(part: str) -> bool:
    return part.isascii() and all(letter.isalnum() or letter in "-_." for letter in part) and not part.endswith(".")
