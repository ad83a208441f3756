"""Do the pages of the batching manager hold a model's layers? What it makes of texts there, against plain passes.

Of families with a position bias or a cache of their own, transformers' manager takes some without a word and answers
them wrong (seen with 5.23: Bloom, CodeGen, MPT), and fails with others at the first longer prompt (Falcon, DeepSeek).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from promptflow.workspace.optional import need

np = need("numpy", extra="local")
torch = need("torch", extra="local")

LENGTHS = (5, 37)  # of prompts: less and more than a page
TOKENS = 3
# How far scores may be from those of plain passes, in times their spread: sums in another order round otherwise.
ROUNDING = {"float32": 0.02, "float64": 0.02}
COARSE = 0.3


@dataclass
class Expected:
    """A prompt, the scores of each token that follows it, and how far others may be from them."""

    prompt: list[int]
    bearable: float
    scores: list[Any] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        return [int(one.argmax()) for one in self.scores]


class Probe:
    """Has the face of a `Row`. It goes on with the tokens that are expected, and tells nobody of them."""

    plain = False
    adapter = 0

    def __init__(self, expected: Expected) -> None:
        self.expected, self.prompt, self.limit = expected, expected.prompt, TOKENS
        self.last = self.count = 0
        self.finish = ""
        self.failed = False
        self.error: BaseException | None = None
        self.ended = threading.Event()

    @property
    def done(self) -> bool:
        return self.ended.is_set()

    def advance(self, logits: Any) -> None:
        wanted = self.expected.scores[self.count]
        away = float(np.abs(logits - wanted).max() / wanted.std())
        if not away <= self.expected.bearable:
            return self.fail(ValueError(f"its answers differ by {away:.2f} times their spread"))
        self.last = self.expected.tokens[self.count]
        self.count += 1
        if self.count == self.limit:
            self.finish = "length"
            self.ended.set()

    def fail(self, error: BaseException) -> None:
        self.error, self.failed = error, True
        self.ended.set()


def expectations(model: Any) -> list[Expected]:
    """What the model makes of texts by itself, with all of a text in each pass."""
    words = int(model.get_output_embeddings().weight.shape[0])
    bearable = ROUNDING.get(str(model.dtype).removeprefix("torch."), COARSE)
    prompts = [[3 + at * at * 7 % (words - 3) for at in range(1, length + 1)] for length in LENGTHS]
    return [_followed(model, Expected(prompt, bearable)) for prompt in prompts]


def _followed(model: Any, expected: Expected) -> Expected:
    with torch.inference_mode():
        for _ in range(TOKENS):
            ids = torch.tensor([[*expected.prompt, *expected.tokens]], device=model.device)
            made = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
            expected.scores.append(made.logits[0, -1].float().cpu().numpy())
    return expected
