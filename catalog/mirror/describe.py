"""Repos as the JSON of the hub's API. Pure functions; the shapes are those that huggingface_hub reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from catalog.mirror.entries import Entry, pointer
from catalog.mirror.errors import EntryNotFoundError
from catalog.mirror.facts import Facts
from catalog.mirror.repo import MODELS, Commit, Refs, Repo


def info(repo: Repo, facts: Facts, *, blobs: bool = False) -> dict[str, Any]:
    """A model or a data set. ``blobs``: with sizes and hashes of the files."""
    found: dict[str, Any] = {
        "_id": hashlib.sha256(f"{repo.kind}/{repo.id}".encode()).hexdigest()[:24],
        "id": repo.id,
        "author": repo.id.rpartition("/")[0] or None,
        "sha": repo.sha,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "lastModified": _date(repo.commit.date),
        "createdAt": _date(repo.commit.date),
        "tags": [*facts.tags],
        "cardData": facts.card,
        "usedStorage": sum(entry.size for entry in repo.entries.values()),
    }
    if repo.kind == MODELS:
        found["modelId"] = repo.id
        found["config"] = facts.config
        found |= {"pipeline_tag": facts.task} if facts.task else {}
        found |= {"library_name": facts.library} if facts.library else {}
        found |= {"safetensors": facts.weights} if facts.weights else {}
    else:
        found["description"] = repo.card or None
    found["siblings"] = [_sibling(entry, blobs) for _, entry in sorted(repo.entries.items())]
    return found


def _sibling(entry: Entry, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": entry.path}
    return {"rfilename": entry.path, "size": entry.size, "blobId": entry.oid, **_lfs(entry, "sha256")}


def _lfs(entry: Entry, name: str) -> dict[str, Any]:
    if not entry.sha256:
        return {}
    size = len(pointer(entry.sha256, entry.size))
    return {"lfs": {name: entry.sha256, "size": entry.size, "pointerSize": size}}


def tree(repo: Repo, folder: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]]:
    """What is in a folder (the root: empty), by path. EntryNotFoundError if there is no such folder."""
    prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
    inside = {path: entry for path, entry in repo.entries.items() if path.startswith(prefix)}
    if prefix and not inside:
        raise EntryNotFoundError(repo.id, folder)
    shown = {path: entry for path, entry in inside.items() if recursive or "/" not in path[len(prefix) :]}
    folders = {
        above
        for path in inside
        for above in _above(path)
        if len(above) >= len(prefix) and (recursive or "/" not in above[len(prefix) :])
    }
    items = [_folder(repo, path) for path in folders] + [_file(entry) for entry in shown.values()]
    return [_expanded(repo, item, expand) for item in sorted(items, key=lambda item: item["path"])]


def paths_info(repo: Repo, paths: Iterable[str], *, expand: bool) -> list[dict[str, Any]]:
    """Those of the paths that exist."""
    items = [_file(repo.entries[path]) if path in repo.entries else _maybe_folder(repo, path) for path in paths]
    return [_expanded(repo, item, expand) for item in items if item]


def _file(entry: Entry) -> dict[str, Any]:
    return {"type": "file", "path": entry.path, "size": entry.size, "oid": entry.oid, **_lfs(entry, "oid")}


def _maybe_folder(repo: Repo, path: str) -> dict[str, Any]:
    path = path.strip("/")
    return _folder(repo, path) if any(name.startswith(f"{path}/") for name in repo.entries) else {}


def _folder(repo: Repo, path: str) -> dict[str, Any]:
    inside = sorted((name, entry.oid) for name, entry in repo.entries.items() if name.startswith(f"{path}/"))
    oid = hashlib.sha1(repr(inside).encode(), usedforsecurity=False).hexdigest()
    return {"type": "directory", "path": path, "size": 0, "oid": oid}


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _expanded(repo: Repo, item: dict[str, Any], expand: bool) -> dict[str, Any]:
    if not expand:
        return item
    return {**item, "lastCommit": {"id": repo.sha, "title": repo.commit.title, "date": _date(repo.commit.date)}}


def refs(found: Refs) -> dict[str, Any]:
    """Branches and tags."""
    branches, tags = _refs("heads", found.branches), _refs("tags", found.tags)
    return {"branches": branches, "tags": tags, "converts": [], "pullRequests": []}


def _refs(kind: str, named: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in sorted(named.items())]


def commits(found: Iterable[Commit]) -> list[dict[str, Any]]:
    """The history, newest first."""
    return [
        {
            "id": commit.sha,
            "title": commit.title,
            "message": commit.message,
            "date": _date(commit.date),
            "authors": [{"user": commit.author or "unknown"}],
        }
        for commit in found
    ]


def _date(text: str) -> str:
    """As the hub writes times: UTC, in milliseconds."""
    time = datetime.fromisoformat(text).astimezone(UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
