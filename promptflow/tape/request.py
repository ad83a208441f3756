"""What a request asks, without where it goes to and who asks: two requests that ask the same have the same key."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

import orjson

from promptflow.tape.scrub import MASK

_SECRET_NAME = re.compile(
    r"(?:^|[-_.])(?:key|apikey|token|secret|password|passwd|pwd|sig|signature|credentials?|authorization)$", re.I
)
_MULTIPART = re.compile(r"multipart/.*boundary=\"?([^\";]+)", re.I)
_ROUTES = re.compile(
    r"/(?:chat/completions|completions|embeddings|responses|messages|rerank|images/generations|audio/[a-z]+"
    r"|api/chat|api/generate|api/embed)$|:(?:streamG|g)enerateContent$|/model/[^/]+/(?:converse|invoke)"
)


@dataclass(frozen=True)
class Request:
    """One request. ``url`` is without user, password and keys; ``body`` is JSON, text, ``{"base64": …}`` or None."""

    method: str
    url: str
    body: Any = None

    @classmethod
    def of(cls, method: str, url: str, data: bytes | str | None, content_type: str = "") -> Request:
        return cls(method.upper(), clean_url(url), read_body(data, content_type))

    @property
    def path(self) -> str:
        """Path and query; the host does not count, since a flow may ask another server that speaks the same."""
        parts = urlsplit(self.url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    @cached_property
    def text(self) -> str:
        """The body in one spelling."""
        return canonical(self.body)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.method, self.path, self.text

    @property
    def title(self) -> str:
        return f"{self.method} {urlsplit(self.url).path}"


def clean_url(url: str) -> str:
    """A URL without user, password and fragment, the values of keys in its query masked, the query sorted."""
    parts = urlsplit(url)
    pairs = sorted((name, MASK if is_secret_name(name) else value) for name, value in _pairs(parts.query))
    query = urlencode(pairs, safe="*")
    host = parts.netloc.rpartition("@")[2]
    return SplitResult(parts.scheme, host, parts.path or "/", query, "").geturl()


def secrets_in_url(url: str) -> list[str]:
    """The password and the keys that a URL holds."""
    parts = urlsplit(url)
    found = [value for name, value in _pairs(parts.query) if is_secret_name(name)]
    return [*found, parts.password] if parts.password else found


def is_secret_name(name: str) -> bool:
    """``api-key``, ``access_token``, ``sig``: what a value is called that nobody else may see."""
    return _SECRET_NAME.search(name) is not None


def is_model_call(url: str, headers: Mapping[str, str]) -> bool:
    """By the path of the URL, or because an SDK of a model's vendor says so in its headers."""
    return _ROUTES.search(urlsplit(url).path) is not None or any(name.lower() == "x-stainless-lang" for name in headers)


def read_body(data: bytes | str | None, content_type: str = "") -> Any:
    """A body as JSON keeps it: JSON as it is, a form as an object, other text as text, the rest in base64."""
    if not data:
        return None
    raw = data.encode() if isinstance(data, str) else bytes(data)
    kind = content_type.lower()
    if "x-www-form-urlencoded" in kind and not isinstance(read_json_or_text(raw), dict | list):  # urllib says so of all
        pairs = _pairs(raw.decode("utf-8", "replace"))
        return {"form": [[name, MASK if is_secret_name(name) else value] for name, value in pairs]}
    boundary = _MULTIPART.search(content_type)
    if boundary:  # made up for each request
        raw = raw.replace(boundary[1].encode(), b"boundary")
    return read_json_or_text(raw)


def read_json_or_text(raw: bytes) -> Any:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    if isinstance(value, dict | list):
        return value
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(raw).decode()}


def canonical(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # huge integers, half a surrogate pair
        return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)
