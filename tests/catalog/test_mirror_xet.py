"""Uploads by Xet: what hf_xet sends is put together again; what is no xorb or shard is refused."""

from __future__ import annotations

import hashlib
import os
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.mirror.access import READ, WRITE, Tokens
from catalog.mirror.uploads import Uploads
from catalog.mirror.xet import Chunk, content, parse_shard, parse_xorb
from catalog.mirror.xet_uploads import XetUploads
from catalog.registry import Registry
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace
from tests.catalog.mirror_server import serving

lz4 = pytest.importorskip("lz4.frame")
httpx = pytest.importorskip("httpx")

DATA = random.Random(5).randbytes(300_000)
XORB = "ab" * 32
MODEL = "/api/models/workspace/mine"


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with Workspace.open(home) as opened:
        yield opened


@pytest.fixture
def client(workspace: Workspace, tmp_path: Path) -> Iterator[httpx.Client]:
    token = Tokens(workspace).create("writer", WRITE)
    with (
        serving(workspace, tmp_path / "hub") as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as opened,
    ):
        yield opened


def chunk(data: bytes, form: int = 0) -> bytes:
    kept = data
    if form == 2:
        kept = b"".join(data[group::4] for group in range(4))
    if form:
        kept = lz4.compress(kept)
    return bytes([0]) + len(kept).to_bytes(3, "little") + bytes([form]) + len(data).to_bytes(3, "little") + kept


def shard(data: bytes, *segments: tuple[int, int, int], sha256: str = "", xorb: str = XORB) -> bytes:
    """The shard of one file; a segment is its size, its first chunk and the one after its last."""
    made = b"HFRepoMetaData".ljust(32, b"\0") + struct.pack("<QQ", 2, 0)
    made += bytes(32) + struct.pack("<IIQ", 3 << 30, len(segments), 0)
    for size, first, last in segments:
        made += named(xorb) + struct.pack("<IIII", 0, size, first, last)
    made += bytes(48 * len(segments))
    return made + named(sha256 or hashlib.sha256(data).hexdigest()) + bytes(16) + b"\xff" * 32 + bytes(16)


def named(text: str) -> bytes:
    return struct.pack("<4Q", *(int(text[at : at + 16], 16) for at in range(0, 64, 16)))


def begin(client: httpx.Client) -> str:
    found = client.get(f"{MODEL}/xet-write-token/main")
    assert found.headers["x-xet-cas-url"] == found.json()["casUrl"]
    return str(found.json()["casUrl"])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 100_003])
@pytest.mark.parametrize("form", [0, 1, 2])
def test_forms_of_chunks(form: int, size: int) -> None:
    data = (b"abcd" * 30_000)[:size]
    xorb = chunk(data, form)
    (found,) = parse_xorb(memoryview(xorb))
    assert content(found, xorb[found.start : found.end]) == data


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: content(Chunk(0, 1, 7, 1), b"x"), "form 7"),
        (lambda: content(Chunk(0, 1, 0, 5), b"x"), "1 bytes, not 5"),
        (lambda: content(Chunk(0, 1, 1, 5), b"x"), "0 bytes, not 5"),
        (lambda: content(Chunk(0, 1, 1, 5), b"nonsense" * 9), "unpacked"),
        (lambda: content(Chunk(0, 1, 1, 5), lz4.compress(bytes(1 << 24))), "6 bytes, not 5"),
        (lambda: parse_xorb(memoryview(b"")), "no xorb"),
        (lambda: parse_xorb(memoryview(chunk(b"abc")[:-1])), "no xorb"),
        (lambda: parse_xorb(memoryview(b"\x09" + bytes(99))), "no xorb"),
        (lambda: parse_shard(b"[]"), "no shard"),
        (lambda: parse_shard(shard(DATA, (1, 0, 1))[:-60]), "ends too early"),
        (lambda: parse_shard(shard(DATA)[:48] + b"\0" * 32 + b"\xff" * 16), "ends too early"),
    ],
)
def test_what_is_no_xorb_or_shard(made: Any, message: str) -> None:
    with pytest.raises(ValidationException, match=message):
        made()


def test_a_table_at_the_end_of_a_xorb_is_passed_over() -> None:
    assert len(parse_xorb(memoryview(chunk(b"abc") + b"XETBLOB" + bytes(40)))) == 1


def test_a_file_of_chunks(client: httpx.Client, workspace: Workspace) -> None:
    place = begin(client)
    parts = DATA[:100_000], DATA[100_000:]
    xorb = chunk(parts[0], 1) + chunk(parts[1], 2)
    assert client.post(f"{place}/v1/xorbs/default/{XORB}", content=xorb).json() == {"was_inserted": True}
    data = parts[1] + parts[0] + parts[1]
    made = shard(data, (200_000, 1, 2), (300_000, 0, 2))
    assert client.post(f"{place}/v1/shards", content=made).json() == {"result": 1}
    uploaded = workspace.home / "uploads" / hashlib.sha256(data).hexdigest()
    assert uploaded.read_bytes() == data


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (shard(DATA, (300_000, 0, 1), sha256="1" * 64), "What came has the sha256"),
        (shard(DATA, (300_000, 0, 2)), "has no chunks 0 to 2"),
        (shard(DATA, (300_000, 1, 1)), "has no chunks 1 to 1"),
        (shard(DATA, (299_999, 0, 1)), "are not the 299999 bytes"),
        (shard(DATA, (300_000, 0, 1), xorb="cd" * 32), "was not uploaded"),
        (b"nonsense", "no shard"),
    ],
)
def test_shards_that_lie(client: httpx.Client, workspace: Workspace, made: bytes, message: str) -> None:
    place = begin(client)
    client.post(f"{place}/v1/xorbs/default/{XORB}", content=chunk(DATA))
    refused = client.post(f"{place}/v1/shards", content=made)
    assert refused.status_code == 400 and message in refused.json()["error"]
    folder = workspace.home / "uploads"
    assert not folder.is_dir() or not any(folder.iterdir())


def test_a_file_larger_than_the_disk(client: httpx.Client) -> None:
    place = begin(client)
    client.post(f"{place}/v1/xorbs/default/{XORB}", content=chunk(DATA))
    made = shard(DATA, *[(0xFFFFFFFF, 0, 1)] * 20_000)
    assert client.post(f"{place}/v1/shards", content=made).status_code == 507


def test_who_may_send_what(client: httpx.Client, workspace: Workspace) -> None:
    place = begin(client)
    for address in (f"{place}/v1/xorbs/default/..%2f..%2fx", f"{place}/v1/xorbs/default/x", place[:-16] + "0" * 16):
        address = address if "xorbs" in address else f"{address}/v1/shards"
        assert client.post(address, content=chunk(DATA)).status_code in (400, 404)
    for nonsense in (b"nonsense", b""):
        assert client.post(f"{place}/v1/xorbs/default/{XORB}", content=nonsense).status_code == 400
    assert client.post(f"{place}/v1/xorbs/default/{XORB}", content=bytes(66 << 20)).status_code == 413
    assert httpx.post(f"{place}/v1/xorbs/default/{XORB}", content=chunk(DATA)).status_code == 401
    reader = Tokens(workspace).create("reader", READ)
    with serving(workspace, workspace.home) as url:
        refused = httpx.get(f"{url}{MODEL}/xet-write-token/main", headers={"Authorization": f"Bearer {reader}"})
    assert refused.status_code == 403
    assert [path for path in (workspace.home / "xet-uploads").rglob("*") if path.is_file()] == []


def test_sessions_that_nobody_uses_are_forgotten(workspace: Workspace) -> None:
    uploads = XetUploads(Uploads(workspace))
    first = uploads.folder / uploads.begin()
    os.utime(first, (time.time() - 7200,) * 2)
    second = uploads.folder / uploads.begin()
    assert not first.exists() and second.is_dir()


def test_hf_xet_uploads_and_what_changes_is_uploaded_again(
    client: httpx.Client, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    pytest.importorskip("hf_xet")
    token = client.headers["Authorization"].removeprefix("Bearer ")
    api = hub.HfApi(endpoint=str(client.base_url).rstrip("/"), token=token)
    weights = b"".join(struct.pack("<f", number / 7) for number in range(400_000))
    api.create_repo("workspace/mine")
    for data in (weights + DATA * 5, DATA + weights):
        place = tmp_path / "model/w.bin"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
        api.upload_folder(folder_path=place.parent, repo_id="workspace/mine")
        assert client.get("/workspace/mine/resolve/main/w.bin").content == data
    assert [asset.version for asset in Registry(workspace).list("mine")] == ["2", "1"]
    assert any((workspace.home / "xet-uploads").iterdir())
