"""The torch engine: any decoder that transformers can load, on a CPU or a GPU; one that reads images, too."""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.adapters import Adapters
from serve.engines.base import EngineClosedError, Stats, UnsupportedError
from serve.engines.batching import PAGE, PASS_TOKENS, Batcher, NotPagedError
from serve.engines.decoding import DecodingEngine
from serve.engines.images import ImagePrompts
from serve.engines.kinds import task_of
from serve.engines.prompts import Prompts
from serve.engines.row import Row
from serve.engines.solo import Solo
from serve.engines.torch_model import load_model, load_tokenizer, memory

torch = need("torch", extra="local")

logger = logging.getLogger(__name__)

CPU_CONTEXT = 16384  # what a CPU reads of a longer context, unless asked for more: its cache takes main memory
SHARED = 16 * 1024  # tokens of cache for all requests together, where the context does not need more
CACHE_SHARE = 0.3  # of the free memory, at most, for that cache on a CPU


class TransformersEngine(DecodingEngine):
    """``device``: cpu, cuda, … or auto; ``dtype``: float32, bfloat16, float16 or auto; ``context``: at most so many
    tokens for a prompt and its answer; ``max_adapters``: so many at once, 0 for any number."""

    def __init__(
        self,
        model: str,
        folder: Path,
        device: str = "auto",
        dtype: str = "auto",
        context: int = 0,
        max_adapters: int = 0,
    ) -> None:
        super().__init__(model)
        self.folder, self.device, self.dtype, self.asked_context = folder, device, dtype, context
        self.most_adapters = max_adapters
        self._runner: Batcher | Solo | None = None
        self._adapters: Adapters | None = None
        self._weights = 0

    def load(self) -> None:
        sees = task_of(self.folder) == "see"
        kind = "AutoModelForImageTextToText" if sees else "AutoModelForCausalLM"
        model = load_model(self.folder, kind, self.device, self.dtype)
        if model.config.is_encoder_decoder:
            raise UnsupportedError(f"The model '{self.model}' is an encoder with a decoder, which no engine here runs.")
        tokenizer = load_tokenizer(self.folder)
        self.device, self.dtype = str(model.device), str(model.dtype).removeprefix("torch.")
        self._weights = sum(value.nbytes for value in {*model.parameters(), *model.buffers()})
        self.context = self._context(model)
        size = int(model.get_output_embeddings().weight.shape[0])
        self.prompts = (ImagePrompts if sees else Prompts)(self.model, self.folder, tokenizer, self.context, size)
        self.inputs = frozenset({"text", "image"} if sees else {"text"})
        self._adapters = Adapters(self.model, model)
        self._runner = Solo(model, self.model, self._adapters) if sees else self._make_runner(model)
        self.prompts.context = self.context
        self._open = True

    def _context(self, model: Any) -> int:
        limit = max(0, int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 0))
        if limit and self.asked_context > limit:
            raise ValidationException(
                f"The model '{self.model}' has a context of {limit} tokens, not {self.asked_context}."
            )
        usual = min(limit, CPU_CONTEXT) if model.device.type == "cpu" else limit
        return self.asked_context or usual or 2048

    def _make_runner(self, model: Any) -> Batcher | Solo:
        """All rows at once where the model's layers allow it."""
        assert self._adapters is not None
        end = min(self.prompts.vocabulary.ends, default=None)
        try:
            tokens = self._cache_tokens(model) if model.device.type == "cpu" else None
            batcher = Batcher(model, self.model, end, self._adapters, tokens)
        except (NotPagedError, AttributeError) as reason:
            logger.info("%s answers one request at a time: %s", self.model, reason)
            return Solo(model, self.model, self._adapters)
        self.context = min(self.context, batcher.cache.num_blocks * PAGE)
        return batcher

    def _cache_tokens(self, model: Any) -> int:
        """Tokens of cache on a CPU: one whole context at least, and no more than the free memory bears.

        A token takes two vectors per layer and key head, and a column of the mask, which has a row per token of a pass.
        """
        config, size = model.config.get_text_config(), model.dtype.itemsize
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
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.stop()
        self._adapters = None
        del runner
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
        told, runner = self.tally, self._runner
        running = min(runner.running, told.inside) if runner is not None else 0
        cache = runner.cache if runner is not None else None
        return Stats(
            running,
            told.inside - running,
            told.finished,
            told.failed,
            told.prompt_tokens,
            told.completion_tokens,
            weights_bytes=self._weights if runner is not None else 0,
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
        if self._runner is None:
            raise EngineClosedError(f"The model '{self.model}' is not loaded.")
        self._runner.submit(row)

    def _withdraw(self, row: Row) -> None:
        if self._runner is not None:
            self._runner.withdraw(row)
        if self._adapters is not None:
            self._adapters.release(row.adapter)
