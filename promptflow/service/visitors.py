"""Who may ask. Prompt flow's service took no key, and neither do its clients send one.

Without the workspace's key, a request is answered if it comes from this machine, from a process of the same user, and
not from a page of somebody else's that is open in the user's browser.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from promptflow.exceptions import UserErrorException
from promptflow.service.peer import user_of

_OWN_FETCHES = (b"same-origin", b"none")
_KEY = "show the workspace's key, which endpoints/server.json of its folder has, as Authorization: Bearer KEY"


class VisitorError(UserErrorException):
    """Somebody asks who may not."""

    http_status = 403


class NoKeyError(VisitorError):
    """The workspace's key would help."""

    http_status = 401


def check_visitor(scope: Mapping[str, Any], key: str) -> None:
    """VisitorError for a request that is not to be answered."""
    headers = dict(scope["headers"])
    given = headers.get(b"authorization", b"")
    if key and given[:7].lower() == b"bearer " and hmac.compare_digest(given[7:].strip(), key.encode()):
        return
    client, server = scope.get("client"), scope.get("server")
    if not client or not server or not _is_loopback(client[0]):
        raise NoKeyError("From another machine, this needs the workspace's key.", hint=_KEY)
    _check_page(headers)
    user = user_of((client[0], client[1]), (server[0], server[1]))
    if user is None:
        raise NoKeyError("This system does not say whose process asks.", hint=_KEY)
    if user not in (os.geteuid(), 0):
        raise NoKeyError("Another user of this machine asks.", hint=_KEY)


def _check_page(headers: Mapping[bytes, bytes]) -> None:
    """A page cannot choose these headers: its browser does."""
    host = headers.get(b"host", b"").decode("latin-1")
    if not _is_local(host):
        # A name that was made to lead here, by whoever owns it: their page would pass for one of this server's.
        raise VisitorError(f"'{host[:80]}' is no name of this machine.", hint="ask 127.0.0.1 or localhost")
    origin = headers.get(b"origin", b"").decode("latin-1")
    fetch = headers.get(b"sec-fetch-site", b"none")
    if (origin and origin != f"http://{host}") or fetch not in _OWN_FETCHES:
        raise VisitorError("A page of another site asks.", hint="ask from a program, or with the workspace's key")


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
