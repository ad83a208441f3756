"""Uploads to the mirror by real clients: each commit is a version in the registry."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from catalog.assets import Assets
from catalog.mirror.access import READ, WRITE, Tokens
from catalog.mirror.changes import Deleted, changed, check_path, parse_line
from catalog.mirror.errors import MirrorError
from catalog.mirror.uploads import Uploads
from catalog.registry import Registry
from promptflow.workspace import Workspace
from tests.catalog.mirror_server import pulled, serving

hub = pytest.importorskip("huggingface_hub")
httpx = pytest.importorskip("httpx")

BIG = os.urandom((3 << 20) + 5)
CARD = b"---\nlicense: mit\n---\n# Mine\n"


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with Workspace.open(home) as opened:
        yield opened


@pytest.fixture
def token(workspace: Workspace) -> str:
    return Tokens(workspace).create("writer", WRITE)


@pytest.fixture
def url(workspace: Workspace, token: str, tmp_path: Path) -> Iterator[str]:
    pulled(tmp_path / "hub", "org/small", {"config.json": b"{}"})
    with serving(workspace, tmp_path / "hub") as address:
        yield address


@pytest.fixture
def api(url: str, token: str) -> hub.HfApi:
    return hub.HfApi(endpoint=url, token=token)


@pytest.fixture
def client(url: str, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "README.md").write_bytes(CARD)
    (model / "sub/w.bin").write_bytes(BIG)
    (model / "empty").write_bytes(b"")
    return model


def lines(*items: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(json.dumps({"key": key, "value": value}).encode() + b"\n" for key, value in items)


def file(path: str, data: bytes = b"x") -> tuple[str, dict[str, Any]]:
    return "file", {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}


def commit(client: httpx.Client, *items: tuple[str, dict[str, Any]], at: str = "mine/commit/main") -> httpx.Response:
    return client.post(f"/api/models/workspace/{at}", content=lines(("header", {"summary": "a commit"}), *items))


def send(client: httpx.Client, data: bytes, size: int | None = None, oid: str = "") -> httpx.Response:
    """Upload a large file as Git LFS does; the last answer."""
    oid = oid or hashlib.sha256(data).hexdigest()
    wanted = {"operation": "upload", "objects": [{"oid": oid, "size": len(data) if size is None else size}]}
    answer = client.post("/workspace/mine.git/info/lfs/objects/batch", json=wanted)
    action = answer.json()["objects"][0]
    return httpx.put(action["actions"]["upload"]["href"], content=data) if "actions" in action else answer


def test_a_folder_becomes_a_version_and_comes_back(
    api: hub.HfApi, workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    api.create_repo("mine")
    assert api.repo_info("workspace/mine").siblings == []
    done = api.upload_folder(folder_path=folder, repo_id="workspace/mine", commit_message="The first one")
    registry = Registry(workspace)
    asset = registry.get("mine")
    assert asset.version == "1" and asset.description == "The first one" and asset.details["created_by"] == "writer"
    assert {file.path: file.size for file in registry.files(asset)} == {
        "README.md": len(CARD),
        "sub/w.bin": len(BIG),
        "empty": 0,
    }
    assert registry.card(asset) == CARD.decode() and api.model_info("workspace/mine").sha == done.oid
    there = Path(api.snapshot_download("workspace/mine", cache_dir=tmp_path / "c"))
    assert (there / "sub/w.bin").read_bytes() == BIG and (there / "empty").read_bytes() == b""


def test_a_second_upload_is_a_second_version_with_what_was_there(
    api: hub.HfApi, workspace: Workspace, folder: Path
) -> None:
    api.create_repo("workspace/mine", exist_ok=True)
    api.upload_folder(folder_path=folder, repo_id="workspace/mine")
    api.upload_file(path_or_fileobj=b"more", path_in_repo="notes.txt", repo_id="workspace/mine")
    assert api.list_repo_files("workspace/mine") == ["README.md", "empty", "notes.txt", "sub/w.bin"]
    assert api.list_repo_files("workspace/mine", revision="1") == ["README.md", "empty", "sub/w.bin"]
    api.delete_file("notes.txt", repo_id="workspace/mine")
    api.upload_folder(folder_path=folder, repo_id="workspace/mine")  # changes nothing
    versions = Registry(workspace).list("mine")
    assert [asset.version for asset in versions] == ["3", "2", "1"] and versions[0].digest == versions[2].digest
    assert [one.title for one in api.list_repo_commits("workspace/mine")][0].startswith("Delete notes.txt")


def test_hf_upload(url: str, token: str, workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": url,
        "HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    program = Path(sys.executable).with_name("hf")
    done = subprocess.run(
        [program, "upload", "mine", str(folder), "--revision", "candidate"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    asset = Registry(workspace).get("mine@candidate")
    assert asset.version == "1" and len(Registry(workspace).files(asset)) == 3


def test_branches_and_tags_are_aliases(api: hub.HfApi, workspace: Workspace) -> None:
    api.create_repo("workspace/mine")
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="workspace/mine")
    api.create_branch("workspace/mine", branch="champion")
    with pytest.raises(hub.errors.HfHubHTTPError):
        api.create_branch("workspace/mine", branch="champion")
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id="workspace/mine", revision="champion")
    api.create_tag("workspace/mine", tag="stable", revision="1")
    registry = Registry(workspace)
    assert registry.get("mine@champion").version == "2" and registry.get("mine@stable").version == "1"
    api.delete_branch("workspace/mine", branch="champion")
    api.delete_tag("workspace/mine", tag="stable")
    assert registry.aliases.of("mine") == {}


def test_a_revision_that_looks_like_a_version_is_one(client: httpx.Client, workspace: Workspace) -> None:
    assert commit(client, file("a"), at="mine/commit/7").json()["version"] == "7"
    again = commit(client, file("a", b"other"), at="mine/commit/7")
    assert again.status_code == 409 and "never change" in again.json()["error"]
    assert Registry(workspace).get("mine").version == "7"


def test_data_sets(api: hub.HfApi, workspace: Workspace, tmp_path: Path) -> None:
    api.create_repo("workspace/rows", repo_type="dataset")
    api.upload_file(
        path_or_fileobj=b'{"a": 1}\n', path_in_repo="rows.jsonl", repo_id="workspace/rows", repo_type="dataset"
    )
    assert Assets(workspace, "data").latest("rows").type == "uri_folder"
    there = api.hf_hub_download("workspace/rows", "rows.jsonl", repo_type="dataset", cache_dir=tmp_path / "c")
    assert Path(there).read_bytes() == b'{"a": 1}\n'
    assert [found.id for found in api.list_datasets()] == ["workspace/rows"]
    assert Registry(workspace).list() == []


def test_large_files_go_by_lfs_and_once(client: httpx.Client, workspace: Workspace) -> None:
    assert send(client, BIG).status_code == 200
    oid = hashlib.sha256(BIG).hexdigest()
    large = "lfsFile", {"path": "w.bin", "algo": "sha256", "oid": oid, "size": len(BIG)}
    assert commit(client, large).status_code == 200
    assert not any((workspace.home / "uploads").iterdir())
    assert "actions" not in send(client, BIG).json()["objects"][0]
    assert client.get("/workspace/mine/resolve/main/w.bin").content == BIG


def test_large_files_that_are_not_what_was_announced(client: httpx.Client, workspace: Workspace) -> None:
    assert send(client, BIG, oid="0" * 64).status_code == 400
    assert send(client, BIG, size=len(BIG) - 1).status_code == 400
    assert send(client, BIG, size=len(BIG) + 1).status_code == 400
    assert not any((workspace.home / "uploads").iterdir())
    missing = "lfsFile", {"path": "w.bin", "algo": "sha256", "oid": "1" * 64, "size": 3}
    assert "was not uploaded" in commit(client, missing).json()["error"]


def test_a_hash_is_not_enough_to_get_what_others_keep(client: httpx.Client, workspace: Workspace) -> None:
    secret = workspace.blobs.put(b"an output of a run")
    taken = "lfsFile", {"path": "mine", "algo": "sha256", "oid": secret.digest, "size": secret.size}
    assert commit(client, taken).status_code == 400


def test_addresses_for_uploads_are_signed(client: httpx.Client, url: str) -> None:
    oid = hashlib.sha256(BIG).hexdigest()
    for query in ("size=3&until=9999999999&signature=0", "size=3", f"size={len(BIG)}&until=1&signature=é"):
        assert httpx.put(f"{url}/api/lfs/{oid}?{query}", content=BIG).status_code in (400, 403)


def test_an_upload_that_hangs_up_leaves_nothing(client: httpx.Client, url: str, workspace: Workspace) -> None:
    oid, place = hashlib.sha256(BIG).hexdigest(), urlsplit(url)
    wanted = {"operation": "upload", "objects": [{"oid": oid, "size": len(BIG)}]}
    answer = client.post("/workspace/mine.git/info/lfs/objects/batch", json=wanted).json()
    target = answer["objects"][0]["actions"]["upload"]["href"].removeprefix(url)
    with socket.create_connection((place.hostname, place.port)) as connection:
        head = f"PUT {target} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(BIG)}\r\n\r\n"
        connection.sendall(head.encode() + BIG[: 2 << 20])
        while not (folder := workspace.home / "uploads").is_dir() or not any(folder.iterdir()):
            time.sleep(0.01)
    while any(folder.iterdir()):
        time.sleep(0.01)
    assert send(client, BIG).status_code == 200


def test_a_full_disk_is_told_before_anything_is_sent(client: httpx.Client) -> None:
    wanted = {"operation": "upload", "objects": [{"oid": "1" * 64, "size": 1 << 60}]}
    found = client.post("/workspace/mine.git/info/lfs/objects/batch", json=wanted).json()["objects"][0]
    assert found["error"]["code"] == 507


def test_two_commits_at_once_lose_nothing(client: httpx.Client, workspace: Workspace) -> None:
    commit(client, file("first"))
    threads = [threading.Thread(target=commit, args=(client, file(f"file-{number}"))) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    newest = Registry(workspace).get("mine")
    assert newest.version == "7" and len(Registry(workspace).files(newest)) == 7


def test_a_commit_on_an_old_parent_is_refused(client: httpx.Client) -> None:
    first = commit(client, file("a")).json()["commitOid"]
    body = lines(("header", {"summary": "s", "parentCommit": first}), file("b"))
    assert client.post("/api/models/workspace/mine/commit/main", content=body).status_code == 200
    assert client.post("/api/models/workspace/mine/commit/main", content=body).status_code == 412


@pytest.mark.parametrize(
    "body",
    [
        b"not json\n",
        b"[]\n",
        b'{"key": "file"}\n',
        b'{"key": "file", "value": {"path": "a", "content": "%%", "encoding": "base64"}}\n',
        b'{"key": "other", "value": {"path": "a"}}\n',
        b'{"key": "lfsFile", "value": {"path": "a", "algo": "md5", "oid": "1"}}\n',
        lines(file("../../etc/passwd")),
        lines(file("/etc/passwd")),
        lines(file("a\\..\\b")),
        lines(file(".git/config")),
        lines(file("a"), file("a/b")),
        lines(("deletedFile", {"path": "nothing"})),
        b"",
    ],
)
def test_commits_that_are_refused(client: httpx.Client, workspace: Workspace, body: bytes) -> None:
    assert client.post("/api/models/workspace/mine/commit/main", content=body).status_code == 400
    assert Registry(workspace).list() == []


def test_who_may_do_what(url: str, workspace: Workspace, api: hub.HfApi) -> None:
    reader = Tokens(workspace).create("reader", READ)
    assert api.whoami()["auth"]["accessToken"] == {"displayName": "writer", "role": "write"}
    assert httpx.get(f"{url}/api/models").status_code == 401
    assert httpx.get(f"{url}/health").status_code == 200
    wrong = hub.HfApi(endpoint=url, token="hf_wrong")
    with pytest.raises(hub.errors.HfHubHTTPError):
        wrong.whoami()
    with pytest.raises(hub.errors.HfHubHTTPError, match="HF_TOKEN"):
        wrong.model_info("org/small")
    with serving(workspace, workspace.home) as second:  # one that knows the new token at once
        reading = hub.HfApi(endpoint=second, token=reader)
        assert reading.whoami()["name"] == "reader"
        for call in (
            lambda: reading.create_repo("workspace/mine"),
            lambda: reading.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="workspace/mine"),
            lambda: reading.create_branch("workspace/mine", branch="b"),
        ):
            with pytest.raises(hub.errors.HfHubHTTPError) as refused:
                call()
            assert refused.value.response.status_code == 403
    assert Registry(workspace).list() == []


def test_only_the_workspace_is_written_to(api: hub.HfApi) -> None:
    with pytest.raises(hub.errors.HfHubHTTPError, match="workspace/small"):
        api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="org/small")
    with pytest.raises(hub.errors.HfHubHTTPError, match="workspace/small"):
        api.create_repo("org/small")


def test_a_card_that_is_no_yaml_is_refused(api: hub.HfApi) -> None:
    api.create_repo("workspace/mine")
    with pytest.raises(ValueError, match="front matter"):
        api.upload_file(path_or_fileobj=b"---\na: [\n---\n", path_in_repo="README.md", repo_id="workspace/mine")


def test_what_a_model_is_and_what_an_adapter_belongs_to(client: httpx.Client, workspace: Workspace) -> None:
    commit(client, file("MLmodel", b"flavors:\n  sklearn:\n    data: 1\n"))
    base = json.dumps({"base_model_name_or_path": "workspace/mine"}).encode()
    commit(client, file("adapter_config.json", base), at="lora/commit/main")
    registry = Registry(workspace)
    model, adapter = registry.get("mine"), registry.get("lora")
    assert model.type == "mlflow_model" and model.details["flavors"] == {"sklearn": {"data": 1}}
    assert [edge.source for edge in registry.lineage.sources(adapter.id)] == [model.id]


def test_blobs_may_be_elsewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PF_BLOBS_URL", "memory://mirror")
    with Workspace.open(home) as workspace, serving(workspace, tmp_path) as url:
        key = Tokens(workspace).create("writer", WRITE)
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client:
            assert send(client, BIG).status_code == 200
            large = {"path": "w.bin", "algo": "sha256", "oid": hashlib.sha256(BIG).hexdigest(), "size": len(BIG)}
            assert commit(client, ("lfsFile", large), file("config.json", b"{}")).status_code == 200
            assert client.get("/workspace/mine/resolve/main/w.bin").content == BIG
            assert client.get("/workspace/mine/resolve/main/config.json").content == b"{}"


def test_what_was_never_committed_goes_away(workspace: Workspace) -> None:
    uploads = Uploads(workspace)
    uploads.folder.mkdir()
    old, new = uploads.folder / ("a" * 64), uploads.folder / ("b" * 64)
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    uploads.sweep()
    assert not old.exists() and new.exists()


def test_changes_are_put_over_what_was_there() -> None:
    registry_files = {path: object() for path in ("a", "dir/b", "dir/c", "directory")}
    left = changed(registry_files, {}, [Deleted("dir", folder=True), Deleted("a")])  # type: ignore[arg-type]
    assert [*left] == ["directory"]
    assert parse_line(b"\n") is None and check_path("a/b.txt") == "a/b.txt"
    with pytest.raises(MirrorError):
        check_path("a//b")
