"""Fetch an image by URL, from public addresses only: a flow's input must not reach into the private network.

The address is checked after connecting, on the socket that is used, so that a name that resolves to something else
the second time gains nothing (server-side request forgery, DNS rebinding).
"""

from __future__ import annotations

import http.client
import ipaddress
import urllib.error
import urllib.request
from typing import Any

from promptflow.exceptions import InvalidImageInput

TIMEOUT_SECONDS = 30.0
MAX_BYTES = 50 * 1024 * 1024


def fetch_image(url: str) -> bytes:
    """The bytes at ``url``, at most 50 MiB. Raises InvalidImageInput."""
    if not url.startswith(("http://", "https://")):
        raise InvalidImageInput(f"Failed to fetch image from URL: {url}. Only http and https are fetched.")
    # no proxies: a proxy would connect in our place, past the check
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _HTTP(), _HTTPS())
    try:
        with opener.open(
            urllib.request.Request(url, headers={"User-Agent": "promptflow"}), timeout=TIMEOUT_SECONDS
        ) as r:
            value: bytes = r.read(MAX_BYTES + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InvalidImageInput(f"Failed to fetch image from URL: {url}. {reason}.") from error
    if len(value) > MAX_BYTES:
        raise InvalidImageInput(f"Failed to fetch image from URL: {url}. It is larger than {MAX_BYTES >> 20} MiB.")
    return value


def check_public(address: str) -> None:
    """Raise OSError where ``address`` is not a public one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if not ip.is_global or ip.is_multicast:
        raise PermissionError("The address is private")


class _CheckedHTTP(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        check_public(self.sock.getpeername()[0])


class _CheckedHTTPS(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        check_public(self.sock.getpeername()[0])


class _HTTP(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_CheckedHTTP, request)


class _HTTPS(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_CheckedHTTPS, request)
