"""Guided decoding: which tokens may come next, so that the answer is JSON, fits a schema, or is a call of a tool.

The grammars run in llguidance (no torch; wheels for every Python): compiled in a thread once per schema, copied per
request, a mask over the vocabulary per token.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.base import UnsupportedError

np = need("numpy", extra="cpu")

KEPT = 64  # compiled grammars kept per model
BLANK = r"( |\n {0,24})?"  # between the tokens of JSON: nothing, a space, or a new line and its indentation
_OF_A_SCHEMA = re.compile(r"failed to compile JSON schema: (.+)")


class Guide:
    """One answer's way through a grammar."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher = matcher
        self._mask = np.zeros((size + 31) // 32, np.int32)
        self._size = size

    def allow(self, logits: Any) -> Any:
        """``logits`` ([vocabulary]) with minus infinity where the grammar allows no token; a copy."""
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        if self._matcher.is_error():
            why = str(self._matcher.get_error()).partition("\n")[0]  # what follows is its inner state
            raise ValidationException(f"The schema or grammar cannot be followed to its end: {why}")
        bits = np.unpackbits(self._mask.view(np.uint8), bitorder="little")[: len(logits)]
        allowed = np.full_like(logits, -np.inf)
        shown = np.flatnonzero(bits)
        allowed[shown] = logits[shown]
        return allowed

    def take(self, token: int) -> None:
        self._matcher.consume_token(token)

    @property
    def complete(self) -> bool:
        """Whether the answer is whole and nothing can be added to it."""
        return bool(self._matcher.is_stopped())


class Guides:
    """Makes guides for one vocabulary: ``size`` is the width of the model's logits, ``ends`` the tokens that end it."""

    def __init__(self, tokenizer: Any, size: int, ends: Sequence[int]) -> None:
        self._tokenizer, self._size, self._ends = tokenizer, size, sorted(ends)
        self._trie: Any = None
        self._compiled: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def json_object(self) -> Guide:
        return self.schema({"type": "object"})

    def schema(self, schema: Mapping[str, Any]) -> Guide:
        """Answers are one JSON value of ``schema``; ValidationException for a schema that is none."""
        return self._guide(json.dumps({"grammars": [{"json_schema": spaced(schema)}]}, ensure_ascii=False))

    def lark(self, grammar: str) -> Guide:
        """Answers are of a grammar in llguidance's dialect of Lark."""
        return self._guide(json.dumps({"grammars": [{"lark_grammar": grammar}]}, ensure_ascii=False))

    def _guide(self, grammar: str) -> Guide:
        # Under the lock: two requests with one schema compile it once, and a matcher is not copied while it is made.
        with self._lock:
            matcher = self._compiled.pop(grammar, None) or self._compile(grammar)
            self._compiled[grammar] = matcher
            while len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
            return Guide(matcher.deep_copy(), self._size)

    def _compile(self, grammar: str) -> Any:
        library = need("llguidance", extra="cpu")
        if self._trie is None:
            self._trie = self._make_trie(library)
        matcher = library.LLMatcher(self._trie, grammar, log_level=0)
        if matcher.is_error():
            told = matcher.get_error()
            inner = _OF_A_SCHEMA.search(told)  # of one inside a grammar that is ours
            raise ValidationException(f"The JSON schema cannot be followed: {short(inner[1] if inner else told)}")
        return matcher

    def _make_trie(self, library: Any) -> Any:
        try:
            ends = self._ends or None
            return library.LLTokenizer(self._tokenizer.to_str(), n_vocab=self._size, eos_token=ends)
        except ValueError as error:
            raise UnsupportedError(
                f"This model's tokenizer cannot be guided to JSON: {short(str(error))}",
                hint="leave response_format and tool_choice out, and ask for JSON in the prompt",
            ) from error


def spaced(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with little freedom in white space: small models lose themselves in endless blanks."""
    asked = schema.get("x-guidance")
    return {**schema, "x-guidance": {"whitespace_pattern": BLANK, **(asked if isinstance(asked, dict) else {})}}


def short(text: str) -> str:
    """An error of the library, which draws regular expressions over several lines, as one."""
    return " ".join(text.split())[:300]
