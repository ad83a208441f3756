"""Rows that decode together. New rows join between two steps, finished ones leave; nobody waits for the others.

Caches are padded on the left, so that the newest token of every row stands at the right edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptflow.workspace.optional import need

np = need("numpy", extra="cpu")

Array = Any


@dataclass(frozen=True)
class Batch:
    """``mask`` is [rows, length], 1 where a row has a token; ``cache`` holds [rows, heads, length, size] arrays."""

    mask: Array
    cache: list[Array]

    @property
    def rows(self) -> int:
        return int(self.mask.shape[0])

    @property
    def length(self) -> int:
        return int(self.mask.shape[1])


def pad_prompts(prompts: list[list[int]]) -> tuple[Array, Array]:
    """Ids and mask of prompts of different lengths, padded on the left."""
    longest = max(len(prompt) for prompt in prompts)
    ids = np.zeros((len(prompts), longest), np.int64)
    mask = np.zeros((len(prompts), longest), np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    return ids, mask


def join(first: Batch, second: Batch) -> Batch:
    """One batch of the rows of both, first come first."""
    length = max(first.length, second.length)
    one, two = widen(first, length), widen(second, length)
    cache = [np.concatenate(pair) for pair in zip(one.cache, two.cache, strict=True)]
    return Batch(np.concatenate((one.mask, two.mask)), cache)


def widen(batch: Batch, length: int) -> Batch:
    extra = length - batch.length
    if extra == 0:
        return batch
    cache = [np.pad(value, ((0, 0), (0, 0), (extra, 0), (0, 0))) for value in batch.cache]
    return Batch(np.pad(batch.mask, ((0, 0), (extra, 0))), cache)


def keep(batch: Batch, rows: list[int]) -> Batch:
    """Only these rows, cut to the longest of them."""
    mask = batch.mask[rows]
    used = mask.any(axis=0)
    start = int(used.argmax()) if used.any() else batch.length
    return Batch(mask[:, start:], [np.ascontiguousarray(value[rows, :, start:]) for value in batch.cache])


def extend(batch: Batch) -> Array:
    """The mask with room for one more token in every row."""
    return np.pad(batch.mask, ((0, 0), (0, 1)), constant_values=1)
