"""An index as a folder: vectors, pieces of text, and what they were made with.

``index.json`` (`About`), ``vectors.npy`` (float16 [pieces, dimensions]), ``chunks.jsonl`` (one piece a line),
``offsets.npy`` (where each line begins), ``rarity.npy`` (of `words`), ``graph.faiss`` (of large ones).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from promptflow.exceptions import UserErrorException
from promptflow.index.chunks import Chunk
from promptflow.index.embedder import Embedder
from promptflow.workspace.optional import need

ABOUT = "index.json"
FORMAT = 1
# Below, all vectors are compared; above, FAISS keeps a graph. Not usearch, which is smaller: with 2.26 a process that
# imports onnxruntime 1.31 after it ends with a segmentation fault.
GRAPH_FROM = 100_000
BLOCK = 8192  # vectors that are compared at once


class VectorIndexError(UserErrorException):
    """An index that is not there, is damaged, or does not take the question."""


@dataclass(frozen=True)
class About:
    name: str
    model: str
    dimensions: int
    chunks: int
    files: int
    created: str
    connection: str = ""
    exact: str = ""
    data: str = ""
    format: int = FORMAT


@dataclass(frozen=True)
class Hit:
    """A piece that was found. ``score``: cosine of the angle to the question, 1 is the same direction."""

    text: str
    score: float
    metadata: dict[str, Any]


class Index:
    """An index to search in; the vectors stay on the disk until they are compared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = read_about(folder)
        numpy = need("numpy", extra="rag")
        try:
            self._vectors = numpy.load(folder / "vectors.npy", mmap_mode="r")
            self._offsets = numpy.load(folder / "offsets.npy")
            rarity = folder / "rarity.npy"
            self._rarity = numpy.load(rarity) if rarity.exists() else None
        except (OSError, ValueError) as error:
            raise _damaged(folder, error) from error
        shape = (self.about.chunks, self.about.dimensions)
        if self._vectors.shape != shape or len(self._offsets) != shape[0]:
            raise _damaged(folder, f"there are {self._vectors.shape[0]} vectors for {shape[0]} pieces")
        self._graph: Any = None

    @property
    def embedder(self) -> Embedder:
        """The model for questions: it has to be the one of the pieces."""
        return Embedder(self.about.model, self.about.connection, self.about.exact, self._rarity)

    def search(self, vector: Sequence[float], top: int = 3) -> list[Hit]:
        """The pieces nearest to ``vector``, best first."""
        numpy = need("numpy", extra="rag")
        if top < 1:
            raise VectorIndexError(f"top_k is {top}.", hint="1 or more")
        try:
            wanted = numpy.asarray(vector, numpy.float32)
        except (TypeError, ValueError):
            raise VectorIndexError("A vector is a list of numbers.") from None
        if wanted.shape != (self.about.dimensions,):
            raise VectorIndexError(
                f"The index '{self.about.name}' takes vectors of {self.about.dimensions} numbers, not {wanted.size}.",
                hint=f"ask the model of the index: {self.about.model}",
            )
        if not math.isfinite(float(wanted.sum())):
            raise VectorIndexError("The vector holds numbers that are none (NaN, infinity).")
        if not wanted.any():
            return []  # no direction: not one word of the question is known
        found = self._nearest(wanted / numpy.linalg.norm(wanted), min(top, self.about.chunks))
        return [Hit(*self._piece(key, score)) for key, score in found]

    def _nearest(self, wanted: Any, top: int) -> list[tuple[int, float]]:
        """Numbers of pieces and their scores, best first. ``wanted`` has length 1, as all vectors have."""
        numpy = need("numpy", extra="rag")
        if (self.folder / "graph.faiss").exists():
            scores, keys = self._open_graph().search(wanted[None], top)
            return [(int(key), float(score)) for key, score in zip(keys[0], scores[0], strict=True) if key >= 0]
        blocks = range(0, self.about.chunks, BLOCK)  # float16 is slow to multiply, and a copy of all is large
        scores = numpy.concatenate([self._vectors[at : at + BLOCK].astype(numpy.float32) @ wanted for at in blocks])
        best = numpy.argpartition(-scores, top - 1)[:top]
        best = best[numpy.lexsort((best, -scores[best]))]
        return [(int(key), float(scores[key])) for key in best]

    def _open_graph(self) -> Any:
        if self._graph is None:
            try:
                self._graph = need("faiss", extra="rag").read_index(str(self.folder / "graph.faiss"))
            except RuntimeError as error:
                raise _damaged(self.folder, str(error).splitlines()[0]) from error
        return self._graph

    def _piece(self, at: int, score: float) -> tuple[str, float, dict[str, Any]]:
        with (self.folder / "chunks.jsonl").open("rb") as lines:
            lines.seek(int(self._offsets[at]))
            try:
                piece = json.loads(lines.readline())
                return piece["text"], score, piece["metadata"]
            except (ValueError, KeyError, TypeError) as error:
                raise _damaged(self.folder, error) from error


def write_index(folder: Path, about: About, chunks: Sequence[Chunk], vectors: Any, rarity: Any = None) -> None:
    """Write an index into an empty folder; ``index.json`` comes last, so that half an index is none."""
    numpy = need("numpy", extra="rag")
    lengths = numpy.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / numpy.where(lengths == 0, 1, lengths)
    numpy.save(folder / "vectors.npy", vectors.astype(numpy.float16))
    if rarity is not None:
        numpy.save(folder / "rarity.npy", rarity)
    offsets = []
    with (folder / "chunks.jsonl").open("wb") as lines:
        for line in _lines(chunks):
            offsets.append(lines.tell())
            lines.write(line)
    numpy.save(folder / "offsets.npy", numpy.array(offsets, numpy.uint64))
    if len(chunks) >= GRAPH_FROM:
        faiss = need("faiss", extra="rag")
        graph = faiss.index_factory(about.dimensions, "HNSW32,SQfp16", faiss.METRIC_INNER_PRODUCT)
        graph.train(vectors)
        graph.add(vectors)
        faiss.write_index(graph, str(folder / "graph.faiss"))
    (folder / ABOUT).write_text(json.dumps(asdict(about), indent=2, ensure_ascii=False), encoding="utf-8")


def read_about(folder: Path) -> About:
    """What an index was made with. VectorIndexError where there is none."""
    try:
        told = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VectorIndexError(f"There is no index in {folder}.", hint="pf index create") from None
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise _damaged(folder, "it is of another release of promptflow")
    try:
        return About(**told)
    except TypeError as error:
        raise _damaged(folder, error) from error


def _lines(chunks: Sequence[Chunk]) -> Iterator[bytes]:
    for chunk in chunks:
        piece = {"text": chunk.text, "metadata": chunk.metadata}
        yield json.dumps(piece, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"


def _damaged(folder: Path, why: Any) -> VectorIndexError:
    return VectorIndexError(f"The index in {folder} cannot be read: {why}.", hint="make it again: pf index create")
