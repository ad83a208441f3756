"""Expiring tokens of an endpoint: signed by its own key, so that whoever checks one asks nobody."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass

SECONDS = 3600
_KEY_BYTES = 32


@dataclass(frozen=True)
class Token:
    """``expires`` and ``refresh_after`` are seconds since 1970."""

    value: str
    expires: int
    refresh_after: int

    def __repr__(self) -> str:
        return f"Token(***, expires={self.expires})"


def new_key() -> str:
    """A key that nobody guesses: of an endpoint's callers, or to sign tokens with."""
    return secrets.token_urlsafe(_KEY_BYTES)


def issue(endpoint: str, signing_key: str, seconds: float = SECONDS, now: float | None = None) -> Token:
    """A token for one endpoint."""
    began = int(time.time() if now is None else now)
    expires = began + int(seconds)
    body = _text(json.dumps({"sub": endpoint, "exp": expires, "jti": secrets.token_hex(8)}).encode())
    return Token(f"{body}.{_signature(body, signing_key)}", expires, began + int(seconds * 2 / 3))


def is_valid(token: str, endpoint: str, signing_key: str, now: float | None = None) -> bool:
    """Whether a token is this endpoint's, and has not expired. It takes as long for any signature."""
    body, _, signature = token.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(body, signing_key).encode()):
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, binascii.Error):
        return False
    return bool(claims["sub"] == endpoint and claims["exp"] > (time.time() if now is None else now))


def _signature(body: str, signing_key: str) -> str:
    return _text(hmac.digest(signing_key.encode(), body.encode("utf-8", "surrogatepass"), hashlib.sha256))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
