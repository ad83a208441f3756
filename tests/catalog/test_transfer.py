"""Large files over real sockets: in parallel, resumed, hashed; and servers and disks that do wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.direct import PartWriter
from catalog.huberrors import HubError, HubTokenError
from catalog.parts import CHUNK, WINDOW, Parts
from catalog.ranges import RemoteFile, TryAgainError
from catalog.transfer import DIGESTS, PARTIAL, WrongHashError, download
from promptflow.exceptions import WorkspaceError
from tests.hub_server import HubServer, Repo, serving

DATA = random.Random(7).randbytes(20 * CHUNK + 12345)
ETAG = hashlib.sha256(DATA).hexdigest()
PATH = "/acme/big/model.safetensors"


@pytest.fixture
def server() -> Iterator[HubServer]:
    with serving({"acme/big": Repo({"model.safetensors": DATA})}) as server:
        yield server


@pytest.fixture
def file(server: HubServer) -> RemoteFile:
    return RemoteFile(f"{server.url}/acme/big/resolve/main/model.safetensors", len(DATA))


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    return tmp_path / "blobs" / ETAG


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def test_a_file_in_parts(server: HubServer, file: RemoteFile, blob: Path) -> None:
    counted: list[int] = []
    download(file, ETAG, blob, counted.append)
    assert blob.read_bytes() == DATA and sum(counted) == len(DATA)
    assert [path.name for path in blob.parent.iterdir()] == [ETAG]
    assert server.sent[PATH] == len(DATA)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, WINDOW * CHUNK + 1])
def test_sizes(server: HubServer, tmp_path: Path, size: int) -> None:
    data = DATA[:size]
    server.repos = {"acme/big": Repo({"f": data})}
    etag = hashlib.sha1(b"blob %d\0" % size + data).hexdigest()
    download(RemoteFile(f"{server.url}/acme/big/resolve/main/f", size), etag, tmp_path / etag)
    assert (tmp_path / etag).read_bytes() == data


def stop_after(server: HubServer, chunks: int) -> None:
    """From now on the server hangs up in the middle of each part past the first so many."""
    server.spoil = lambda path, start, data: data[:10] if start >= chunks * CHUNK else data


def listed(blob: Path) -> int:
    """Bytes that an unfinished download has."""
    return blob.with_name(ETAG + DIGESTS).stat().st_size // 32 * CHUNK


def test_it_goes_on_where_it_stopped(
    server: HubServer, file: RemoteFile, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.parts._TRIES", 1)
    stop_after(server, 12)
    with pytest.raises(TryAgainError, match="sent 10 bytes instead of") as caught:
        download(file, ETAG, blob)
    assert "goes on where it stopped" in caught.value.hint
    kept = listed(blob)
    assert kept >= (12 - WINDOW) * CHUNK
    server.spoil = None
    server.sent.clear()
    counted: list[int] = []
    download(file, ETAG, blob, counted.append)
    assert blob.read_bytes() == DATA and sum(counted) == len(DATA)
    assert server.sent[PATH] == len(DATA) - kept


def test_a_chunk_that_the_disk_lost_is_fetched_again_alone(
    server: HubServer, file: RemoteFile, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.parts._TRIES", 1)
    stop_after(server, 12)
    with pytest.raises(TryAgainError):
        download(file, ETAG, blob)
    partial, kept = blob.with_name(ETAG + PARTIAL), listed(blob)
    with partial.open("r+b") as data:
        data.seek(2 * CHUNK)
        data.write(bytes(4096))
    server.spoil = None
    server.sent.clear()
    download(file, ETAG, blob)
    assert blob.read_bytes() == DATA
    assert server.sent[PATH] == len(DATA) - kept + CHUNK


@pytest.mark.parametrize("what", ["list longer", "list shorter", "list of another file", "no list", "data longer"])
def test_leavings_that_do_not_fit(file: RemoteFile, blob: Path, what: str) -> None:
    blob.parent.mkdir()
    lists = {
        "list longer": 32 * 99,
        "list shorter": 40,
        "list of another file": 32 * 5,
        "no list": 0,
        "data longer": 64,
    }
    blob.with_name(ETAG + DIGESTS).write_bytes(os.urandom(lists[what]))
    blob.with_name(ETAG + PARTIAL).write_bytes(DATA + b"more" if what == "data longer" else DATA[: 5 * CHUNK + 7])
    download(file, ETAG, blob)
    assert blob.read_bytes() == DATA


@pytest.mark.parametrize("digests", [True, False])
def test_a_chunk_that_comes_damaged_once(server: HubServer, file: RemoteFile, blob: Path, digests: bool) -> None:
    spoiled: list[int] = []

    def spoil(path: str, start: int, data: bytes) -> bytes:
        if start == 7 * CHUNK and not spoiled:
            spoiled.append(start)
            return flip(data)
        return data

    server.spoil, server.digests = spoil, digests
    download(file, ETAG, blob)
    assert blob.read_bytes() == DATA and spoiled
    # With the digests of parts that chunk alone comes again; without, all up to it, as it could be any.
    assert server.sent[PATH] - len(DATA) == (CHUNK if digests else 8 * CHUNK)


def test_a_file_that_is_never_what_its_hash_says(server: HubServer, file: RemoteFile, blob: Path) -> None:
    server.digests = False
    server.spoil = lambda path, start, data: flip(data) if start == 0 else data
    with pytest.raises(WrongHashError, match=f"and not {ETAG[:12]}") as caught:
        download(file, ETAG, blob)
    assert "nothing was kept" in caught.value.hint
    assert list(blob.parent.iterdir()) == []


def test_a_file_of_another_size_than_the_hub_says(server: HubServer, blob: Path) -> None:
    url = f"{server.url}/acme/big/resolve/main/model.safetensors"
    for size in (len(DATA) - 1, len(DATA) + 1, len(DATA) * 2):
        with pytest.raises(HubError, match="was asked for bytes") as caught:
            download(RemoteFile(url, size), ETAG, blob)
        assert "--endpoint" in caught.value.hint and list(blob.parent.iterdir()) == []


def test_a_server_without_ranges(server: HubServer, file: RemoteFile, blob: Path) -> None:
    server.ranges = False
    with pytest.raises(HubError, match="does not serve parts"):
        download(file, ETAG, blob)


def test_a_refused_token(server: HubServer, file: RemoteFile, blob: Path) -> None:
    file.headers = {"Authorization": "Bearer revoked"}
    with pytest.raises(HubTokenError, match="does not let this token read"):
        download(file, ETAG, blob)


def test_no_server(blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.parts._TRIES", 1)
    with pytest.raises(TryAgainError, match="ConnectionRefusedError"):
        download(RemoteFile("http://127.0.0.1:9/x", 10), ETAG, blob)


def test_a_link_in_the_place_of_the_file_is_not_written_through(file: RemoteFile, blob: Path, tmp_path: Path) -> None:
    blob.parent.mkdir()
    (tmp_path / "victim").write_text("mine")
    blob.with_name(ETAG + PARTIAL).symlink_to(tmp_path / "victim")
    with pytest.raises(WorkspaceError, match="Cannot write"):
        download(file, ETAG, blob)
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_full_disk_keeps_what_came(file: RemoteFile, blob: Path) -> None:
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6 * CHUNK + 100, hard))
    try:
        with pytest.raises(WorkspaceError, match="Cannot write") as caught:
            download(file, ETAG, blob)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert "what came is kept" in caught.value.hint
    download(file, ETAG, blob)
    assert blob.read_bytes() == DATA


def test_ctrl_c_does_not_wait_for_a_server_that_asks_to_come_back(
    server: HubServer, file: RemoteFile, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(server, 2)
    monkeypatch.setattr("catalog.parts._TRIES", 1000)

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(file, ETAG, blob, interrupt)
    server.spoil = None
    download(file, ETAG, blob)
    assert blob.read_bytes() == DATA


def test_a_disk_that_fails_later_is_told(file: RemoteFile, blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.flush._EVERY", CHUNK)

    def fail(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("catalog.flush.os.fsync", fail)
    with pytest.raises(WorkspaceError, match="Input/output error"):
        download(file, ETAG, blob)
    assert not blob.exists()


def test_what_comes_after_the_end_is_not_written(server: HubServer, file: RemoteFile, tmp_path: Path) -> None:
    server.pause = 0.05
    place = tmp_path / "f"
    with place.open("w+b") as data:
        with pytest.raises(KeyboardInterrupt), Parts(file, PartWriter(data.fileno(), place), 0) as parts:
            raise KeyboardInterrupt
        there = place.stat().st_size
        for fetcher in parts.fetchers:
            fetcher.join()
        assert place.stat().st_size == there
