"""Parts of files from servers that redirect, expire, lie and hang up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from catalog.huberrors import HubError
from catalog.ranges import RangeReader, RemoteFile, TryAgainError

DATA = bytes(range(200))
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization", "")))
        self.server.answer(self)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None: ...

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def part(self, **headers: str) -> None:
        start, end = (int(word) for word in self.headers["Range"].removeprefix("bytes=").split("-"))
        self.say(206, DATA[start : end + 1], **{"Content_Range": f"bytes {start}-{end}/200", **headers})


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str]] = []
        self.answer: Answer = Handler.part

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None: ...


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    pair = Server(), Server()
    for server in pair:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield pair
    for server in pair:
        server.shutdown()
        server.server_close()


def read(reader: RangeReader, file: RemoteFile, start: int = 10, end: int = 20) -> bytes:
    into = memoryview(bytearray(end - start))
    reader.read(file, start, [into])
    return bytes(into)


@pytest.fixture
def reader() -> Iterator[RangeReader]:
    reader = RangeReader()
    yield reader
    reader.close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_the_token_stays_with_the_hub(servers: tuple[Server, Server], reader: RangeReader) -> None:
    hub, store = servers
    hub.answer = lambda handler: handler.say(302, Location=f"{store.url}/signed?key=1")
    file = RemoteFile(f"{hub.url}/f", 200, {"Authorization": "Bearer secret"})
    assert read(reader, file) == DATA[10:20] and read(reader, file, 0, 5) == DATA[:5]
    assert hub.asked == [("/f", "Bearer secret")]  # once: where it leads is kept
    assert store.asked == [("/signed?key=1", "")] * 2


def test_an_address_that_expired_is_asked_for_again(servers: tuple[Server, Server], reader: RangeReader) -> None:
    hub, store = servers
    keys = iter("12")
    hub.answer = lambda handler: handler.say(307, Location=f"{store.url}/{next(keys)}")
    file = RemoteFile(f"{hub.url}/f", 200)
    read(reader, file)
    store.answer = lambda handler: handler.say(403) if handler.path == "/1" else handler.part()
    with pytest.raises(TryAgainError, match="answered 403"):
        read(reader, file)
    assert read(reader, file) == DATA[10:20]
    assert [path for path, _ in store.asked] == ["/1", "/1", "/2"]


def test_a_relative_redirect_and_one_without_end(servers: tuple[Server, Server], reader: RangeReader) -> None:
    hub, _ = servers
    hub.answer = lambda handler: handler.part() if handler.path == "/there" else handler.say(308, Location="/there")
    assert read(reader, RemoteFile(f"{hub.url}/f", 200)) == DATA[10:20]
    hub.answer = lambda handler: handler.say(302, Location="/f")
    with pytest.raises(HubError, match="without end"):
        read(reader, RemoteFile(f"{hub.url}/f", 200))
    hub.answer = lambda handler: handler.say(302, Location="file:///etc/passwd")
    with pytest.raises(HubError, match="which is no web address"):
        read(reader, RemoteFile(f"{hub.url}/f", 200))


LIES: dict[str, tuple[Answer, type[HubError], str]] = {
    "a shorter length": (lambda h: h.part(Content_Length="5"), TryAgainError, "says it sends 5"),
    "a longer length": (lambda h: h.part(Content_Length="5000"), TryAgainError, "says it sends 5000"),
    "no number": (lambda h: h.part(Content_Length="many"), TryAgainError, "says it sends many"),
    "another range": (lambda h: h.part(Content_Range="bytes 0-9/200"), HubError, "sends 'bytes 0-9/200'"),
    "another size": (lambda h: h.part(Content_Range="bytes 10-19/999"), HubError, "sends 'bytes 10-19/999'"),
    "the whole": (lambda h: h.say(200, DATA), HubError, "does not serve parts"),
    "hang up": (lambda h: h.connection.shutdown(2), TryAgainError, "stopped"),
    "half, then hang up": (lambda h: half(h), TryAgainError, "sent 5 bytes instead of 10"),
    "nonsense": (lambda h: h.wfile.write(b"nonsense\r\n\r\n"), TryAgainError, "stopped"),
    "busy": (lambda h: h.say(503, Retry_After="7"), TryAgainError, "answered 503"),
    "gone": (lambda h: h.say(404), HubError, "no such file any more"),
    "teapot": (lambda h: h.say(418), HubError, "answered 418"),
    "a bomb": (lambda h: h.part(Content_Encoding="gzip", Content_Length="1"), TryAgainError, "says it sends 1"),
}


def half(handler: Handler) -> None:
    handler.send_response(206)
    handler.send_header("Content-Range", "bytes 10-19/200")
    handler.send_header("Content-Length", "10")
    handler.end_headers()
    handler.wfile.write(DATA[10:15])
    handler.wfile.flush()
    handler.close_connection = True


@pytest.mark.parametrize("lie", LIES)
def test_lies(servers: tuple[Server, Server], reader: RangeReader, lie: str) -> None:
    answer, error, text = LIES[lie]
    servers[0].answer = answer
    with pytest.raises(error, match=text) as caught:
        read(reader, RemoteFile(f"{servers[0].url}/f", 200))
    assert (type(caught.value) is TryAgainError) == (error is TryAgainError)
    servers[0].answer = Handler.part
    assert read(reader, RemoteFile(f"{servers[0].url}/f", 200)) == DATA[10:20]


def test_how_long_a_server_asks_to_wait(servers: tuple[Server, Server], reader: RangeReader) -> None:
    for said, seconds in (("7", 7.0), ("86400", 60.0), ("tomorrow", 0.0)):
        servers[0].answer = lambda handler, said=said: handler.say(429, Retry_After=said)  # type: ignore[misc]
        with pytest.raises(TryAgainError) as caught:
            read(reader, RemoteFile(f"{servers[0].url}/f", 200))
        assert caught.value.after == seconds


def test_a_proxy_of_the_environment(
    servers: tuple[Server, Server], reader: RangeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, proxy = servers
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "")
    assert read(reader, RemoteFile("http://hub.example/f?a=1", 200)) == DATA[10:20]
    assert proxy.asked == [("http://hub.example/f?a=1", "")]


@pytest.mark.parametrize(
    ("headers", "digest"),
    [
        ({"Content_Digest": "adler=:AAAAAQ==:"}, 1),
        ({"Content_Digest": "sha-256=:AAAA:, adler=:AAAAAg==:"}, 2),
        ({"Content_Digest": "adler=:AAAAAQ==:", "Content_Range": "bytes 0-9/200"}, None),
        ({"Content_Digest": "adler=:AA:"}, None),
        ({}, None),
    ],
)
def test_what_a_server_says_of_a_part(
    servers: tuple[Server, Server], reader: RangeReader, headers: dict[str, str], digest: int | None
) -> None:
    servers[0].answer = lambda handler: handler.part(**headers)
    assert reader.digest(RemoteFile(f"{servers[0].url}/f", 200), 10, 20) == digest
