"""All repos of a mirror as a search goes through them: each is read once, and again when it has changed."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from catalog.mirror import describe
from catalog.mirror.errors import MirrorError
from catalog.mirror.facts import KnownFacts
from catalog.mirror.repo import Mirror


class Listing:
    """What the hub's API says of every repo."""

    def __init__(self, mirror: Mirror, facts: KnownFacts) -> None:
        self.mirror, self.facts = mirror, facts
        self._known: dict[tuple[str, str], tuple[Hashable, dict[str, Any]]] = {}

    def all(self, kind: str, *, files: bool) -> list[dict[str, Any]]:
        """Every repo of a kind at ``main``; ``files``: with their names."""
        found = [self._one(kind, id, state) for id, state in self.mirror.heads(kind).items()]
        hidden = () if files else ("siblings",)
        return [{key: value for key, value in one.items() if key not in hidden} for one in found if one]

    def _one(self, kind: str, id: str, state: Hashable) -> dict[str, Any]:
        known = self._known.get((kind, id))
        if known is None or known[0] != state:
            try:
                repo = self.mirror.find(kind, id)
            except MirrorError:  # deleted meanwhile
                return {}
            known = self._known[kind, id] = state, describe.info(repo, self.facts.of(repo))
        return known[1]
