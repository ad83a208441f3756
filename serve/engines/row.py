"""One request inside the engine: what it may still say, and what it has said."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from promptflow.workspace.optional import need
from serve.engines.base import Piece, Sampling, TokenLogprob
from serve.engines.sampling import Picked, pick
from serve.engines.text import JsonWatch, Speaker, StopWatch

np = need("numpy", extra="cpu")

SPACE_MARKS = "\u0120\u2581\u010a "  # how byte-level and sentencepiece vocabularies write a space or a new line


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer, the tokens that end an answer, and those that can begin a JSON object."""

    tokenizer: Any
    ends: frozenset[int]
    specials: tuple[str, ...]
    openers: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Any, config: dict[str, Any], generation: dict[str, Any]) -> Vocabulary:
        ends = generation.get("eos_token_id", config.get("eos_token_id"))
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        specials = (token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)
        openers = (number for token, number in vocabulary.items() if token.lstrip(SPACE_MARKS).startswith("{"))
        return cls(
            tokenizer,
            frozenset([ends] if isinstance(ends, int) else ends or ()),
            tuple(specials),
            tuple(sorted(openers)),
        )

    def encode(self, text: str, with_specials: bool) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=with_specials).ids)


class Row:
    """``take`` chooses the next token from its logits; ``said`` is the piece that came of it."""

    def __init__(
        self,
        prompt: list[int],
        sampling: Sampling,
        limit: int,
        temperature: float,
        vocabulary: Vocabulary,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.prompt, self.sampling, self.limit, self.temperature = prompt, sampling, limit, temperature
        self.vocabulary, self.loop = vocabulary, loop
        self.outbox: asyncio.Queue[Piece | BaseException] = asyncio.Queue()
        self.cancelled = False
        self.finish = ""
        self.last = 0
        self.count = 0
        self._random = np.random.default_rng(sampling.seed)
        self._speaker = Speaker(vocabulary.tokenizer)
        self._stops = StopWatch(sampling.stop)
        self._json = JsonWatch() if sampling.json else None
        self._piece: Piece | None = None

    @property
    def done(self) -> bool:
        return bool(self.finish) or self.cancelled

    def take(self, logits: Any) -> None:
        if self.limit <= 0:
            self.finish = "length"
            self._piece = self._made("", None)
            return
        if self._json is not None:
            logits = self._allowed(logits)
        picked = pick(logits, self.sampling, self.temperature, self._random)
        self.last = picked.token
        self.count += 1
        text = ""
        if picked.token in self.vocabulary.ends:
            self.finish = "stop"
        else:
            text = self._stops.push(self._within_json(self._speaker.push(picked.token)))
            if self._stops.stopped or (self._json and self._json.complete):
                self.finish = "stop"
            elif self.count >= self.limit:
                self.finish = "length"
        if self.finish and not self._stops.stopped:
            text += self._stops.rest()
        self._piece = self._made(text, picked)

    def said(self) -> Piece | None:
        piece, self._piece = self._piece, None
        return piece

    def fail(self, error: BaseException) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self.outbox.put_nowait, error)

    def _made(self, text: str, picked: Picked | None) -> Piece:
        logprobs = () if picked is None or self.sampling.logprobs is None else (self._named(picked),)
        return Piece(text, len(self.prompt), self.count, self.finish, logprobs)

    def _named(self, picked: Picked) -> TokenLogprob:
        top = tuple((self._token(token), logprob) for token, logprob in picked.top)
        return TokenLogprob(self._token(picked.token), picked.logprob, top)

    def _token(self, number: int) -> str:
        return str(self.vocabulary.tokenizer.decode([number], skip_special_tokens=False))

    def _allowed(self, logits: Any) -> Any:
        """An object opens with a brace and is not over before it is closed."""
        allowed = logits.copy()
        openers = list(self.vocabulary.openers)
        if self.count == 0 and openers:
            allowed[:] = -np.inf
            allowed[openers] = logits[openers]
        else:
            allowed[list(self.vocabulary.ends)] = -np.inf
        return allowed

    def _within_json(self, text: str) -> str:
        return text[: self._json.push(text)] if self._json else text
