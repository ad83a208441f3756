"""Many rows through one torch model at the same time: transformers' own continuous batching, kept alive.

The manager packs the next tokens of all requests into one pass and keeps their caches in pages. What comes next is
chosen by our rows: they stand where it has its logits processors, one step at a time, and what they chose is made the
largest score, which the manager then takes. So every row has its own temperature, seed, grammar and adapter.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from catalog.families import PAGED
from promptflow.workspace.optional import need
from serve.engines.adapters import Adapters
from serve.engines.base import EngineClosedError, EngineFailedError
from serve.engines.decoding import deliver
from serve.engines.probe import Expected, Probe, expectations
from serve.engines.row import Row
from serve.engines.sampling import Picked

torch = need("torch", extra="local")
transformers = need("transformers", extra="local")

PAGE = 32  # tokens; prompts share the pages that they have in common
PASS_TOKENS = 512  # prompts are read in portions of at most so many on a CPU, so that others' answers go on
GPU_PASS_TOKENS = 2048
MAX_ROWS = 64
PROBE = "probe"


class NotPagedError(Exception):
    """The manager cannot run this model."""


class Batcher:
    """Runs rows. ``cache_tokens`` is how many tokens all of them may have together; None fills the GPU's memory."""

    def __init__(self, model: Any, name: str, end: int | None, adapters: Adapters, cache_tokens: int | None) -> None:
        self.name, self.adapters = name, adapters
        self._end = end
        self._rows: dict[str, Row | Probe] = {}
        self._keys: dict[Row | Probe, str] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._closing, self._probed = threading.Event(), threading.Event()
        self._probe_error: Exception | None = None
        family = model.config.get_text_config().model_type
        expected = [] if family in PAGED else self._expectations(model)
        try:
            self._manager = self._make_manager(model, cache_tokens)
            self._manager.warmup()  # makes the cache
        except (ValueError, AttributeError) as error:
            raise NotPagedError(f"no pages for this model: {error}") from error
        self.cache = self._manager.batch_processor.cache
        keep_apart(self.cache, self._adapter_of)
        self._manager.start()
        self._probe()
        self._compare(expected)
        self._watcher = threading.Thread(target=self._watch, name=f"engine-{name}-watch", daemon=True)
        self._watcher.start()

    def _make_manager(self, model: Any, cache_tokens: int | None) -> Any:
        on_gpu = model.device.type != "cpu"
        config = transformers.ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=None if cache_tokens is None else math.ceil(cache_tokens / PAGE),
            max_batch_tokens=GPU_PASS_TOKENS if on_gpu else PASS_TOKENS,
            max_requests_per_batch=MAX_ROWS,
            use_cuda_graph=False,  # our rows choose on the host, in the middle of a step
            use_async_batching=False,
        )
        generation = transformers.GenerationConfig(do_sample=False, eos_token_id=-1)
        manager = model.init_continuous_batching(generation, continuous_batching_config=config)
        manager.logit_processor = Chooser(self)
        manager.output_router = Endings(self)
        return manager

    def _probe(self) -> None:
        """One token, to learn whether the model's layers work with pages at all. NotPagedError if not."""
        self._probed.clear()
        with quiet():
            self._manager.add_request([0], PROBE, max_new_tokens=1)
            while not self._probed.wait(0.05):
                if not self._manager.is_running():
                    break
        if self._probe_error is not None or not self._manager.is_running():
            self._manager.destroy()
            raise NotPagedError(f"no pages for this model: {self._probe_error}")

    def _expectations(self, model: Any) -> list[Expected]:
        try:
            return expectations(model)
        except Exception as error:  # whatever its layers raise: they cannot be compared
            raise NotPagedError(f"no plain passes of this model: {error}") from error

    def _compare(self, expected: Sequence[Expected]) -> None:
        """Of a family that was not tried: whether it says what it says without pages. NotPagedError if not."""
        probes = [Probe(one) for one in expected]
        with quiet():
            for probe in probes:
                self.submit(probe)
            while not all(probe.ended.wait(0.05) for probe in probes) and self._manager.is_running():
                pass
            for probe in probes:
                self.withdraw(probe)
        if not all(probe.finish for probe in probes):
            error = next((probe.error for probe in probes if probe.error), "its loop ended")
            self._manager.stop(hard_stop=True)
            self._manager.destroy()
            raise NotPagedError(f"pages do not hold this model: {error}")

    @property
    def running(self) -> int:
        processor = self._manager.batch_processor
        return len(processor.scheduler.active_requests) if processor is not None else 0

    def submit(self, row: Row | Probe) -> None:
        with self._lock:
            if self._closing.is_set():
                raise EngineClosedError(f"The model '{self.name}' is not loaded.")
            self._count += 1
            key = str(self._count)
            self._rows[key], self._keys[row] = row, key
            end = -1 if self._end is None else self._end
            for _ in range(50):
                self._revive()
                if self._manager.add_request(row.prompt, key, max_new_tokens=row.limit, eos_token_id=end) is not None:
                    return
                time.sleep(0.02)  # its loop is just ending, after an error
            raise EngineFailedError(f"The engine of '{self.name}' takes no requests.")

    def withdraw(self, row: Row | Probe) -> None:
        """Nobody waits for the row any more."""
        with self._lock:
            key = self._keys.pop(row, None)
            if key is None:
                return
            del self._rows[key]
            if not row.finish and not row.failed and not self._closing.is_set():
                self._manager.cancel_request(key)

    def stop(self) -> None:
        """End the loop; rows that are in the works fail."""
        self._closing.set()
        self._watcher.join()
        self._manager.stop(hard_stop=True)
        self._manager.destroy()
        self._fail_rest(EngineClosedError(f"The model '{self.name}' was unloaded."))

    def chosen(self, scores: Any, rows: Sequence[Row | Probe | None]) -> None:
        """The rows' next tokens, out of ``scores`` ([rows, vocabulary]); leaves the chosen score the largest."""
        highest = scores.max(dim=-1)
        likeliest: list[int] = highest.indices.tolist()
        numbers: list[float] = highest.values.tolist()
        host = None
        for at, row in enumerate(rows):
            token = likeliest[at]
            if row is not None and not row.done:
                if row.plain and isinstance(row, Row) and math.isfinite(numbers[at]):
                    row.accept(Picked(token))
                else:  # where the scores are no numbers, too: the row says so
                    host = scores.cpu().numpy() if host is None else host
                    row.advance(host[at])
                token = row.last
            if row is None or row.done:
                # The token that the manager takes for an end, so that it frees the row's pages at once.
                token = token if self._end is None else self._end
            if token != likeliest[at]:
                scores[at, token] = math.inf
        deliver([row for row in rows if isinstance(row, Row)])

    def row(self, key: str) -> Row | Probe | None:
        return self._rows.get(key)

    def ended(self, key: str, error: Exception | None) -> None:
        if key == PROBE:
            self._probe_error = error
            self._probed.set()
        elif error is not None:
            self._failed(key, error)

    def _failed(self, key: str, error: Exception) -> None:
        row = self._rows.get(key)
        if row is not None and not row.done:
            row.fail(self._explained(error))

    def _explained(self, error: Exception) -> Exception:
        if self._closing.is_set():
            return EngineClosedError(f"The model '{self.name}' was unloaded.")
        return EngineFailedError(f"The engine of '{self.name}' failed: {type(error).__name__}: {error}")

    def _adapter_of(self, key: str) -> int:
        row = self._rows.get(key)
        return row.adapter if row is not None else 0

    def _watch(self) -> None:
        """An error inside a pass ends the manager's thread, and all its requests; the next ones find a new one."""
        while not self._closing.wait(0.2):
            with self._lock:
                if threading.main_thread().is_alive():
                    self._revive()
                else:  # Python is ending, and would wait for the manager's thread for ever
                    self._closing.set()
                    self._manager.stop(block=False, hard_stop=True)

    def _revive(self) -> None:
        if not self._manager.is_running():
            for row in self._rows.values():
                if row.count and not row.done:
                    row.fail(self._explained(RuntimeError("its loop ended")))
            self._manager.start()

    def _fail_rest(self, error: Exception) -> None:
        with self._lock:
            rows = list(self._rows.values())
        for row in rows:
            if not row.done:
                row.fail(error)


class Chooser:
    """Stands where the manager has its logits processors, with what it calls of them."""

    do_processing = True
    tensors_required = 0

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.rows: list[Row | Probe | None] = []

    def fill_defaults(self, _: Any) -> None:
        """No tensors, no defaults."""

    def check_kwargs(self, _: Any) -> None:
        """Nothing is given per request: rows have it all."""

    def prepare_tensor_args(self, requests_in_batch: Sequence[Any], arg_storage: Any) -> Any:
        """Before a pass: who is in it, with how many tokens each, and who gets a new one."""
        rows = [(self.batcher.row(request.state.request_id), request) for request in requests_in_batch]
        self.batcher.adapters.mark([(row.adapter if row else 0, request.query_length) for row, request in rows])
        self.rows = [row for row, request in rows if request.has_new_token]
        return arg_storage

    def __call__(self, _: Any, scores: Any, __: Any) -> Any:
        self.batcher.chosen(scores[: len(self.rows)], self.rows)
        return scores


class Endings:
    """Stands where the manager has its output router. Answers went out already; only failures are news."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher

    def deliver(self, output: Any) -> None:
        self.batcher.ended(output.request_id, None if output.error is None else RuntimeError(output.error))

    def deliver_batch(self, outputs: Sequence[Any]) -> None:
        for output in outputs:
            self.deliver(output)

    def fail_and_deliver(self, state: Any, error: Exception) -> None:
        self.batcher.ended(state.request_id, error)


@contextmanager
def quiet() -> Iterator[None]:
    """The manager tells of each error with its traceback; while it is only tried out, an error is an answer."""
    logger = logging.getLogger("ContinuousBatchingLogger")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def keep_apart(cache: Any, adapter_of: Any) -> None:
    """Prompts share pages by their tokens; with different adapters the same tokens make different keys and values. So
    each adapter's first tokens count as tokens of their own."""
    search = cache.search_prefix_match

    def search_prefix_match(request_id: str, prompt_ids: list[int]) -> int:
        return int(search(request_id, told_apart(prompt_ids, adapter_of(request_id))))

    cache.search_prefix_match = search_prefix_match
    for allocator in cache.cache_allocators.values():
        _keep_blocks_apart(allocator, adapter_of)


def _keep_blocks_apart(allocator: Any, adapter_of: Any) -> None:
    mark = allocator.mark_complete_blocks

    def mark_complete_blocks(request_id: str, token_ids: list[int], new_blocks: int) -> None:
        mark(request_id, told_apart(token_ids, adapter_of(request_id)), new_blocks)

    allocator.mark_complete_blocks = mark_complete_blocks


def told_apart(ids: list[int], adapter: int) -> list[int]:
    """The ids with the adapter's number written into the first ones, where no base model's ids can be: they are hashed
    as 32-bit numbers, and no vocabulary has 2**20 tokens."""
    if not adapter:
        return ids
    low, high = adapter & 0x7FF, adapter >> 11 & 0x7FF
    return [-1 - ids[0], *(one | part << 20 for one, part in zip(ids[1:3], (low, high), strict=False)), *ids[3:]]
