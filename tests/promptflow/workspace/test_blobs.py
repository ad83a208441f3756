from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from promptflow.exceptions import MissingExtraError, WorkspaceError
from promptflow.workspace import Workspace, jsontext
from promptflow.workspace.blobs import Blob, Blobs


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """A local folder, and a place that is none."""
    return Blobs(tmp_path / "blobs" if request.param == "folder" else f"memory://{tmp_path}")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("data", [b"", b"hello", os.urandom(3_000_000)], ids=["empty", "short", "long"])
def test_bytes_come_back_by_their_digest(blobs: Blobs, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").write_bytes(data)
    assert blobs.put(data) == blobs.put_file(tmp_path / "source") == Blob(digest(data), len(data))
    assert blobs.get(digest(data)) == data
    blobs.copy_file(digest(data), tmp_path / "new folder" / "target")
    assert (tmp_path / "new folder" / "target").read_bytes() == data


def test_a_folder_comes_back_whole(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "flow.dag.yaml").write_text("nodes: []")
    (source / "deep" / "er" / "tool é.py").write_text("x")
    (source / "run.sh").write_text("#!/bin/sh")
    (source / "run.sh").chmod(0o755)
    blob = blobs.put_folder(source)
    blobs.copy_folder(blob.digest, tmp_path / "target")
    assert contents(tmp_path / "target") == contents(source)
    assert os.access(tmp_path / "target" / "run.sh", os.X_OK)
    assert (blob.kind, blob.size) == ("folder", 9 + 1 + 9)
    assert blobs.put_folder(tmp_path / "target") == blob


def test_links_are_kept_as_what_they_point_to(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "data.txt").write_text("shared")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "folder").symlink_to(tmp_path / "shared")
    (tmp_path / "source" / "file").symlink_to(tmp_path / "shared" / "data.txt")
    blobs.copy_folder(blobs.put_folder(tmp_path / "source").digest, tmp_path / "target")
    assert contents(tmp_path / "target") == {"folder/data.txt": b"shared", "file": b"shared"}
    assert not (tmp_path / "target" / "folder").is_symlink()


def test_a_link_in_a_circle_is_an_error(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "source" / "sub").mkdir(parents=True)
    (tmp_path / "source" / "sub" / "up").symlink_to(tmp_path / "source")
    with pytest.raises(WorkspaceError, match="a folder that holds it"):
        blobs.put_folder(tmp_path / "source")


def test_deleting_says_whether_it_was_there(blobs: Blobs) -> None:
    blob = blobs.put(b"x")
    assert blobs.has(blob.digest)
    assert blobs.delete(blob.digest)
    assert not blobs.delete(blob.digest)
    assert not blobs.has(blob.digest)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "/etc/passwd", "0" * 64 + "\n"])
def test_what_is_no_digest_opens_no_file(blobs: Blobs, name: str) -> None:
    for use in (blobs.get, blobs.has, blobs.delete):
        with pytest.raises(WorkspaceError, match="not a digest"):
            use(name)


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "", ".", "a//b", "a\\..\\out", "a\x00b"])
def test_a_listing_that_leaves_its_folder_is_refused(blobs: Blobs, tmp_path: Path, name: str) -> None:
    file = {"path": name, "digest": blobs.put(b"x").digest, "size": 1, "executable": False}
    listing = blobs.put(jsontext.dumps({"format": "promptflow-folder-1", "files": [file]}).encode())
    with pytest.raises(WorkspaceError, match="outside of it"):
        blobs.copy_folder(listing.digest, tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("data", [b"", b"text", b"[]", b'{"format": "other", "files": []}', b'{"format": 1}'])
def test_a_file_is_not_a_folder(blobs: Blobs, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(WorkspaceError, match="is not a folder"):
        blobs.copy_folder(blobs.put(data).digest, tmp_path / "target")


def test_nothing_is_written_over_a_folder_that_holds_something(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    empty = blobs.put(jsontext.dumps({"format": "promptflow-folder-1", "files": []}).encode())
    for target in ("target", "link", "target/mine"):
        with pytest.raises(WorkspaceError, match="in the way"):
            blobs.copy_folder(empty.digest, tmp_path / target)


def test_what_is_not_there_or_damaged_is_an_error(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    with pytest.raises(WorkspaceError, match="is not in"):
        blobs.get("0" * 64)
    blob = blobs.put(b"hello")
    next(file for file in (tmp_path / "blobs").rglob("*") if file.is_file()).write_bytes(b"hell?")
    with pytest.raises(WorkspaceError, match="damaged"):
        blobs.get(blob.digest)
    with pytest.raises(WorkspaceError, match="damaged"):
        blobs.copy_file(blob.digest, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_source_that_cannot_be_read_is_named(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="Cannot read"):
        blobs.put_file(tmp_path / "absent")
    with pytest.raises(WorkspaceError, match="is not a folder"):
        blobs.put_folder(tmp_path / "absent")


def test_a_full_disk_leaves_no_part_of_a_blob(small_disk: Path) -> None:
    blobs = Workspace.open(small_disk, "").blobs
    with pytest.raises(WorkspaceError, match="disk is full"):
        blobs.put(b"x" * 3_000_000)
    assert contents(small_disk) == {}


def test_processes_put_the_same_bytes_at_once(home: Path, start_python: Callable[..., object]) -> None:
    code = (
        "from promptflow.workspace import Workspace\nfor n in range(20): Workspace.open().blobs.put(b'%d' % n * 9999)"
    )
    writers = [start_python(code) for _ in range(3)]
    assert [writer.communicate(timeout=60) for writer in writers] == [("", "")] * 3  # type: ignore[attr-defined]
    kept = contents(home / "blobs")
    assert {name.rpartition("/")[2] for name in kept} == {digest(b"%d" % n * 9999) for n in range(20)}
    assert all(digest(data) == name.rpartition("/")[2] for name, data in kept.items())


def test_the_place_can_be_any_url(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("PF_BLOBS_URL", "memory://team/blobs")
    blob = Workspace.open().blobs.put(b"shared by url")
    assert Blobs("memory://team/blobs").get(blob.digest) == b"shared by url"
    assert not (home / "blobs").exists()


def test_a_place_that_needs_another_package_says_which() -> None:
    if importlib.util.find_spec("gcsfs") is not None:
        pytest.skip("gcsfs is installed")
    with pytest.raises(MissingExtraError, match="install gcsfs"):
        Blobs("gs://bucket/blobs").put(b"x")


def test_a_place_of_no_known_kind_is_an_error() -> None:
    with pytest.raises(WorkspaceError, match="nowhere://x"):
        Blobs("nowhere://x").put(b"x")


def test_a_listing_of_kept_files_is_the_folder_itself(blobs: Blobs, tmp_path: Path) -> None:
    make_tree = tmp_path / "m"
    (make_tree / "sub").mkdir(parents=True)
    (make_tree / "b.txt").write_bytes(b"b")
    (make_tree / "sub" / "a.txt").write_bytes(b"a")
    folder = blobs.put_folder(make_tree)
    again = blobs.put_listing([("sub/a.txt", blobs.put(b"a"), False), ("b.txt", blobs.put(b"b"), False)])
    assert again == folder
    with pytest.raises(WorkspaceError, match="outside"):
        blobs.put_listing([("../a.txt", blobs.put(b"a"), False)])
