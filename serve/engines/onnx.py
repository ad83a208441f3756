"""The light CPU engine: any small ONNX decoder with a KV cache, all requests in one loop on one thread."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.base import Engine, EngineClosedError, Piece, PromptTooLongError, Request
from serve.engines.batch import Batch, extend, join, keep, pad_prompts
from serve.engines.chat import compile_template, read_template
from serve.engines.decoder import Decoder
from serve.engines.row import Row, Vocabulary

np = need("numpy", extra="cpu")

MAX_ROWS = 32
PREFILL_TOKENS = 2048  # at most so many, padding counted, are read in one pass: many exports make logits for them all
DEFAULT_TOKENS = 256


class OnnxEngine(Engine):
    """``generate`` puts a row into the inbox; the loop runs it together with all others and sends back pieces."""

    def __init__(self, model: str, folder: Path, max_rows: int = MAX_ROWS) -> None:
        super().__init__(model)
        self.folder, self.max_rows = folder, max_rows
        self._inbox: deque[Row] = deque()
        self._wake = threading.Condition()
        self._open = False
        self._thread: threading.Thread | None = None

    def load(self) -> None:
        tokenizer_class = need("tokenizers", extra="cpu").Tokenizer
        config = read_json(self.folder / "config.json")
        generation = read_json(self.folder / "generation_config.json")
        tokens = read_json(self.folder / "tokenizer_config.json")
        file = self.folder / "tokenizer.json"
        if not file.is_file():
            raise ValidationException(f"The folder {self.folder} holds no tokenizer.json.")
        self.decoder = Decoder(self.folder, config)
        self.vocabulary = Vocabulary.of(tokenizer_class.from_file(str(file)), config, generation)
        self.context = int(config.get("max_position_embeddings") or config.get("n_positions") or 2048)
        self.temperature = float(generation.get("temperature", 1.0)) if generation.get("do_sample", True) else 0.0
        self.template = compile_template(
            read_template(self.folder, tokens),
            self.vocabulary.specials,
            {name: token_text(tokens.get(name)) for name in ("bos_token", "eos_token")},
        )
        self._open = True
        self._thread = threading.Thread(target=self._loop, name=f"engine-{self.model}", daemon=True)
        self._thread.start()

    def unload(self) -> None:
        with self._wake:
            self._open = False
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        row = self._row(request) if self._open else None
        with self._wake:
            if not self._open or row is None:
                raise EngineClosedError(f"The model '{self.model}' is not loaded.")
            self._inbox.append(row)
            self._wake.notify()
        try:
            while True:
                piece = await row.outbox.get()
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
                if piece.finish:
                    return
        finally:
            row.cancelled = True

    def _row(self, request: Request) -> Row:
        """The request as token ids; refuses what does not fit the model."""
        if request.messages is not None:
            ids = self.vocabulary.encode(self.template(request.messages), with_specials=False)
        elif isinstance(request.prompt, str):
            ids = self.vocabulary.encode(request.prompt, with_specials=True)
        else:
            ids = list(request.prompt)
        if not ids:
            raise ValidationException("The prompt is empty.")
        if len(ids) >= self.context:
            raise PromptTooLongError(
                f"The prompt has {len(ids)} tokens; the model '{self.model}' reads fewer than {self.context}.",
                hint="shorten the prompt or choose a model with a longer context",
            )
        asked = request.sampling.max_tokens
        limit = min(DEFAULT_TOKENS if asked is None else asked, self.context - len(ids))
        temperature = request.sampling.temperature
        return Row(
            ids,
            request.sampling,
            limit,
            self.temperature if temperature is None else temperature,
            self.vocabulary,
            asyncio.get_running_loop(),
        )

    def _loop(self) -> None:
        """Until unloaded: let new rows in, move all rows on by one token, hand out what they said."""
        rows: list[Row] = []
        batch: Batch | None = None
        while (fresh := self._arrivals(len(rows))) is not None:
            try:
                rows, batch = self._turn(rows, batch, fresh)
            except Exception as error:  # these callers learn why; the next ones start anew
                for row in {*rows, *fresh}:
                    row.fail(error)
                rows, batch = [], None
        for row in (*rows, *self._inbox):
            row.fail(EngineClosedError(f"The model '{self.model}' was unloaded."))
        self._inbox.clear()

    def _turn(self, rows: list[Row], batch: Batch | None, fresh: list[Row]) -> tuple[list[Row], Batch | None]:
        """One token for the new rows if there are any, else for all; the rows and the batch that go on."""
        if fresh:
            started = self._prefill(fresh)
            batch = started if batch is None else join(batch, started)
            rows = [*rows, *fresh]
            deliver(fresh)
        elif batch is not None:
            batch = self._step(rows, batch)
            deliver(rows)
        left = [at for at, row in enumerate(rows) if not row.done]
        if len(left) == len(rows):
            return rows, batch
        return [rows[at] for at in left], keep(batch, left) if batch is not None and left else None

    def _arrivals(self, running: int) -> list[Row] | None:
        """New rows, as many as there is room for; waits while there is nothing at all to do. None: stop."""
        with self._wake:
            while self._open and not self._inbox and not running:
                self._wake.wait()
            if not self._open:
                return None
            fresh: list[Row] = []
            longest = 0
            while self._inbox and running + len(fresh) < self.max_rows:
                longest = max(longest, len(self._inbox[0].prompt))
                if fresh and longest * (len(fresh) + 1) > PREFILL_TOKENS:
                    break
                row = self._inbox.popleft()
                if not row.cancelled:
                    fresh.append(row)
            return fresh

    def _prefill(self, rows: list[Row]) -> Batch:
        ids, mask = pad_prompts([row.prompt for row in rows])
        logits, cache = self.decoder.run(ids, mask, self.decoder.empty_cache(len(rows)))
        for row, scores in zip(rows, logits, strict=True):
            row.take(scores)
        return Batch(mask, cache)

    def _step(self, rows: list[Row], batch: Batch) -> Batch:
        mask = extend(batch)
        logits, cache = self.decoder.run(np.array([[row.last] for row in rows]), mask, batch.cache)
        for row, scores in zip(rows, logits, strict=True):
            row.take(scores)
        return Batch(mask, cache)


def deliver(rows: list[Row]) -> None:
    """Hand the new pieces to the event loops that wait for them, with one wake-up per loop."""
    waiting: dict[asyncio.AbstractEventLoop, list[tuple[Row, Piece]]] = {}
    for row in rows:
        if (piece := row.said()) is not None:
            waiting.setdefault(row.loop, []).append((row, piece))
    for loop, pieces in waiting.items():
        try:
            loop.call_soon_threadsafe(put_all, pieces)
        except RuntimeError:  # that loop is closed; nobody waits any more
            for row, _ in pieces:
                row.cancelled = True


def put_all(pieces: list[tuple[Row, Piece]]) -> None:
    for row, piece in pieces:
        row.outbox.put_nowait(piece)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValidationException(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValidationException(f"{path} holds no JSON object.")
    return value


def token_text(entry: Any) -> str:
    """A token of tokenizer_config.json, which is a string or an object with its content."""
    return str(entry.get("content", "")) if isinstance(entry, dict) else str(entry or "")
