"""`Engine`: what runs a model. The nouns here are all that a server needs to know of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptflow.exceptions import UserErrorException


class PromptTooLongError(UserErrorException):
    """The prompt does not fit the model's context."""


class EngineClosedError(UserErrorException):
    """The engine is not loaded, or was unloaded while it worked."""

    http_status = 503


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens. ``None`` leaves a choice to the model's own defaults."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None  # how many alternatives to report beside each token; None: no logprobs at all
    json: bool = False  # the answer is to be one JSON object


@dataclass(frozen=True)
class Request:
    """Either a chat (``messages``: role and content, text only) or a plain ``prompt``."""

    messages: Sequence[Mapping[str, Any]] | None = None
    prompt: str = ""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class TokenLogprob:
    """A chosen token, and the likeliest ones at its place."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """A bit of an answer. The counts run up; ``finish`` ("stop" or "length") is set on the last piece only."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()


class Engine(ABC):
    """Runs one model. ``load`` and ``unload`` block; ``generate`` may be called many times at once."""

    def __init__(self, model: str) -> None:
        self.model = model

    def load(self) -> None:  # noqa: B027 - nothing to do for many engines
        """Make ready to generate."""

    @abstractmethod
    def generate(self, request: Request) -> AsyncIterator[Piece]:
        """The answer, piece by piece. A caller that stops reading stops the work."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector per text, where the model can."""
        raise UserErrorException(f"The model '{self.model}' makes no embeddings.")

    def unload(self) -> None:  # noqa: B027
        """Give back threads and memory; requests in the works fail with EngineClosedError."""
