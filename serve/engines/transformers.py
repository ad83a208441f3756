"""The torch engine: any text decoder that transformers can load, on a CPU or a GPU."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.adapters import Adapters
from serve.engines.base import EngineClosedError, Stats
from serve.engines.batching import PAGE, PASS_TOKENS, Batcher
from serve.engines.decoding import DecodingEngine
from serve.engines.prompts import Prompts
from serve.engines.row import Row
from serve.engines.torch_model import load_model, load_tokenizer, memory

torch = need("torch", extra="local")

CPU_CONTEXT = 16384  # what a CPU reads of a longer context, unless asked for more: its cache takes main memory
SHARED = 16 * 1024  # tokens of cache for all requests together, where the context does not need more
CACHE_SHARE = 0.3  # of the free memory, at most, for that cache on a CPU


class TransformersEngine(DecodingEngine):
    """``device``: cpu, cuda, … or auto; ``dtype``: float32, bfloat16, float16 or auto; ``context``: at most so many
    tokens for a prompt and its answer."""

    def __init__(self, model: str, folder: Path, device: str = "auto", dtype: str = "auto", context: int = 0) -> None:
        super().__init__(model)
        self.folder, self.device, self.dtype, self.asked_context = folder, device, dtype, context
        self._batcher: Batcher | None = None
        self._adapters: Adapters | None = None
        self._weights = 0

    def load(self) -> None:
        model = load_model(self.folder, "AutoModelForCausalLM", self.device, self.dtype)
        tokenizer = load_tokenizer(self.folder)
        self.device, self.dtype = str(model.device), str(model.dtype).removeprefix("torch.")
        self._weights = sum(value.nbytes for value in {*model.parameters(), *model.buffers()})
        config = model.config.get_text_config()
        limit = int(getattr(config, "max_position_embeddings", 0) or 0)
        self.context = self.asked_context or (
            min(limit, CPU_CONTEXT) if model.device.type == "cpu" and limit else limit or 2048
        )
        if limit and self.context > limit:
            raise ValidationException(f"The model '{self.model}' has a context of {limit} tokens, not {self.context}.")
        size = int(model.get_output_embeddings().weight.shape[0])
        self.prompts = Prompts(self.model, self.folder, tokenizer, self.context, size)
        self._adapters = Adapters(self.model, model)
        tokens = self._cache_tokens(model, config) if model.device.type == "cpu" else None
        end = min(self.prompts.vocabulary.ends, default=None)
        self._batcher = Batcher(model, self.model, end, self._adapters, tokens)
        room = self._batcher.cache.num_blocks * PAGE
        self.prompts.context = self.context = min(self.context, room)
        self._open = True

    def _cache_tokens(self, model: Any, config: Any) -> int:
        """Tokens of cache on a CPU: one whole context at least, and no more than the free memory bears.

        A token takes two vectors per layer and key head, and a column of the mask, which has a row per token of a pass.
        """
        size = model.dtype.itemsize
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        per_token = 2 * config.num_hidden_layers * heads * head * size + PASS_TOKENS * size
        bearable = int(CACHE_SHARE * memory().available / per_token)
        wanted = max(self.context + PAGE, SHARED if self.context > 1024 else 16 * self.context)
        if bearable < 4 * PAGE:
            raise ValidationException(f"There is no memory left for the cache of the model '{self.model}'.")
        return min(wanted, bearable)

    def unload(self) -> None:
        self._open = False
        batcher, self._batcher = self._batcher, None
        if batcher is not None:
            batcher.stop()
        self._adapters = None
        del batcher
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._adapters.names if self._adapters is not None else ()

    def load_adapter(self, name: str, folder: Path) -> None:
        self._loaded().load(name, folder)

    def unload_adapter(self, name: str) -> None:
        self._loaded().unload(name)

    def stats(self) -> Stats:
        told, batcher = self.tally, self._batcher
        running = min(batcher.running, told.inside) if batcher is not None else 0
        cache = batcher.cache if batcher is not None else None
        return Stats(
            running,
            told.inside - running,
            told.finished,
            told.failed,
            told.prompt_tokens,
            told.completion_tokens,
            weights_bytes=self._weights if batcher is not None else 0,
            cache_bytes=cache.cache_tensor.nbytes if cache is not None else 0,
            cache_used=1 - cache.compute_free_capacity() if cache is not None else 0.0,
            device=self.device,
            dtype=self.dtype,
        )

    def _loaded(self) -> Adapters:
        if self._adapters is None:
            raise EngineClosedError(f"The model '{self.model}' is not loaded.")
        return self._adapters

    def _adapter(self, name: str) -> int:
        return self._loaded().use(name)

    def _submit(self, row: Row) -> None:
        if self._batcher is None:
            raise EngineClosedError(f"The model '{self.model}' is not loaded.")
        self._batcher.submit(row)

    def _withdraw(self, row: Row) -> None:
        if self._batcher is not None:
            self._batcher.withdraw(row)
        if self._adapters is not None:
            self._adapters.release(row.adapter)
