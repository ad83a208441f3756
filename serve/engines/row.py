"""One request inside the engine: what it may still say, and what it has said."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from promptflow.workspace.optional import need
from serve.engines.base import Piece, Sampling, TokenLogprob, ToolCall
from serve.engines.guide import Guide
from serve.engines.sampling import Choice, Picked, pick, weighed
from serve.engines.text import Speaker, StopWatch
from serve.engines.tool_calls import ToolWatch

np = need("numpy", extra="cpu")


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer (of the tokenizers library), the tokens that end an answer, and the special ones."""

    tokenizer: Any
    ends: frozenset[int]
    specials: tuple[str, ...]

    @classmethod
    def of(cls, tokenizer: Any, config: dict[str, Any], generation: dict[str, Any]) -> Vocabulary:
        ends = generation.get("eos_token_id", config.get("eos_token_id"))
        specials = (token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)
        return cls(tokenizer, frozenset([ends] if isinstance(ends, int) else ends or ()), tuple(specials))

    def encode(self, text: str, with_specials: bool) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=with_specials).ids)


class Row:
    """``take`` chooses the next token from its logits; ``said`` is the piece that came of it.

    ``adapter`` is the number of the LoRA adapter that it runs with, 0 for none; ``inputs`` are tensors that the model
    gets beside the tokens, of images say.
    """

    def __init__(
        self,
        prompt: list[int],
        sampling: Sampling,
        limit: int,
        choice: Choice,
        vocabulary: Vocabulary,
        loop: asyncio.AbstractEventLoop,
        guide: Guide | None = None,
        tools: ToolWatch | None = None,
        one_call: bool = False,
    ) -> None:
        self.prompt, self.sampling, self.limit, self.choice = prompt, sampling, limit, choice
        self.vocabulary, self.loop, self.guide, self.tools, self.one_call = vocabulary, loop, guide, tools, one_call
        self.outbox: asyncio.Queue[Piece | BaseException] = asyncio.Queue()
        self.adapter = 0
        self.inputs: dict[str, Any] = {}
        self.cancelled = self.failed = False
        self.finish = ""
        self.last = 0
        self.count = 0
        self._random = np.random.default_rng(sampling.seed)
        self._speaker = Speaker(vocabulary.tokenizer, tools.form.opener if tools else "")
        self._stops = StopWatch(sampling.stop)
        self._said: Counter[int] = Counter()
        self._weighs = bool(sampling.logit_bias or sampling.frequency_penalty or sampling.presence_penalty)
        # Whether its tokens are simply the likeliest ones, which an engine may find for many rows in one go.
        self.plain = choice.temperature <= 0 and choice.logprobs is None and guide is None and not self._weighs
        self._piece: Piece | None = None

    @property
    def done(self) -> bool:
        return bool(self.finish) or self.cancelled or self.failed

    def advance(self, logits: Any) -> None:
        """`take`; an error of its own, of its grammar say, ends this row alone."""
        try:
            self.take(logits)
        except Exception as error:
            self.fail(error)

    def take(self, logits: Any) -> None:
        """Choose from the ``logits`` (float32 [vocabulary]) that the model made of all so far."""
        allowed = None
        if self._weighs:
            penalties = self.sampling.frequency_penalty, self.sampling.presence_penalty
            allowed = weighed(logits, self.sampling.logit_bias, self._said, *penalties)
        if self.guide is not None:
            allowed = self.guide.allow(logits if allowed is None else allowed)
        self.accept(pick(logits, self.choice, self._random, allowed))

    def accept(self, picked: Picked) -> None:
        """Go on with this token."""
        self.last = picked.token
        self.count += 1
        if self._weighs:
            self._said[picked.token] += 1
        if self.guide is not None:
            self.guide.take(picked.token)
        text, calls = "", tuple[ToolCall, ...]()
        if picked.token in self.vocabulary.ends:
            self.finish = "stop"
        else:
            text, calls = self._heard(self._stops.push(self._speaker.push(picked.token)))
            if self._stops.stopped or (self.guide is not None and self.guide.complete) or (calls and self.one_call):
                self.finish = "stop"
            elif self.count >= self.limit:
                self.finish = "length"
        if self.finish:
            text, calls = self._ending(text, calls)
        logprobs = () if self.choice.logprobs is None else (self._named(picked),)
        self._piece = Piece(text, len(self.prompt), self.count, self.finish, logprobs, calls)

    def said(self) -> Piece | None:
        piece, self._piece = self._piece, None
        return piece

    def fail(self, error: BaseException) -> None:
        """End with an error, which reaches the caller in place of the next piece."""
        self.failed = True
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self.outbox.put_nowait, error)

    def _heard(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        if self.tools is None:
            return text, ()
        shown, calls = self.tools.push(text)
        return shown, calls[:1] if self.one_call else calls

    def _ending(self, text: str, calls: tuple[ToolCall, ...]) -> tuple[str, tuple[ToolCall, ...]]:
        """The last piece, with what was held back; an answer that called a tool ended for that."""
        if not self._stops.stopped:
            shown, more = self._heard(self._stops.rest())
            text, calls = text + shown, calls + more
        if self.tools is not None:
            if not (self.one_call and self.tools.found):
                shown, more = self.tools.rest()
                text, calls = text + shown, calls + more
            if self.tools.found and self.finish == "stop":
                self.finish = "tool_calls"
        return text, calls

    def _named(self, picked: Picked) -> TokenLogprob:
        top = tuple((self._token(token), logprob) for token, logprob in picked.top)
        return TokenLogprob(self._token(picked.token), picked.logprob, top)

    def _token(self, number: int) -> str:
        return str(self.vocabulary.tokenizer.decode([number], skip_special_tokens=False))
