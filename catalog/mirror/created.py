"""Repos that clients created and have not committed to yet: a name, which only this process knows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from catalog.mirror.errors import RepoNotFoundError, RevisionNotFoundError
from catalog.mirror.registered import OWNER, Registered
from catalog.mirror.repo import MAIN, Commit, Refs, Repo
from promptflow.workspace.clock import now_text

_NOTHING = "0" * 40


class Created:
    """A source of empty repos."""

    def __init__(self, registered: Registered) -> None:
        self.registered = registered
        self._made: dict[tuple[str, str], str] = {}

    def add(self, kind: str, name: str) -> bool:
        """Whether it was there already."""
        if self._is_registered(kind, name) or (kind, name) in self._made:
            return True
        self._made[kind, name] = now_text()
        return False

    def takes_branch(self, kind: str, id: str, branch: str) -> bool:
        """Whether a branch needs no more than its name: the first commit to it makes it."""
        name = id.rpartition("/")[2]
        return not self._is_registered(kind, name) and (kind, name) in self._made

    def find(self, kind: str, id: str, revision: str) -> Repo:
        owner, _, name = id.rpartition("/")
        if owner not in (OWNER, "") or (kind, name) not in self._made:
            raise RepoNotFoundError(id)
        if revision not in (MAIN, _NOTHING):
            raise RevisionNotFoundError(id, revision)
        commit = Commit(_NOTHING, "Nothing is here yet", self._made[kind, name])
        return Repo(kind, f"{OWNER}/{name}", commit, {})

    def refs(self, kind: str, id: str) -> Refs:
        return Refs({MAIN: self.find(kind, id, MAIN).sha})

    def heads(self, kind: str) -> Mapping[str, Hashable]:
        return {}  # nothing to be found yet

    def commits(self, kind: str, id: str, revision: str) -> list[Commit]:
        return [self.find(kind, id, revision).commit]

    def _is_registered(self, kind: str, name: str) -> bool:
        try:
            self.registered.asset(kind, name, MAIN)
        except RepoNotFoundError:
            return False
        return True
