"""Choosing the next token of one row from its logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promptflow.workspace.optional import need
from serve.engines.base import EngineFailedError

np = need("numpy", extra="cpu")

BLOCK = 512
HEAD = 256  # the likeliest tokens that are looked at first; sorting a whole vocabulary takes ten times as long


@dataclass(frozen=True)
class Choice:
    """How one row's tokens are chosen, with the model's own defaults filled in. The greedy choice at temperature 0."""

    temperature: float
    top_p: float = 1.0
    top_k: int = 0
    logprobs: int | None = None


@dataclass(frozen=True)
class Picked:
    """A token, with log probabilities where they were asked for (those of the model, before temperature)."""

    token: int
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()


def pick(logits: Any, choice: Choice, random: Any, allowed: Any = None) -> Picked:
    """``logits``: float32 [vocabulary], the model's own; ``allowed``: the same after biases and masks, if there are."""
    scores = logits if allowed is None else allowed
    if not np.isfinite(scores.max()):
        raise EngineFailedError("The model gave no numbers to choose a token by (its dtype may be too narrow for it).")
    if choice.temperature <= 0:
        token = int(scores.argmax())
    else:
        token = draw(scores / np.float32(choice.temperature), choice.top_p, choice.top_k, random)
    if choice.logprobs is None:
        return Picked(token)
    surprise = log_softmax(logits)
    best = head(surprise, choice.logprobs) if choice.logprobs else ()
    return Picked(token, float(surprise[token]), tuple((int(one), float(surprise[one])) for one in best))


def draw(logits: Any, top_p: float, top_k: int, random: Any) -> int:
    """One token by chance: out of the ``top_k`` likeliest, and of those whose probabilities reach ``top_p``."""
    chances = np.exp(logits - logits.max())
    place = random.random()
    if top_k <= 0 and top_p >= 1:
        return _anywhere(chances, place)
    order = head(chances, top_k or HEAD)
    reached = np.cumsum(chances[order], dtype=np.float64)
    whole = reached[-1] if top_k else chances.sum(dtype=np.float64)
    if reached[-1] < top_p * whole:
        order = np.argsort(-chances)  # not stable: several times faster on a large vocabulary
        reached = np.cumsum(chances[order], dtype=np.float64)
    count = int(np.searchsorted(reached, top_p * whole)) + 1
    return int(order[_at(reached[:count], place)])


def _anywhere(chances: Any, place: float) -> int:
    """A token out of all: first its block, then its place in there. One running sum of all takes ten times as long."""
    starts = np.arange(0, len(chances), BLOCK)
    sums = np.cumsum(np.add.reduceat(chances, starts), dtype=np.float64)
    block = _at(sums, place)
    before = sums[block - 1] if block else 0.0
    inside = np.cumsum(chances[starts[block] : starts[block] + BLOCK], dtype=np.float64)
    return int(starts[block]) + min(
        int(np.searchsorted(inside, place * sums[-1] - before, side="right")), len(inside) - 1
    )


def _at(reached: Any, place: float) -> int:
    return min(int(np.searchsorted(reached, place * reached[-1], side="right")), len(reached) - 1)


def head(values: Any, count: int) -> Any:
    """Places of the ``count`` largest values, the largest first."""
    if count >= len(values):
        return np.argsort(-values, kind="stable")
    some = np.argpartition(-values, count - 1)[:count]
    return some[np.argsort(-values[some], kind="stable")]


def weighed(logits: Any, bias: Mapping[int, float], said: Mapping[int, int], frequency: float, presence: float) -> Any:
    """A copy of ``logits`` with biases added and what was said already made less likely."""
    result = logits.copy()
    if bias:
        result[list(bias)] += np.fromiter(bias.values(), np.float32, len(bias))
    if said and (frequency or presence):
        counts = np.fromiter(said.values(), np.float32, len(said))
        result[list(said)] -= frequency * counts + presence
    return result


def log_softmax(logits: Any) -> Any:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
