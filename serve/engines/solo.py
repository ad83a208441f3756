"""Rows through one torch model one after the other, by transformers' own ``generate``: for models whose layers no paged
cache holds (state-space and hybrid ones, latent attention) and for prompts with images."""

from __future__ import annotations

import math
import queue
import threading
from typing import Any

from promptflow.workspace.optional import need
from serve.engines.adapters import Adapters
from serve.engines.base import EngineClosedError, EngineFailedError
from serve.engines.decoding import deliver
from serve.engines.row import Row

torch = need("torch", extra="local")
transformers = need("transformers", extra="local")


class Solo:
    """Has the face of a `Batcher`. It keeps no cache between rows."""

    cache = None

    def __init__(self, model: Any, name: str, adapters: Adapters) -> None:
        self.model, self.name, self.adapters = model, name, adapters
        self.running = 0
        self._rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name=f"engine-{name}", daemon=True)
        self._thread.start()

    def submit(self, row: Row) -> None:
        if self._closing:
            raise EngineClosedError(f"The model '{self.name}' is not loaded.")
        self._rows.put(row)

    def withdraw(self, row: Row) -> None:
        """A cancelled row stops at its next token."""

    def stop(self) -> None:
        self._closing = True
        self._rows.put(None)
        self._thread.join()
        while not self._rows.empty():
            if (row := self._rows.get()) is not None:
                row.fail(EngineClosedError(f"The model '{self.name}' was unloaded."))

    def _loop(self) -> None:
        while (row := self._rows.get()) is not None and not self._closing:
            if row.done:
                continue
            self.running = 1
            try:
                self._run(row)
            except Exception as error:
                row.fail(EngineFailedError(f"The engine of '{self.name}' failed: {type(error).__name__}: {error}"))
            if not row.done:
                row.fail(EngineClosedError(f"The model '{self.name}' was unloaded."))
            self.running = 0
        if row is not None:
            row.fail(EngineClosedError(f"The model '{self.name}' was unloaded."))

    def _run(self, row: Row) -> None:
        self.adapters.mark([(row.adapter, len(row.prompt))])
        # An own config: the model's would bring its temperature and penalties, which the row has already.
        config = transformers.GenerationConfig(max_new_tokens=row.limit, do_sample=False, pad_token_id=0)
        ids = torch.tensor([row.prompt], device=self.model.device)
        given = {"attention_mask": torch.ones_like(ids), **row.inputs}
        with torch.inference_mode():
            self.model.generate(
                ids,
                generation_config=config,
                logits_processor=[lambda _, scores: self._chosen(row, scores)],
                stopping_criteria=[lambda ids, _, **__: torch.tensor([row.done or self._closing], device=ids.device)],
                **given,
            )

    def _chosen(self, row: Row, scores: Any) -> Any:
        row.advance(scores[0].float().cpu().numpy())
        deliver([row])
        only = torch.full_like(scores, -math.inf)
        only[0, row.last] = 0
        return only
