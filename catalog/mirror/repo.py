"""What the mirror serves: models and data sets as the hub's clients know them, a list of files at a commit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from catalog.mirror.entries import Entry
from catalog.mirror.errors import EntryNotFoundError, RepoNotFoundError

MODELS, DATASETS = "models", "datasets"
MAIN = "main"
_Found = TypeVar("_Found")


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
