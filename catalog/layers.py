"""What one layer of a decoder keeps of a sequence while it is being answered: its cache, by kind of layer."""

from __future__ import annotations

from dataclasses import dataclass

PAGE = 16  # tokens; vLLM hands out its cache in blocks of so many


@dataclass(frozen=True)
class Attention:
    """Keeps a key and a value per token and key head, of ``key`` and ``value`` numbers.

    With a ``window`` (tokens; 0: none) older tokens are forgotten. Grouped queries: https://arxiv.org/abs/2305.13245;
    sliding windows: https://arxiv.org/abs/2310.06825.
    """

    heads: int
    key: int
    value: int
    window: int = 0

    @property
    def per_token(self) -> int:
        return self.heads * (self.key + self.value)

    def numbers(self, tokens: int, ahead: int) -> int:
        """How many numbers are kept of ``tokens``, when prompts are read ``ahead`` tokens at a time.

        A window is not cut before a portion of the prompt was read, so that it holds both; as vLLM's
        SlidingWindowSpec counts.
        """
        kept = tokens if not self.window else min(tokens, self.window + ahead)
        return pages(kept + (PAGE if self.window else 0)) * self.per_token


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention: all heads share one vector of ``rank`` and one of ``rope`` numbers per token.

    https://arxiv.org/abs/2405.04434, section 2.1. An engine that unfolds it keeps ``heads`` keys of ``key`` and values
    of ``value`` numbers instead. ``index`` is the key of a sparse indexer (DeepSeek 3.2), 0 where there is none.
    """

    rank: int
    rope: int
    heads: int
    key: int
    value: int
    index: int = 0

    @property
    def per_token(self) -> int:
        return self.rank + self.rope + self.index

    def numbers(self, tokens: int, ahead: int) -> int:
        return pages(tokens) * self.per_token

    @property
    def unfolded(self) -> Attention:
        return Attention(self.heads, self.key, self.value)


@dataclass(frozen=True)
class State:
    """State-space and linear attention: a state of fixed size per sequence, however long it is.

    ``conv`` numbers are the last inputs of a short convolution, in the model's type; ``state`` numbers are the
    recurrent state, kept in float32. Mamba: https://arxiv.org/abs/2312.00752; Mamba 2: https://arxiv.org/abs/2405.21060;
    gated delta rule: https://arxiv.org/abs/2412.06464.
    """

    conv: int
    state: int


Layer = Attention | Latent | State


def pages(tokens: int) -> int:
    """Rounded up to whole pages."""
    return -(-tokens // PAGE) * PAGE
