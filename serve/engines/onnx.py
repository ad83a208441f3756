"""The light CPU engine: any small ONNX decoder with a KV cache, all requests in one loop on one thread."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.base import EngineClosedError, Stats
from serve.engines.batch import Batch, extend, join, keep, pad_prompts
from serve.engines.decoder import Decoder
from serve.engines.decoding import DecodingEngine, deliver
from serve.engines.json_file import read_json
from serve.engines.kinds import onnx_file
from serve.engines.prompts import Prompts
from serve.engines.row import Row

np = need("numpy", extra="cpu")

MAX_ROWS = 32
PREFILL_TOKENS = 2048  # at most so many, padding counted, are read in one pass: many exports make logits for them all


class OnnxEngine(DecodingEngine):
    """``generate`` puts a row into the inbox; the loop runs it together with all others and sends back pieces."""

    def __init__(self, model: str, folder: Path, max_rows: int = MAX_ROWS) -> None:
        super().__init__(model)
        self.folder, self.max_rows = folder, max_rows
        self._inbox: deque[Row] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._running = 0

    def load(self) -> None:
        config = read_json(self.folder / "config.json")
        tokenizer = read_tokenizer(self.folder)
        file = onnx_file(self.folder)
        if file is None:
            raise ValidationException(f"The folder {self.folder} holds no model.onnx.", hint="export the model to ONNX")
        self.decoder = Decoder(file, config)
        self.context = int(config.get("max_position_embeddings") or config.get("n_positions") or 2048)
        size = int(config.get("vocab_size") or tokenizer.get_vocab_size())
        self.prompts = Prompts(self.model, self.folder, tokenizer, self.context, size)
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

    def stats(self) -> Stats:
        told = self.tally
        running = min(self._running, told.inside)
        return Stats(
            running,
            told.inside - running,
            told.finished,
            told.failed,
            told.prompt_tokens,
            told.completion_tokens,
            weights_bytes=self.decoder.weights_bytes if self._open else 0,
            device="cpu",
        )

    def _submit(self, row: Row) -> None:
        with self._wake:
            if not self._open:
                raise EngineClosedError(f"The model '{self.model}' is not loaded.")
            self._inbox.append(row)
            self._wake.notify()

    def _withdraw(self, row: Row) -> None:
        """The loop drops a cancelled row at its next turn."""

    def _loop(self) -> None:
        """Until unloaded: let new rows in, move all rows on by one token, hand out what they said."""
        rows: list[Row] = []
        batch: Batch | None = None
        while (fresh := self._arrivals(len(rows))) is not None:
            self._running = len(rows) + len(fresh)
            try:
                rows, batch = self._turn(rows, batch, fresh)
            except Exception as error:  # these callers learn why; the next ones start anew
                for row in {*rows, *fresh}:
                    row.fail(error)
                rows, batch = [], None
            self._running = len(rows)
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
            row.advance(scores)
        return Batch(mask, cache)

    def _step(self, rows: list[Row], batch: Batch) -> Batch:
        mask = extend(batch)
        logits, cache = self.decoder.run(np.array([[row.last] for row in rows]), mask, batch.cache)
        for row, scores in zip(rows, logits, strict=True):
            row.advance(scores)
        return Batch(mask, cache)


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, of the tokenizers library; neither pads nor cuts."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ValidationException(f"The folder {folder} holds no tokenizer.json.")
    tokenizer = need("tokenizers", extra="cpu").Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
