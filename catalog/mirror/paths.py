"""How routes name repos and revisions, and read what is sent to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import Request

from catalog.mirror.errors import MirrorError
from catalog.mirror.repo import DATASETS, MAIN, MODELS

_MOST_BODY = 8 << 20  # bytes of JSON or of a form


def both(method: Callable[..., Any], *ends: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A route for ids of two parts, ORG/NAME, and for those of one."""

    def add(route: Callable[..., Any]) -> Callable[..., Any]:
        for end in ends:
            for id in ("{name}", "{org}/{name}"):
                method(f"/api/{{kind}}/{id}{end}", response_model=None)(route)
        return route

    return add


def plain_kind(kind: str) -> str:
    """``models`` or ``datasets``; MirrorError for what a mirror has not."""
    if kind not in (MODELS, DATASETS):
        raise MirrorError(404, f"This mirror has models and datasets, no {kind}.")
    return kind


def plain_id(org: str, name: str) -> str:
    """ORG/NAME, or NAME alone."""
    return f"{org}/{name}" if org else name


def plain_revision(text: str) -> str:
    """A branch, tag or commit, without what git writes before it."""
    revision = slashes(text)
    for prefix in ("refs/heads/", "refs/tags/"):
        revision = revision.removeprefix(prefix)
    return revision or MAIN


def slashes(text: str) -> str:
    """The slashes that came escaped, and were left so to find the route."""
    return text.replace("%2F", "/")


async def small_body(request: Request) -> bytes:
    """The body of a request; MirrorError (413) if it is no small one."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BODY:
            raise MirrorError(413, "The body is too large.")
    return body


async def json_body(request: Request) -> dict[str, Any]:
    """The body of a request as JSON; MirrorError (400) if it is no object."""
    try:
        body = json.loads(await small_body(request) or b"{}")
    except (ValueError, RecursionError) as error:
        raise MirrorError(400, "This is no JSON.") from error
    if not isinstance(body, dict):
        raise MirrorError(400, "This is no JSON object.")
    return body


def base_url(request: Request) -> str:
    """The address that the client calls this mirror by."""
    return str(request.base_url).rstrip("/")
