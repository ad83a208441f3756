"""`Engine`: what runs a model. The nouns here are all that a server needs to know of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.exceptions import UserErrorException


class PromptTooLongError(UserErrorException):
    """The prompt does not fit the model's context."""


class AdapterNotFoundError(UserErrorException):
    """The engine has no adapter of that name."""

    http_status = 404


class UnsupportedError(UserErrorException):
    """The model, or the engine that runs it, cannot do what was asked."""


class EngineClosedError(UserErrorException):
    """The engine is not loaded, or was unloaded while it worked."""

    http_status = 503


class EngineFailedError(UserErrorException):
    """The engine died, or gave up in the middle of an answer."""

    http_status = 502


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens. ``None`` leaves a choice to the model's own defaults."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None  # how many alternatives to report beside each token; None: no logprobs at all
    json: bool = False  # the answer is to be one JSON object
    json_schema: Mapping[str, Any] | None = None  # the answer is to be one JSON value of this schema
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # token id → what is added to its logit
    frequency_penalty: float = 0.0  # taken off a token's logit for each time it was said
    presence_penalty: float = 0.0  # taken off once it was said at all


@dataclass(frozen=True)
class Request:
    """Either a chat (``messages``) or a plain ``prompt`` (text or token ids).

    Messages are OpenAI's: role, content (text or a list of parts), tool_calls, tool_call_id. ``tools`` are OpenAI's
    function tools; ``tool_choice`` is "auto", "none", "required" or the name of a function. ``adapter`` names a loaded
    LoRA adapter; empty means the base model.
    """

    messages: Sequence[Mapping[str, Any]] | None = None
    prompt: str | Sequence[int] = ""
    sampling: Sampling = field(default_factory=Sampling)
    adapter: str = ""
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True


@dataclass(frozen=True)
class TokenLogprob:
    """A chosen token, and the likeliest ones at its place."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class ToolCall:
    """A whole call that the model made; ``arguments`` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Piece:
    """A bit of an answer. The counts run up; ``finish`` is set on the last piece only: "stop", "length", or
    "tool_calls" when there were any. A tool call comes whole, in one piece, and is not part of the text."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Vectors:
    """One vector per text, and how many tokens the texts had together."""

    vectors: list[list[float]]
    prompt_tokens: int


@dataclass(frozen=True)
class Scores:
    """How well each document answers the query, as the model scores it: higher is better; in the documents' order."""

    scores: list[float]
    prompt_tokens: int


@dataclass(frozen=True)
class Stats:
    """What an engine does now, and what it did since it was loaded. Bytes are 0 where the engine cannot tell."""

    running: int = 0
    waiting: int = 0
    finished: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    weights_bytes: int = 0
    cache_bytes: int = 0  # what is set aside for the KV cache
    cache_used: float = 0.0  # the share of it that holds tokens now, 0 to 1
    device: str = ""
    dtype: str = ""


class Engine(ABC):
    """Runs one model. ``load``, ``unload`` and the adapters' block; the others may be called many times at once."""

    context = 0  # tokens that a prompt and its answer may have together; 0: not known
    tasks: frozenset[str] = frozenset({"generate"})  # of "generate", "embed", "rerank"; known once loaded
    inputs: frozenset[str] = frozenset({"text"})  # kinds of message parts that it reads: "text", "image"
    most_adapters = 0  # that may be loaded at once; 0: no limit

    def __init__(self, model: str) -> None:
        self.model = model

    def load(self) -> None:  # noqa: B027 - nothing to do for many engines
        """Make ready to generate."""

    def expect(self, adapters: Sequence[Path]) -> None:  # noqa: B027
        """Told before `load`: adapters that requests will ask for. An engine that sets room aside for them does."""

    @abstractmethod
    def generate(self, request: Request) -> AsyncIterator[Piece]:
        """The answer, piece by piece. A caller that stops reading stops the work."""

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        """One vector per text (or list of token ids), where the model can."""
        raise UnsupportedError(f"The model '{self.model}' makes no embeddings.")

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """How well each document answers the query, where the model can."""
        raise UnsupportedError(f"The model '{self.model}' does not rank documents.")

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the LoRA adapters that requests may ask for now."""
        return ()

    def load_adapter(self, name: str, folder: Path) -> None:
        """Make a LoRA adapter (PEFT's folder) ready under ``name``; one that has the name already is replaced once
        the requests that use it are done."""
        raise UnsupportedError(f"The engine of '{self.model}' takes no adapters.")

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter, once the requests that use it are done; new ones are refused at once."""
        raise AdapterNotFoundError(f"The model '{self.model}' has no adapter '{name}'.")

    def stats(self) -> Stats:
        return Stats()

    def sleep(self) -> bool:
        """While nobody uses it: give back the device's memory so that `wake` is quicker than another `load`. False
        where that cannot be done; then it is as it was."""
        return False

    def wake(self) -> None:
        """Be as before `sleep`. After an error it has to be unloaded."""
        raise EngineClosedError(f"The model '{self.model}' does not sleep.")

    def unload(self) -> None:  # noqa: B027
        """Give back threads and memory; requests in the works fail with EngineClosedError."""
