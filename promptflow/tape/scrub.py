"""Secrets taken out of what is written, wherever they turn up: of connections, of headers, of the environment."""

from __future__ import annotations

import json
import re
import threading
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

MASK = "******"
LONG = 8  # shorter ones would take words out of texts: they only count where a value of a request is exactly that
_MANY = 100_000  # characters of a stream's text that are looked at as one


class Scrubber:
    """``value(x)`` is ``x`` without the secrets it was told of, in any of the spellings that requests give them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._long: dict[str, None] = {}
        self._short: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()
        self.add(secrets)

    @property
    def secrets(self) -> list[str]:
        return [*self._long, *self._short]

    def add(self, secrets: Iterable[Any]) -> None:
        new = [s for s in map(_text, secrets) if s and s.strip("*") and s not in self._long and s not in self._short]
        if new:
            with self._lock:
                self._learn(new)

    def _learn(self, new: list[str]) -> None:
        self._short.update(s for s in new if len(s) < LONG)
        self._long.update(dict.fromkeys(s for s in new if len(s) >= LONG))
        spellings = {spelled for secret in self._long for spelled in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern is not None else text

    def value(self, value: Any, *, exact: bool = False) -> Any:
        """The same JSON without secrets. ``exact``: without strings that are a short one, too."""
        if isinstance(value, str):
            return MASK if exact and value in self._short else self.text(value)
        if isinstance(value, list):
            return [self.value(item, exact=exact) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(item, exact=exact) for key, item in value.items()}
        return value

    def events(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A streamed answer without secrets, those included that are spread over several pieces."""
        clean = [self.value(event) for event in events]
        pieces = [piece for event in clean for piece in _pieces(event)]
        whole = "".join(holder[key] for holder, key in pieces)
        if self._pattern is not None and len(whole) <= _MANY and self._pattern.search(whole):
            for holder, key in pieces:
                holder[key] = ""
            holder, key = pieces[0]
            holder[key] = self.text(whole)
        return clean


def secret_variables(environment: Mapping[str, str]) -> list[str]:
    """The values of variables whose names say that they are secret."""
    named = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PWD|CREDENTIALS?)$", re.I)
    return [value for name, value in environment.items() if named.search(name) and len(value) >= LONG]


def _text(secret: Any) -> str:
    return secret if isinstance(secret, str) else ""


def _spellings(secret: str) -> set[str]:
    """As it is, in JSON inside a text, in a URL, in base64."""
    in_json = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    return {secret, *in_json, quote(secret, safe=""), b64encode(secret.encode()).decode()}


def _pieces(event: Any) -> Iterable[tuple[dict[str, Any], str]]:
    """The places of an event that hold a piece of the answer's text."""
    choices = event.get("choices") if isinstance(event, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            delta = choice.get("delta")
            holder, key = (delta, "content") if isinstance(delta, dict) else (choice, "text")
            if isinstance(holder.get(key), str):
                yield holder, key
