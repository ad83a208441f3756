"""Models that read texts and write none: embeddings, and scores of how well documents answer a query."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.base import (
    Engine,
    EngineClosedError,
    Piece,
    PromptTooLongError,
    Request,
    Scores,
    Stats,
    UnsupportedError,
    Vectors,
)
from serve.engines.json_file import read_json
from serve.engines.kinds import task_of
from serve.engines.pooling import pool, read_pooling, unit

np = need("numpy", extra="cpu")

Array = Any
PASS_TOKENS = 8192  # padding counted, in one pass
PASS_TEXTS = 64
# These count positions from the padding's number on, so that a few of them hold no token.
OFFSET = ("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl")


@dataclass(frozen=True)
class Text:
    """A text (or a pair of them) as tokens; ``types`` says which of the pair each token belongs to."""

    ids: list[int]
    types: list[int]


class Encoder(ABC):
    """A loaded model. ``pooled`` says that its vectors are those of whole texts already."""

    pooled = False
    weights_bytes = 0
    device = "cpu"
    dtype = "float32"

    @abstractmethod
    def run(self, ids: Array, mask: Array, types: Array) -> Array:
        """int64 [texts, tokens], padded on the right → float32 [texts, tokens, size], or [texts, size] if pooled or
        if the model scores."""


class EncoderEngine(Engine):
    """Texts go through the model in batches of like length, on one thread; callers wait their turn."""

    def __init__(self, model: str, folder: Path, read: Callable[[], tuple[Any, Encoder]]) -> None:
        super().__init__(model)
        self.folder, self._read = folder, read
        self._pool: ThreadPoolExecutor | None = None
        self._waiting = self._done = self._failed = self._tokens = 0
        self._count = threading.Lock()

    def load(self) -> None:
        self.task = task_of(self.folder)
        self.tasks = frozenset({"embed", "rerank"} if self.task == "embed" else {"rerank"})
        self.pooling = read_pooling(self.folder)
        self.tokenizer, self.encoder = self._read()
        self.context = context_of(self.folder, self.pooling.longest)
        self.size = self.tokenizer.get_vocab_size()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"engine-{self.model}")

    def unload(self) -> None:
        pool_, self._pool = self._pool, None
        if pool_ is not None:
            pool_.shutdown(cancel_futures=True)
            del self.encoder

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        raise UnsupportedError(f"The model '{self.model}' writes no text: it {self._makes()}.")
        yield  # for the type: an iterator

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        if self.task != "embed":
            raise UnsupportedError(f"The model '{self.model}' makes no embeddings: it {self._makes()}.")
        ready = [self._text(text, self.pooling.prompt) for text in texts]
        vectors = await self._in_turn(lambda: self._vectors(ready))
        return Vectors(vectors.tolist(), sum(len(text.ids) for text in ready))

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        if self.task == "embed":
            return await self._compare(query, documents)
        ready = [self._pair(query, document) for document in documents]
        scores = await self._in_turn(lambda: likely(self._run(ready)))
        return Scores(scores.tolist(), sum(len(text.ids) for text in ready))

    def stats(self) -> Stats:
        loaded = self._pool is not None
        return Stats(
            min(1, self._waiting),
            max(0, self._waiting - 1),
            self._done,
            self._failed,
            self._tokens,
            weights_bytes=self.encoder.weights_bytes if loaded else 0,
            device=self.encoder.device if loaded else "",
            dtype=self.encoder.dtype if loaded else "",
        )

    def _makes(self) -> str:
        return "makes embeddings" if self.task == "embed" else "scores documents"

    async def _compare(self, query: str, documents: Sequence[str]) -> Scores:
        """By the angle between their vectors: 1 for the same direction."""
        prompts = self.pooling.prompts
        asked = self._text(query, prompts.get("query", self.pooling.prompt))
        ready = [asked, *(self._text(one, prompts.get("document", self.pooling.prompt)) for one in documents)]
        vectors = unit(await self._in_turn(lambda: self._vectors(ready)))
        return Scores((vectors[1:] @ vectors[0]).tolist(), sum(len(text.ids) for text in ready))

    async def _in_turn(self, work: Callable[[], Array]) -> Array:
        if self._pool is None:
            raise EngineClosedError(f"The model '{self.model}' is not loaded.")
        self._waiting += 1
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except asyncio.CancelledError:
            if self._pool is None:
                raise EngineClosedError(f"The model '{self.model}' was unloaded.") from None
            raise
        except Exception:
            self._failed += 1
            raise
        finally:
            self._waiting -= 1
        self._done += 1
        return result

    def _text(self, text: str | Sequence[int], prompt: str) -> Text:
        if isinstance(text, str):
            encoding = self.tokenizer.encode(prompt + text)
            return self._checked(Text(list(encoding.ids), list(encoding.type_ids)))
        if wrong := [number for number in text if not 0 <= number < self.size]:
            raise ValidationException(f"The model '{self.model}' has no token {wrong[0]}.")
        return self._checked(Text(list(text), [0] * len(text)))

    def _pair(self, query: str, document: str) -> Text:
        encoding = self.tokenizer.encode(query, document)
        return self._checked(Text(list(encoding.ids), list(encoding.type_ids)))

    def _checked(self, text: Text) -> Text:
        if not text.ids:
            raise ValidationException("There is nothing in the text.")
        if self.context and len(text.ids) > self.context:
            raise PromptTooLongError(
                f"A text has {len(text.ids)} tokens; the model '{self.model}' reads {self.context}.",
                hint="cut it into parts",
            )
        return text

    def _vectors(self, texts: Sequence[Text]) -> Array:
        return self._run(texts, pooled=True)

    def _run(self, texts: Sequence[Text], pooled: bool = False) -> Array:
        """One row per text, in their order."""
        rows: list[Array] = [None] * len(texts)
        for places in batches([len(text.ids) for text in texts]):
            ids, mask, types = padded([texts[place] for place in places])
            out = self.encoder.run(ids, mask, types)
            if pooled and not self.encoder.pooled:
                out = pool(out, mask, self.pooling)
            for place, row in zip(places, out, strict=True):
                rows[place] = row
            with self._count:
                self._tokens += int(mask.sum())
        return np.stack(rows) if rows else np.zeros((0, 1), np.float32)


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts that go through the model together: of like length, so that little of it is padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda at: lengths[at]):
        if batch and (len(batch) == PASS_TEXTS or lengths[place] * (len(batch) + 1) > PASS_TOKENS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def padded(texts: Sequence[Text]) -> tuple[Array, Array, Array]:
    """Ids, mask and types [texts, longest], padded on the right."""
    longest = max(len(text.ids) for text in texts)
    ids, mask, types = (np.zeros((len(texts), longest), np.int64) for _ in range(3))
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = text.ids
        types[row, : len(text.types)] = text.types
        mask[row, : len(text.ids)] = 1
    return ids, mask, types


def likely(logits: Array) -> Array:
    """Scores from 0 to 1: of one logit by the logistic function, of two (no, yes) the share of the second."""
    if logits.shape[1] == 1:
        return 1 / (1 + np.exp(-logits[:, 0]))
    return 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))


def context_of(folder: Path, longest: int) -> int:
    """Tokens that a text may have: the least of what the model's files say; 0 where they say nothing."""
    config = read_json(folder / "config.json")
    positions = int(config.get("max_position_embeddings") or 0)
    if positions and config.get("model_type") in OFFSET:
        positions -= int(config.get("pad_token_id") or 0) + 1
    told = read_json(folder / "tokenizer_config.json").get("model_max_length") or 0
    limits = [limit for limit in (positions, longest, int(told) if told < 10**9 else 0) if limit > 0]
    return min(limits, default=0)
