"""Requests that come at the same time, predicted together: as many rows at once as the time that one may take allows.

A batch begins when the one before has ended, with what came meanwhile; nobody waits for a timer. How many rows it may
have grows by one step while batches are full and in time, and shrinks by a part when one was late (AIMD, as in
Clipper, https://www.usenix.org/conference/nsdi17/technical-sessions/presentation/crankshaw).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from serve.scorers.base import LoadError, ModelError
from serve.scorers.inputs import Inputs

SHRINK = 0.9
MOST = 64  # rows of a batch, unless the deployment says
LATENCY = 0.1  # seconds of a batch, unless the deployment says


@dataclass(frozen=True)
class Batching:
    """``max_rows`` at once, in ``latency`` seconds as far as that is up to the number of rows."""

    max_rows: int = MOST
    latency: float = LATENCY

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Batching | None:
        """``batching: {max_size: 64, latency_ms: 100}`` of a deployment's options; None where there is none."""
        told = options.get("batching")
        if not told:
            return None
        given = told if isinstance(told, Mapping) else {}
        size, latency = given.get("max_size", MOST), given.get("latency_ms", LATENCY * 1000)
        if not isinstance(size, int) or size < 1 or not isinstance(latency, int | float) or latency <= 0:
            raise LoadError("'batching' has max_size (rows, at least 1) and latency_ms (more than 0).")
        return cls(size, latency / 1000)


class Cap:
    """How many rows a batch may have now: between 1 and ``most``."""

    def __init__(self, batching: Batching) -> None:
        self.rows, self._most, self._latency = 1, batching.max_rows, batching.latency
        self._step = max(1, batching.max_rows // 16)

    def learn(self, rows: int, seconds: float) -> None:
        """What a batch of so many rows took."""
        if seconds > self._latency:
            self.rows = max(1, min(self.rows, int(rows * SHRINK)))
        elif rows >= self.rows:
            self.rows = min(self._most, self.rows + self._step)


@dataclass
class _Part:
    """Some of the rows of a request."""

    array: np.ndarray
    params: Mapping[str, Any]
    wanted: tuple[str, ...]
    done: asyncio.Future[Any] = field(repr=False)

    def goes_with(self, other: _Part) -> bool:
        alike = self.array.shape[1:] == other.array.shape[1:] and self.array.dtype == other.array.dtype
        return alike and self.params == other.params and self.wanted == other.wanted


class Batcher:
    """``predict`` runs on ``threads``, one batch after the other. Its outputs have as many rows as its input."""

    def __init__(self, predict: Callable[[Inputs], Any], batching: Batching, threads: Executor) -> None:
        self._predict, self._threads, self._most = predict, threads, batching.max_rows
        self.cap = Cap(batching)
        self._line: deque[_Part] = deque()
        self._running: asyncio.Task[None] | None = None

    async def submit(self, array: np.ndarray, inputs: Inputs) -> Any:
        """The outputs for ``array``, which stands for ``inputs``; its first axis are rows."""
        loop = asyncio.get_running_loop()
        chunks = [array[at : at + self._most] for at in range(0, len(array), self._most)] or [array]
        parts = [_Part(chunk, inputs.params, inputs.wanted, loop.create_future()) for chunk in chunks]
        self._line.extend(parts)
        if self._running is None:
            self._running = asyncio.create_task(self._work())
        try:
            return joined([await part.done for part in parts])
        finally:
            for part in parts:
                part.done.cancel()  # who hung up is not waited for

    async def _work(self) -> None:
        try:
            while self._line:
                if batch := self._next():
                    await self._run(batch)
        finally:
            self._running = None

    def _next(self) -> list[_Part]:
        """The first in line, and those after it that go with it, up to the cap."""
        batch: list[_Part] = []
        rows = 0
        while self._line:
            part = self._line[0]
            if part.done.done():
                self._line.popleft()
                continue
            if batch and (rows + len(part.array) > self.cap.rows or not batch[0].goes_with(part)):
                break
            batch.append(self._line.popleft())
            rows += len(part.array)
        return batch

    async def _run(self, batch: Sequence[_Part]) -> None:
        whole = batch[0].array if len(batch) == 1 else np.concatenate([part.array for part in batch])
        inputs = Inputs(None, {"": whole}, batch[0].params, batch[0].wanted)
        begun = perf_counter()
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, self._predict, inputs)
            outputs = split(found, [len(part.array) for part in batch])
        except Exception as error:
            await self._apart(batch, error)
            return
        self.cap.learn(len(whole), perf_counter() - begun)
        for part, output in zip(batch, outputs, strict=True):
            if not part.done.done():
                part.done.set_result(output)

    async def _apart(self, batch: Sequence[_Part], error: Exception) -> None:
        """One request may be what fails: the others of its batch have theirs without it."""
        if len(batch) > 1:
            for part in batch:
                await self._run([part])
        elif not batch[0].done.done():
            batch[0].done.set_exception(error)


def split(outputs: Any, counts: Sequence[int]) -> list[Any]:
    """The outputs of a batch as those of its requests. ModelError if they are not one for each row."""
    if isinstance(outputs, Mapping):
        parts = {name: split(value, counts) for name, value in outputs.items()}
        return [{name: values[at] for name, values in parts.items()} for at in range(len(counts))]
    if len(outputs) != sum(counts):
        raise ModelError(f"The model gave {len(outputs)} outputs for {sum(counts)} rows: it cannot be batched.")
    ends = np.cumsum(counts)
    return [outputs[end - count : end] for end, count in zip(ends, counts, strict=True)]


def joined(outputs: Sequence[Any]) -> Any:
    """The outputs of a request that was cut into parts."""
    first = outputs[0]
    if len(outputs) == 1:
        return first
    if isinstance(first, Mapping):
        return {name: joined([one[name] for one in outputs]) for name in first}
    return [item for one in outputs for item in one] if isinstance(first, list) else np.concatenate(outputs)
