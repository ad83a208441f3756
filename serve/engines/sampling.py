"""Choosing the next token of one row from its logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptflow.workspace.optional import need
from serve.engines.base import Sampling

np = need("numpy", extra="cpu")


@dataclass(frozen=True)
class Picked:
    """A token, with log probabilities where they were asked for (those of the model, before temperature)."""

    token: int
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()


def pick(logits: Any, sampling: Sampling, temperature: float, random: Any) -> Picked:
    """``logits``: float32 [vocabulary]; the greedy choice at temperature 0."""
    token = int(logits.argmax()) if temperature <= 0 else draw(logits / temperature, sampling.top_p or 1.0, random)
    if sampling.logprobs is None:
        return Picked(token)
    scores = log_softmax(logits)
    best = np.argsort(-scores, kind="stable")[: sampling.logprobs]
    return Picked(token, float(scores[token]), tuple((int(one), float(scores[one])) for one in best))


def draw(logits: Any, top_p: float, random: Any) -> int:
    """One token by chance, out of the likeliest whose probabilities reach ``top_p``."""
    chances = np.exp(log_softmax(logits).astype(np.float64))
    order = np.argsort(-chances, kind="stable")
    reached = np.cumsum(chances[order])
    count = int(np.searchsorted(reached, top_p * reached[-1])) + 1
    reached = reached[:count]
    return int(order[min(int(np.searchsorted(reached, random.random() * reached[-1], side="right")), len(reached) - 1)])


def log_softmax(logits: Any) -> Any:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
