"""Files of the mirror over real sockets: by the kernel, piece by piece, cut short, removed meanwhile."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from fastapi.testclient import TestClient

from catalog.local import LocalModel, LocalModels
from catalog.mirror import known_files
from catalog.mirror.app import create_app
from catalog.mirror.files import Served, asked_part
from catalog.mirror.known_files import KnownFiles
from promptflow.workspace import Workspace
from tests.catalog.mirror_server import pulled, serving

httpx = pytest.importorskip("httpx")

BIG = os.urandom((3 << 20) + 5)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def place(cache: Path) -> str:
    sha = pulled(cache, "org/small", {"config.json": b"{}", "w.bin": BIG})
    return f"/org/small/resolve/{sha}/w.bin"


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with Workspace.open(home) as opened:
        yield opened


@pytest.fixture
def url(workspace: Workspace, cache: Path, place: str) -> Iterator[str]:
    with serving(workspace, cache) as address:
        yield address


def blob(cache: Path) -> Path:
    return max((cache / "models--org--small/blobs").iterdir(), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ({}, None),
        ({"range": "bytes=0-9"}, (0, 10)),
        ({"range": "bytes=90-"}, (90, 100)),
        ({"range": "bytes=90-1000"}, (90, 100)),
        ({"range": "bytes=-10"}, (90, 100)),
        ({"range": "bytes=-1000"}, (0, 100)),
        ({"range": "bytes=100-"}, (100, -1)),
        ({"range": "bytes=9-5"}, (9, -1)),
        ({"range": "bytes=-0"}, (100, -1)),
        ({"range": "bytes=-"}, None),
        ({"range": "bytes=0-1,5-6"}, None),
        ({"range": "lines=0-1"}, None),
        ({"range": f"bytes={'9' * 40}-"}, None),
        ({"range": "bytes=0-9", "if-range": '"e"'}, (0, 10)),
        ({"range": "bytes=0-9", "if-range": '"other"'}, None),
    ],
)
def test_which_part_is_asked_for(headers: dict[str, str], part: tuple[int, int] | None) -> None:
    assert asked_part(headers, Served(Path("f"), 100, '"e"', {})) == part


def test_parts_on_one_connection(url: str, place: str) -> None:
    with httpx.Client(base_url=url) as client:
        for start, end in ((0, 1), (1 << 20, 3 << 20), (len(BIG) - 1, len(BIG)), (0, len(BIG))):
            answer = client.get(place, headers={"Range": f"bytes={start}-{end - 1}"})
            assert answer.status_code == 206 and answer.content == BIG[start:end]
        assert client.get(place).content == BIG
        assert client.head(place).headers["content-length"] == str(len(BIG))
        assert client.get(place, headers={"Range": f"bytes={len(BIG)}-"}).status_code == 416
        assert client.get(place.replace("w.bin", "config.json")).content == b"{}"


def test_a_server_that_cannot_send_files_by_the_kernel(workspace: Workspace, cache: Path, place: str) -> None:
    server = uvicorn.Server(uvicorn.Config(create_app(workspace, LocalModels(cache)), log_level="error", port=0))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),))
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{place}"
        assert httpx.get(url).content == BIG
        assert httpx.get(url, headers={"Range": "bytes=5-2000000"}).content == BIG[5:2000001]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def test_whoever_hangs_up_disturbs_nobody(url: str, place: str) -> None:
    address = urlsplit(url)
    for _ in range(20):
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(f"GET {place} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            assert connection.recv(10)
    assert httpx.get(url + place).content == BIG


def test_a_file_that_is_cut_while_it_is_served(url: str, place: str, cache: Path) -> None:
    httpx.head(url + place)
    os.truncate(blob(cache), 1 << 20)
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    connection.request("GET", place)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        connection.getresponse().read()
    connection.close()


def test_a_file_that_was_removed_is_not_there_any_more(url: str, place: str, cache: Path) -> None:
    assert httpx.get(url + place).content == BIG
    blob(cache).unlink()
    answer = httpx.get(url + place)
    assert answer.status_code == 404 and answer.headers["x-error-code"] == "EntryNotFound"


def test_a_known_file_is_looked_up_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    known, file = KnownFiles(), Served(Path("f"), 1, '"e"', {})
    known.add("/f", file)
    assert known.get("/f") is file and known.get("/g") is None
    monkeypatch.setattr(known_files, "_SECONDS", -1.0)
    assert known.get("/f") is None


def test_the_oldest_of_many_known_files_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_files, "_KEPT", 2)
    known = KnownFiles()
    for name in "abc":
        known.add(name, Served(Path(name), 1, "", {}))
    assert [name for name in "abc" if known.get(name)] == ["b", "c"]


class Counting(LocalModels):
    """Counts how often the files of a model are listed."""

    listed = 0

    def get(self, id: str, revision: str | None = None) -> LocalModel:
        self.listed += 1
        return super().get(id, revision)


def test_the_files_of_one_commit_are_listed_once(workspace: Workspace, cache: Path) -> None:
    sha = pulled(cache, "org/many", {f"part-{at}": bytes([at]) for at in range(30)})
    models = Counting(cache)
    with TestClient(create_app(workspace, models), "http://localhost") as client:
        assert client.get("/api/models/org/many").json()["sha"] == sha
        for at in range(30):
            assert client.get(f"/org/many/resolve/{sha}/part-{at}").content == bytes([at])
    assert models.listed == 1


def test_a_file_that_a_pull_adds_is_there_at_once(workspace: Workspace, cache: Path) -> None:
    sha = pulled(cache, "org/grows", {"a": b"a"})
    with TestClient(create_app(workspace, LocalModels(cache)), "http://localhost") as client:
        assert client.get(f"/org/grows/resolve/{sha}/a").status_code == 200
        assert client.get(f"/org/grows/resolve/{sha}/b").status_code == 404
        (cache / "models--org--grows/snapshots" / sha / "b").write_bytes(b"b")
        assert client.get(f"/org/grows/resolve/{sha}/b").content == b"b"
