"""Who may ask an endpoint, and how often."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from serve.endpoints.records import Endpoint, Keys
from serve.endpoints.tokens import is_valid
from serve.gateway.refusals import Refusal
from serve.openai.errors import ApiError
from serve.openai.keys import Account, Key, Limit, given_key

REQUESTS, CONCURRENT = "pf.requests_per_minute", "pf.concurrent_requests"  # properties of an endpoint


class Door:
    """Lets requests in that show a key of the endpoint, or a token that is still good. All keys are compared, each in
    constant time. Accounts of the limits outlive a change of anything else: see :meth:`like`."""

    def __init__(self, endpoint: Endpoint, keys: Keys, signing_key: str) -> None:
        self.endpoint = endpoint.name
        self.takes_tokens = endpoint.takes_tokens
        self.limit = limit_of(endpoint.properties)
        self._signing_key = signing_key
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in (keys.primary, keys.secondary))
        self.accounts = tuple(Account(Key(name, b"", self.limit)) for name in ("primary", "secondary"))

    def like(self, other: Door) -> Door:
        """This door, with what was used of the limits of an earlier one, if they are the same."""
        if other.limit == self.limit:
            self.accounts = other.accounts
        return self

    def enter(self, headers: Sequence[tuple[bytes, bytes]]) -> Account:
        """The account of who asks; Refusal 401 or 429. ``end`` is to be called on it."""
        account = self._known(given_key(headers))
        try:
            account.begin()
        except ApiError as error:
            told = {name.encode(): value.encode() for name, value in error.headers.items()}
            raise Refusal(429, "TooManyRequests", error.message, told) from None
        return account

    def opens_to(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether a request shows what opens this door; it is not counted."""
        try:
            self._known(given_key(headers))
        except Refusal:
            return False
        return True

    def _known(self, given: bytes) -> Account:
        if not given:
            raise Refusal(401, "Unauthorized", f"A request to '{self.endpoint}' needs a key: Authorization: Bearer KEY")
        return self._by_token(given) if self.takes_tokens else self._by_key(given)

    def _by_key(self, given: bytes) -> Account:
        digest, found = hashlib.sha256(given).digest(), None
        for known, account in zip(self._digests, self.accounts, strict=True):
            if hmac.compare_digest(digest, known):
                found = account
        if found is None:
            raise Refusal(401, "Unauthorized", f"This is no key of the endpoint '{self.endpoint}'.")
        return found

    def _by_token(self, given: bytes) -> Account:
        if is_valid(given.decode("latin-1"), self.endpoint, self._signing_key):
            return self.accounts[0]
        raise Refusal(401, "Unauthorized", f"This is no token of the endpoint '{self.endpoint}', or it has expired.")


def limit_of(properties: Mapping[str, str]) -> Limit:
    """The limits of each key, from an endpoint's properties; what is no number is none."""
    return Limit(requests_per_minute=_number(properties, REQUESTS), concurrent=_number(properties, CONCURRENT))


def _number(properties: Mapping[str, str], name: str) -> int:
    text = str(properties.get(name, "")).strip()
    return int(text) if text.isascii() and text.isdigit() else 0
