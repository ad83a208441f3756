"""Models in the cache that huggingface_hub and others share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalog.local import LocalModels, NotPulledError, cache_folder
from promptflow.exceptions import ValidationException


def keep(cache: Path, id: str, sha: str, files: dict[str, str], ref: str = "") -> Path:
    """A revision as huggingface_hub lays it down: blobs, links to them, refs."""
    repo = cache / f"models--{id.replace('/', '--')}"
    for name, content in files.items():
        blob = repo / "blobs" / f"{abs(hash(content)):040x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_text(content)
        link = repo / "snapshots" / sha / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if ref:
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / ref).write_text(sha)
    return repo


OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def models(tmp_path: Path) -> LocalModels:
    keep(tmp_path, "acme/one", OLD, {"config.json": "old", "sub/weights": "w" * 100}, "v1")
    keep(tmp_path, "acme/one", NEW, {"config.json": "new", "sub/weights": "w" * 100}, "main")
    keep(tmp_path, "gpt", OLD, {"config.json": "{}"})
    return LocalModels(tmp_path)


def test_what_is_here(models: LocalModels) -> None:
    assert [(m.id, m.sha, m.refs) for m in models.list()] == [
        ("acme/one", OLD, ("v1",)), ("acme/one", NEW, ("main",)), ("gpt", OLD, ())
    ]  # fmt: skip
    model = models.get("acme/one")
    assert (model.sha, model.size, [f.name for f in model.files]) == (NEW, 103, ["config.json", "sub/weights"])
    assert LocalModels(models.folder / "none").list() == []


@pytest.mark.parametrize(("revision", "sha"), [("v1", OLD), (OLD, OLD), (OLD[:7], OLD), ("main", NEW), (None, NEW)])
def test_revisions(models: LocalModels, revision: str | None, sha: str) -> None:
    assert models.get("acme/one", revision).sha == sha


def test_what_is_not_here(models: LocalModels) -> None:
    with pytest.raises(NotPulledError, match="acme/two is not on this machine") as caught:
        models.get("acme/two")
    assert caught.value.hint == "pf catalog pull acme/two"
    with pytest.raises(NotPulledError, match="acme/one at v3"):
        models.get("acme/one", "v3")
    for name in ("../one", "/etc", "a/b/c", "a--b", ".hidden", "a/..", "", "a/b\0"):
        with pytest.raises(ValidationException, match="is no name of a model"):
            models.get(name)


def test_remove_keeps_what_another_revision_has(models: LocalModels) -> None:
    assert models.remove("acme/one", "v1") == 3
    assert [f.path.read_text()[:3] for f in models.get("acme/one").files] == ["new", "www"]
    assert models.remove("acme/one") >= 103
    assert [m.id for m in models.list()] == ["gpt"]
    with pytest.raises(NotPulledError):
        models.remove("acme/one")


def test_a_link_out_of_the_model_is_no_file_of_it(models: LocalModels, tmp_path: Path) -> None:
    folder = models.get("gpt").folder
    (folder / "passwd").symlink_to("/etc/passwd")
    (folder / "gone").symlink_to("../../blobs/gone")
    (folder / "etc").symlink_to("/etc")
    assert [f.name for f in models.get("gpt").files] == ["config.json"]


def test_the_folder_is_the_one_of_huggingface_hub() -> None:
    assert cache_folder({"HF_HUB_CACHE": "/x"}) == Path("/x")
    assert cache_folder({"HF_HOME": "/h"}) == Path("/h/hub")
    assert cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")
    assert cache_folder({}) == Path.home() / ".cache/huggingface/hub"
