"""Parts of one file over HTTP, on one connection: redirects, the token for its own host only, replies that lie.

On sockets of the standard library, read into the caller's memory: a third of the processor time of a client library.
"""

from __future__ import annotations

import base64
import http.client
import re
import ssl
import threading
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urljoin, urlsplit

from catalog.huberrors import HubError, HubNotFoundError, HubTokenError

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_ADLER = re.compile(r"\badler=:([A-Za-z0-9+/]{6}==):")
_TIMEOUT = 30.0  # seconds without a byte


class TryAgainError(HubError):
    """A part did not come, or not all of it; ``after`` is how many seconds the server asks to wait."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message, hint="run the command again: it goes on where it stopped")
        self.after = after


@dataclass
class RemoteFile:
    """Where a file is, and ``size``, the bytes it must have.

    ``headers`` go to the host of ``url`` alone. Redirects are found once and kept for all connections, until the place
    that they led to refuses: signed addresses expire.
    """

    url: str
    size: int
    headers: Mapping[str, str] = field(default_factory=dict)
    _place: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def place(self) -> str:
        return self._place or self.url

    def moved(self, place: str) -> None:
        with self._lock:
            self._place = place

    def headers_for(self, url: str) -> dict[str, str]:
        return dict(self.headers) if urlsplit(url)[:2] == urlsplit(self.url)[:2] else {}


class RangeReader:
    """One connection at a time, kept open between parts; for one thread."""

    def __init__(self) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._host = ""
        self._before_path = ""  # a proxy is asked for whole addresses

    def read(
        self, file: RemoteFile, start: int, rooms: Sequence[memoryview], filled: Callable[[], None] = lambda: None
    ) -> None:
        """Fill ``rooms``, one after the other, with the bytes from ``start`` on; ``filled`` is called after each.

        TryAgainError, or another HubError where that is no use.
        """
        try:
            self._read(file, start, tuple(rooms), filled)
        except HubError:
            self.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise TryAgainError(f"{_host(file.place)} stopped: {type(error).__name__} {error}".rstrip()) from error

    def digest(self, file: RemoteFile, start: int, end: int) -> int | None:
        """Adler-32 of a part as the server has it, without the part; None where the server does not tell.

        In the words of RFC 9530 (Content-Digest), of a HEAD for a range: some servers tell, others ignore the question.
        It finds damage, no fraud: what proves a file is its own hash.
        """
        try:
            response = self._ask(file, file.place, start, end, "HEAD")
            response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        ranged = response.headers.get("Content-Range", "").startswith(f"bytes {start}-{end - 1}/")
        said = _ADLER.search(response.headers.get("Content-Digest", ""))
        return int.from_bytes(base64.b64decode(said[1]), "big") if said and ranged else None

    def close(self) -> None:
        if self._response is not None:  # it may hold the socket that the connection has let go of
            self._response.close()
            self._response = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, file: RemoteFile, start: int, rooms: Sequence[memoryview], filled: Callable[[], None]) -> None:
        size = sum(map(len, rooms))
        response = self._open(file, start, start + size)
        sent = 0
        for room in rooms:
            at = 0
            while at < len(room):
                count = response.readinto(room[at:])
                if not count:
                    raise TryAgainError(f"{_host(file.place)} sent {sent + at} bytes instead of {size}.")
                at += count
            sent += at
            filled()
        if response.read(1):  # nothing is left, or the connection is of no more use
            raise HubError(f"{_host(file.place)} sent more than was asked for.")

    def _open(self, file: RemoteFile, start: int, end: int) -> http.client.HTTPResponse:
        place = file.place
        for _ in range(_MOST_REDIRECTS):
            response = self._ask(file, place, start, end, "GET")
            if response.status in _REDIRECTS:
                response.read()
                place = urljoin(place, response.headers.get("Location", ""))
                if urlsplit(place).scheme not in ("http", "https"):
                    raise HubError(f"{_host(file.url)} leads to {place!r}, which is no web address.")
                continue
            if response.status >= 400 and place != file.url and file.place != file.url:
                file.moved("")  # the address may have expired: ask the hub for another
                raise TryAgainError(f"{_host(place)} answered {response.status}.")
            _check_reply(response, file, start, end)
            if place != file.place:
                file.moved(place)
            return response
        raise HubError(f"{_host(file.url)} leads from one address to the next, without end.")

    def _ask(self, file: RemoteFile, place: str, start: int, end: int, verb: str) -> http.client.HTTPResponse:
        connection, target = self._connect(urlsplit(place))
        headers = {**file.headers_for(place), "Accept-Encoding": "identity", "Range": f"bytes={start}-{end - 1}"}
        if verb == "HEAD":
            headers["Want-Content-Digest"] = "adler=5"
        connection.request(verb, target, headers=headers)
        self._response = connection.getresponse()
        return self._response

    def _connect(self, url: SplitResult) -> tuple[http.client.HTTPConnection, str]:
        """The connection to the host of ``url``, through the proxy of the environment; and what to ask it for."""
        host = f"{url.scheme}://{url.netloc}"
        if self._connection is None or self._host != host:
            self.close()
            proxy = urlsplit(_proxy(url))
            self._connection, self._host = _new_connection(url, proxy), host
            self._before_path = host if proxy.netloc and url.scheme == "http" else ""
        return self._connection, f"{self._before_path}{url.path or '/'}{f'?{url.query}' if url.query else ''}"


def _new_connection(url: SplitResult, proxy: SplitResult) -> http.client.HTTPConnection:
    through = proxy if proxy.netloc else url
    host, port = through.hostname or "", through.port
    if url.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=ssl.create_default_context())
    if proxy.netloc:
        secret = base64.b64encode(f"{proxy.username}:{proxy.password or ''}".encode()).decode()
        headers = {"Proxy-Authorization": f"Basic {secret}"} if proxy.username else {}
        connection.set_tunnel(url.hostname or "", url.port or 443, headers)
    return connection


def _proxy(url: SplitResult) -> str:
    if urllib.request.proxy_bypass(url.netloc):
        return ""
    return urllib.request.getproxies().get(url.scheme, "")


def _check_reply(response: http.client.HTTPResponse, file: RemoteFile, start: int, end: int) -> None:
    host, status = _host(file.url), response.status
    if status in (401, 403):
        raise HubTokenError(f"{host} does not let this token read the file ({status}).", hint="`hf auth login`")
    if status == 404:
        raise HubNotFoundError(f"{host} has no such file any more.")
    if status == 429 or status >= 500:
        raise TryAgainError(f"{host} answered {status}.", _seconds(response.headers.get("Retry-After", "")))
    whole = (start, end) == (0, file.size)
    if status == 200 and not whole:
        raise HubError(f"{host} does not serve parts of files.", hint="pull from another hub: --endpoint")
    said = response.headers.get("Content-Range", "")
    if status == 206 and said.replace(" ", "") not in (f"bytes{start}-{end - 1}/{file.size}",):
        raise HubError(
            f"{host} was asked for bytes {start} to {end - 1} of {file.size}, and sends {said!r}.",
            hint="the hub, or what is between, has another file than it lists: try another with --endpoint",
        )
    if status not in (200, 206):
        raise HubError(f"{host} answered {status}.")
    length = response.headers.get("Content-Length")
    if length is not None and length != str(end - start):
        raise TryAgainError(f"{host} was asked for {end - start} bytes, and says it sends {length}.")


def _seconds(text: str) -> float:
    return min(float(text), 60.0) if text.isdigit() else 0.0


def _host(url: str) -> str:
    return urlsplit(url).netloc
