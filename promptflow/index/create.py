"""Files -> an index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from promptflow.index.chunks import SIZE, Reading, read_chunks
from promptflow.index.embedder import Embedder
from promptflow.index.index import About, write_index
from promptflow.index.store import Indexes
from promptflow.llm import background
from promptflow.workspace import Workspace
from promptflow.workspace.clock import now_text
from promptflow.workspace.optional import need


def create_index(
    name: str,
    data: str | Path,
    workspace: Workspace,
    *,
    model: str = "",
    connection: str = "",
    column: str = "text",
    size: int = SIZE,
    told: Callable[[int, int], None] = lambda done, all: None,
) -> tuple[About, Reading]:
    """Make the index ``name`` of a file or folder; one that has the name is replaced once this one is whole. ``told``
    hears how many pieces have their vectors, and how many there are."""
    need("numpy", extra="rag")  # before the work, not after it
    reading = read_chunks(Path(data).expanduser(), column=column, size=size)
    embedder = Embedder.of(model, connection, workspace)
    texts = [chunk.text for chunk in reading.chunks]
    with Indexes(workspace).making(name) as folder:
        vectors, asked = background.run(embedder.embed(texts, workspace, lambda done: told(done, len(texts))))
        about = About(
            name=name,
            model=embedder.model,
            dimensions=vectors.shape[1],
            chunks=len(texts),
            files=reading.files,
            created=now_text(),
            connection=embedder.connection,
            exact=embedder.exact,
            data=str(Path(data).expanduser().absolute()),
        )
        write_index(folder, about, reading.chunks, vectors, asked.rarity)
    return about, reading
