"""What the mirror serves: models and data sets as the hub's clients know them, a list of files at a commit."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from promptflow.exceptions import UserErrorException

MODELS, DATASETS = "models", "datasets"
MAIN = "main"
_Found = TypeVar("_Found")
LARGE = 1 << 20  # bytes; larger files are LFS files: known by their sha256, and uploaded by themselves


class MirrorError(UserErrorException):
    """A refusal. ``code`` is the hub's name for it, by which its clients choose the error that they raise."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class RepoNotFoundError(MirrorError):
    def __init__(self, id: str) -> None:
        super().__init__(404, f"There is no {id} on this mirror.", "RepoNotFound")


class RevisionNotFoundError(MirrorError):
    def __init__(self, id: str, revision: str) -> None:
        super().__init__(404, f"{id} has no revision {revision}.", "RevisionNotFound")


class EntryNotFoundError(MirrorError):
    def __init__(self, id: str, path: str) -> None:
        super().__init__(404, f"{id} has no file {path} at this revision.", "EntryNotFound")


@dataclass(frozen=True)
class Entry:
    """A file. ``oid``: git's name of it; ``sha256`` is empty for small ones. ``place`` finds its bytes on this disk."""

    path: str
    size: int
    oid: str
    sha256: str
    place: Callable[[], Path]

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


@dataclass(frozen=True)
class Commit:
    """One state of a repo. ``date`` is ISO 8601."""

    sha: str
    title: str
    date: str
    author: str = ""
    message: str = ""


@dataclass(frozen=True)
class Repo:
    """A model or a data set at one commit."""

    kind: str
    id: str
    commit: Commit
    entries: Mapping[str, Entry]
    labels: tuple[str, ...] = ()  # what the workspace calls tags
    card: str = ""  # where it is not a README.md among the files

    @property
    def sha(self) -> str:
        return self.commit.sha

    def entry(self, path: str) -> Entry:
        if path not in self.entries:
            raise EntryNotFoundError(self.id, path)
        return self.entries[path]


@dataclass(frozen=True)
class Refs:
    """Names of commits."""

    branches: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Where repos come from."""

    def find(self, kind: str, id: str, revision: str) -> Repo:
        """RepoNotFoundError or RevisionNotFoundError if it is not here."""

    def heads(self, kind: str) -> Mapping[str, Hashable]:
        """The id of each repo, and something that changes when it does."""

    def refs(self, kind: str, id: str) -> Refs:
        """RepoNotFoundError if it is not here."""

    def commits(self, kind: str, id: str, revision: str) -> list[Commit]:
        """The commit of ``revision`` and those before it, newest first."""


class Mirror:
    """Several sources as one: the first that has a repo serves it."""

    def __init__(self, *sources: Source) -> None:
        self.sources = sources

    def find(self, kind: str, id: str, revision: str = MAIN) -> Repo:
        return self._first(id, lambda source: source.find(kind, id, revision))

    def refs(self, kind: str, id: str) -> Refs:
        return self._first(id, lambda source: source.refs(kind, id))

    def commits(self, kind: str, id: str, revision: str) -> list[Commit]:
        return self._first(id, lambda source: source.commits(kind, id, revision))

    def heads(self, kind: str) -> Mapping[str, Hashable]:
        found: dict[str, Hashable] = {}
        for source in reversed(self.sources):
            found |= source.heads(kind)
        return found

    def _first(self, id: str, ask: Callable[[Source], _Found]) -> _Found:
        for source in self.sources:
            with contextlib.suppress(RepoNotFoundError):
                return ask(source)
        raise RepoNotFoundError(id)


def blob_oid(data: bytes) -> str:
    """Git's name of a file: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """What git keeps in the place of a large file: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def large_entry(path: str, size: int, sha256: str, place: Callable[[], Path]) -> Entry:
    """A file that is known by its sha256; git has a pointer to it."""
    return Entry(path, size, blob_oid(pointer(sha256, size)), sha256, place)
