"""The index lookup tools, by the ids that flows know from promptflow-vectordb: they look in indexes of this workspace.

An entry of what they find is ``{"text": …, "score": …, "metadata": {…}, "vector": null, "original_entity": null}``.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

from promptflow.connections.provider import get_connection
from promptflow.exceptions import ValidationException
from promptflow.index.index import Hit, Index, VectorIndexError
from promptflow.index.store import Indexes
from promptflow.llm.endpoints import exact_model
from promptflow.tooling.decorator import ToolProvider, tool
from promptflow.workspace import Workspace

Entry = dict[str, Any]
_AS_VECTORS = ("vector", "hybrid", "semantic", "hybrid + semantic", "keyword", "")


@tool
async def search(mlindex_content: str, queries: Any, top_k: int = 3, query_type: str = "Vector") -> Any:
    """Look up texts: a list of entries, or one for each of several ``queries``. ``mlindex_content`` is the name or the
    folder of an index, or YAML with ``index: {path: …}``."""
    index = open_index(_named(mlindex_content))
    if str(query_type).lower().split(" (")[0] not in _AS_VECTORS:
        raise ValidationException(f"query_type '{query_type}' is not known here.", hint="Vector")
    several = isinstance(queries, list)
    found = await look_up(index, [str(query) for query in (queries if several else [queries])], int(top_k))
    return found if several else found[0]


class VectorIndexLookup(ToolProvider):
    """Look up a text or a vector in the index ``path``: its name or folder."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @tool
    async def search(self, query: Any, top_k: int = 3) -> list[Entry]:
        index = open_index(self.path)
        if isinstance(query, str):
            return (await look_up(index, [query], int(top_k)))[0]
        return [_entry(hit) for hit in index.search(query, int(top_k))]


class FaissIndexLookup(ToolProvider):
    """Look up a vector in the index ``path``: its name or folder. FAISS's own files are not read."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @tool
    def search(self, vector: list[float], top_k: int = 3) -> list[Entry]:
        return [_entry(hit) for hit in open_index(self.path).search(vector, int(top_k))]


async def look_up(index: Index, queries: list[str], top: int, workspace: Workspace | None = None) -> list[list[Entry]]:
    """Entries for each of ``queries``, which the model of the index turns into vectors."""
    workspace = workspace or Workspace.open()
    if not queries:
        return []
    if empty := [at for at, query in enumerate(queries) if not query.strip()]:
        raise ValidationException(f"There is nothing in query {empty[0]}.")
    _check_model(index, workspace)
    vectors, _ = await index.embedder.embed(queries, workspace)
    return [[_entry(hit) for hit in index.search(vector, top)] for vector in vectors]


def open_index(name: str, workspace: Workspace | None = None) -> Index:
    """The index called ``name``; open ones are kept until they are made again."""
    place = Indexes(workspace or Workspace.open()).place(name).absolute()
    return _opened(place, (place / "index.json").stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _opened(place: Path, written: int) -> Index:
    return Index(place)


def _check_model(index: Index, workspace: Workspace) -> None:
    about = index.about
    now = exact_model(get_connection(about.connection, workspace), about.model) if about.connection else about.exact
    if now != about.exact:
        raise VectorIndexError(
            f"The index '{about.name}' was made with {about.exact}; '{about.model}' is {now} now.",
            hint=f"make it again, or with --model {about.exact}",
        )


def _named(content: str) -> str:
    """The index that YAML of an "MLIndex", or a plain name, leads to."""
    try:
        told = yaml.safe_load(str(content))
    except yaml.YAMLError as error:
        raise ValidationException(f"mlindex_content cannot be read: {error}.") from error
    if isinstance(told, str):
        return told.strip()
    index = told.get("index") if isinstance(told, dict) else None
    path = index.get("path") if isinstance(index, dict) else None
    if not path or str(path).startswith(("azureml:", "http:", "https:")):
        kind = index.get("kind") if isinstance(index, dict) else None
        raise ValidationException(
            f"mlindex_content leads to no index of this machine (kind {kind}, path {path}).",
            hint="pf index create makes one; then write its name as mlindex_content",
        )
    return str(path)


def _entry(hit: Hit) -> Entry:
    return {
        "text": hit.text,
        "score": hit.score,
        "metadata": hit.metadata,
        "vector": None,
        "original_entity": None,
    }
