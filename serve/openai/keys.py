"""API keys, and what each may ask per minute."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from promptflow.exceptions import ValidationException
from serve.openai.errors import ApiError


@dataclass(frozen=True)
class Limit:
    """What one key may use; 0 is no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrent: int = 0


@dataclass(frozen=True)
class Key:
    """``digest`` is the key's sha256: nothing here can be asked with if it leaks."""

    name: str
    digest: bytes
    limit: Limit = Limit()

    @classmethod
    def of(cls, name: str, secret: str, limit: Limit = Limit()) -> Key:  # noqa: B008 - frozen
        return cls(name, hashlib.sha256(secret.encode()).digest(), limit)


class Bucket:
    """Holds a minute's worth of something and fills up evenly. It may be overdrawn; then nothing goes until it is
    filled above zero again."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self.size, self.clock = float(per_minute), clock
        self.level, self.at = self.size, clock()

    def left(self) -> float:
        now = self.clock()
        self.level = min(self.size, self.level + (now - self.at) * self.size / 60)
        self.at = now
        return self.level

    def take(self, amount: float) -> None:
        self.level = self.left() - amount

    def wait(self, amount: float) -> float:
        """Seconds until ``amount`` is there; 0 if it is now."""
        return max(0.0, amount - self.left()) * 60 / self.size


class Account:
    """What a key has used of its limit."""

    def __init__(self, key: Key, clock: Callable[[], float] = time.monotonic) -> None:
        self.key = key
        limit = key.limit
        self.requests = Bucket(limit.requests_per_minute, clock) if limit.requests_per_minute else None
        self.tokens = Bucket(limit.tokens_per_minute, clock) if limit.tokens_per_minute else None
        self.running = 0

    def begin(self) -> None:
        """Counts one request; ApiError 429 says when to come again."""
        limit = self.key.limit
        if limit.concurrent and self.running >= limit.concurrent:
            raise self._refusal(f"{limit.concurrent} at once", "concurrent_requests", 1.0)
        if self.requests is not None and (wait := self.requests.wait(1)) > 0:
            raise self._refusal(f"{limit.requests_per_minute} requests per minute", "requests", wait)
        if self.tokens is not None and (wait := self.tokens.wait(1)) > 0:
            raise self._refusal(f"{limit.tokens_per_minute} tokens per minute", "tokens", wait)
        if self.requests is not None:
            self.requests.take(1)
        self.running += 1

    def end(self, tokens: int) -> None:
        self.running -= 1
        if self.tokens is not None and tokens:
            self.tokens.take(tokens)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What is left, as OpenAI tells it."""
        told = []
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None:
                told.append((f"x-ratelimit-limit-{name}".encode(), b"%d" % bucket.size))
                told.append((f"x-ratelimit-remaining-{name}".encode(), b"%d" % max(0, bucket.left())))
        return told

    def _refusal(self, limit: str, kind: str, wait: float) -> ApiError:
        return ApiError(
            429,
            f"The key '{self.key.name}' may use {limit}; come again in {wait:.1f} s.",
            kind=kind,
            code="rate_limit_exceeded",
            headers={"retry-after": str(int(wait) + 1), "retry-after-ms": str(int(wait * 1000) + 1)},
        )


class Keys:
    """Who may ask. Without any key everybody may, within ``open_limit`` for all together."""

    def __init__(self, keys: Iterable[Key] = (), open_limit: Limit = Limit()) -> None:  # noqa: B008 - frozen
        self.accounts = [Account(key) for key in keys]
        self.everybody = Account(Key("", b"", open_limit))

    def find(self, headers: Sequence[tuple[bytes, bytes]]) -> Account | None:
        """The account of the key in a request's headers. All keys are compared, each in constant time."""
        if not self.accounts:
            return self.everybody
        digest = hashlib.sha256(given_key(headers)).digest()
        found = None
        for account in self.accounts:
            if hmac.compare_digest(digest, account.key.digest):
                found = account
        return found


def given_key(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """``Authorization: Bearer KEY``, else ``api-key: KEY``."""
    found = dict(headers)
    bearer = found.get(b"authorization", b"")
    return bearer[7:].strip() if bearer[:7].lower() == b"bearer " else found.get(b"api-key", b"")


def read_keys(file: Path, default: Limit = Limit()) -> list[Key]:  # noqa: B008 - frozen
    """The keys of a YAML file: a list of ``name``, ``key`` (or ``sha256`` of it, in hex) and limits of its own."""
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValidationException(f"The file of keys {file} cannot be read: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ValidationException(f"{file} holds no list of keys.", hint="- {name: team, key: sk-...}")
    keys = [_read_key(entry, f"{file}[{at}]", default) for at, entry in enumerate(entries)]
    names = [key.name for key in keys]
    if len({*names}) < len(names) or len({key.digest for key in keys}) < len(keys):
        raise ValidationException(f"{file} names a key twice.")
    return keys


def _read_key(entry: Any, where: str, default: Limit) -> Key:
    limits = {field.name for field in fields(Limit)}
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise ValidationException("A key has no name.", location=where)
    if unknown := {str(name) for name in entry} - limits - {"name", "key", "sha256"}:
        raise ValidationException(f"A key has no field {', '.join(sorted(unknown))}.", location=where)
    given = {name: entry.get(name, getattr(default, name)) for name in limits}
    if wrong := [name for name, value in given.items() if type(value) is not int or value < 0]:
        raise ValidationException(f"{wrong[0]} is a whole number, not {given[wrong[0]]!r}.", location=where)
    secret, digest = entry.get("key"), entry.get("sha256")
    if isinstance(secret, str) and len(secret) >= 8 and digest is None:
        return Key.of(entry["name"], secret, Limit(**given))
    try:
        binary = bytes.fromhex(digest) if isinstance(digest, str) and secret is None else b""
    except ValueError:
        binary = b""
    if len(binary) != 32:
        raise ValidationException(
            "A key needs either 'key', of 8 characters or more, or 'sha256', 64 hex digits.", location=where
        )
    return Key(entry["name"], binary, Limit(**given))
