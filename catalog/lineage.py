"""Lineage: which run, data and parent made a version, and what was made of it. Edges stay when their ends are gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from promptflow.workspace import Workspace
from promptflow.workspace.clock import now_text

RUN, DATA, PARENT = "run", "data", "parent"
ORIGIN = "origin"  # the same bytes elsewhere: on the hub, in another workspace


@dataclass(frozen=True)
class Edge:
    """``made`` comes of ``source``: ids such as ``model:NAME:VERSION``, ``run:NAME``, ``data:NAME:VERSION``, a url."""

    made: str
    relation: str
    source: str
    created: str = ""


class Lineage:
    """The edges of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._store = workspace.store

    def add(self, edges: Iterable[Edge]) -> None:
        """Keep edges; one that is there already is left alone."""
        now = now_text()
        rows = [
            {"made": e.made, "relation": e.relation, "source": e.source, "created": e.created or now} for e in edges
        ]
        self._store.put_many("lineage", rows, keep=("created",))

    def sources(self, made: str) -> list[Edge]:
        """What it was made of."""
        return self._edges("made = :id", made)

    def products(self, source: str) -> list[Edge]:
        """What was made of it."""
        return self._edges("source = :id", source)

    def above(self, made: str) -> list[Edge]:
        """All that it goes back to, near things first; each edge once, even in a circle."""
        return self._walk(made, up=True)

    def below(self, source: str) -> list[Edge]:
        """All that goes back to it."""
        return self._walk(source, up=False)

    def _walk(self, start: str, *, up: bool) -> list[Edge]:
        found: dict[tuple[str, str, str], Edge] = {}
        seen, open_ids = {start}, [start]
        while open_ids:
            here = open_ids.pop(0)
            for edge in self.sources(here) if up else self.products(here):
                found[edge.made, edge.relation, edge.source] = edge
                following = edge.source if up else edge.made
                if following not in seen:
                    seen.add(following)
                    open_ids.append(following)
        return list(found.values())

    def _edges(self, where: str, id: str) -> list[Edge]:
        query = f"SELECT * FROM lineage WHERE {where} ORDER BY created, relation, made, source"
        return [Edge(**row) for row in self._store.select("lineage", query, id=id)]
