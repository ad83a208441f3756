"""`pf catalog prune`: what nothing needs goes, and nothing else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from catalog.prune import Pruning
from catalog.registry import Registry
from catalog.schemas import ModelSpec
from promptflow.cli.main import main
from promptflow.workspace import Workspace
from tests.catalog.test_local import NEW, OLD, LocalModels, keep

DAYS = 2 * 86400


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    for sha, name in ((OLD, "v1"), (NEW, "main")):
        keep(folder, "acme/one", sha, {"config.json": name, "weights": "w" * 100}, name)
    return folder


def old(*places: Path) -> None:
    for place in places:
        for file in [place, *place.rglob("*")] if place.is_dir() else [place]:
            os.utime(file, (time.time() - DAYS,) * 2, follow_symlinks=False)


def write(place: Path, size: int) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(bytes(size))
    return place


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def test_of_the_cache_only_what_no_revision_links_to(cache: Path, home: Path) -> None:
    blobs = cache / "models--acme--one" / "blobs"
    before = files(cache)
    lost = {
        write(blobs / ("e" * 40), 7),
        write(blobs / ("f" * 64 + ".pf-partial"), 5),
        write(blobs / "a.incomplete", 3),
    }
    old(blobs)
    fresh = write(cache / "models--acme--two" / "blobs" / ("d" * 64), 9)  # a pull that goes on: nothing is linked yet
    old(write(fresh.with_name("c" * 64), 9))
    pruning = Pruning(Workspace.open())
    assert {left.place for left in pruning.find()} == lost
    assert pruning.remove() == 15
    assert files(cache) == before | {fresh, fresh.with_name("c" * 64)}
    assert [model.sha for model in LocalModels().list()] == [OLD, NEW]


def test_a_pull_that_was_killed_long_ago_goes_whole(cache: Path, home: Path) -> None:
    repo = cache / "models--acme--two"
    write(repo / "blobs" / ("d" * 64), 9)
    write(repo / "refs" / "pr" / "1", 3)
    (repo / "snapshots").mkdir()
    old(repo)
    pruning = Pruning(Workspace.open())
    assert {left.what for left in pruning.find()} == {
        "a blob of no revision", "a name of no revision", "a model of no revision"
    }  # fmt: skip
    assert pruning.remove() == 12 and not repo.exists()


def test_a_folder_in_which_a_pull_begins_stays(cache: Path, home: Path) -> None:
    repo = cache / "models--acme--two"
    (repo / "blobs").mkdir(parents=True)
    stranger = write(cache / "models--acme--three" / "notes.txt", 1)
    old(stranger.parent)
    assert Pruning(Workspace.open()).find() == []
    old(repo)

    class Late(Pruning):
        def _hull(self, repo: Path) -> Any:
            yield from super()._hull(repo)
            write(repo / "blobs" / ("d" * 64), 9)  # just after it was seen to be empty

    assert Late(Workspace.open()).remove() == 0
    assert (repo / "blobs" / ("d" * 64)).exists() and stranger.exists()


def test_of_the_workspace_only_what_no_version_is_made_of(tmp_path: Path, home: Path) -> None:
    workspace = Workspace.open()
    registry = Registry(workspace)
    model = tmp_path / "model"
    write(model / "weights.bin", 2_000_000)
    asset = registry.create(ModelSpec("m", str(model)))
    place = registry.folder(asset)
    kept = files(home / "blobs") | files(home / "assets")
    orphan = Path(workspace.blobs.local_file(workspace.blobs.put(b"left by a kill").digest) or "")
    half = write(home / "blobs" / "ab" / f".{'ab' * 32}.77-1234.tmp", 11)
    layout = write(home / "assets" / "cd" / ("cd" * 32) / "model" / "x", 13).parents[1]
    unfinished = write(place.parent / ".9-aa.tmp" / "x", 17).parent
    assert Pruning(workspace).find() == []  # all of it was written just now
    old(home / "blobs", home / "assets")
    pruning = Pruning(workspace)
    assert {left.place for left in pruning.find()} == {orphan, half, layout, unfinished}
    assert pruning.remove() == 14 + 11 + 13 + 17
    assert files(home / "blobs") | files(home / "assets") == kept
    assert (registry.folder(asset) / "weights.bin").stat().st_size == 2_000_000
    registry.delete(asset)
    old(home)
    assert Pruning(workspace).find() == []  # deleting a version leaves nothing


def test_a_blob_that_is_registered_meanwhile_is_made_again(tmp_path: Path, home: Path) -> None:
    workspace = Workspace.open()
    registry = Registry(workspace)
    model = write(tmp_path / "model" / "weights.bin", 100).parent
    registry.contents.put(model)  # registered up to here, and then killed
    old(home / "blobs")

    class Late(Registry):
        def _keep(self, *args: Any) -> Any:
            Pruning(workspace).remove()  # another process, just before the version claims its blobs
            return super()._keep(*args)

    asset = Late(workspace).create(ModelSpec("m", str(model)))
    assert (registry.folder(asset) / "weights.bin").stat().st_size == 100


def test_the_command_lists_asks_and_deletes(cache: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = write(cache / "models--acme--one" / "blobs" / ("e" * 40), 7)
    assert main(["catalog", "prune", "-o", "json"]) == 0 and json.loads(capsys.readouterr().out) == []
    old(lost.parent)
    assert main(["catalog", "prune"]) == 2 and lost.exists()
    assert "a blob of no revision" in capsys.readouterr().out
    assert main(["catalog", "prune", "--hours", "1", "-y", "-o", "json"]) == 0 and not lost.exists()
    assert json.loads(capsys.readouterr().out) == [{"what": "a blob of no revision", "size": 7, "place": str(lost)}]
    for wrong in ("-1", "nan", "x"):
        assert main(["catalog", "prune", "--hours", wrong]) == 2
