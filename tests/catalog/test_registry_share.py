"""Versions in two workspaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.assets import AssetExistsError
from catalog.registry import Registry
from catalog.schemas import ModelSpec
from catalog.share import find_registry, share
from promptflow.exceptions import ValidationException, WorkspaceError
from promptflow.workspace import Workspace
from tests.catalog.test_registry_runs import end_run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "sub" / "w.bin").write_bytes(b"w" * 3_000_000)
    (tmp_path / "model" / "README.md").write_text("# A card")
    return tmp_path / "model"


@pytest.fixture
def target(tmp_path: Path) -> Registry:
    return Registry(Workspace.open(tmp_path / "team", ""))


def test_a_shared_version_keeps_its_digest_bytes_and_words(
    workspace: Workspace, target: Registry, model: Path, tmp_path: Path
) -> None:
    source = Registry(workspace)
    end_run(workspace, "r1", {})
    asset = source.create(ModelSpec("m", str(model), tags={"a": "b"}, stage="Production", run="r1", data=("d:1",)))
    kept = share(asset, source, target)
    assert (kept.digest, kept.version, kept.tags, kept.stage) == (asset.digest, "1", {"a": "b"}, "Production")
    assert (target.download(kept, tmp_path / "out") / "sub" / "w.bin").read_bytes() == b"w" * 3_000_000
    assert target.card(kept) == "# A card"
    edges = {(edge.relation, edge.source) for edge in target.lineage.sources(kept.id)}
    assert edges == {("data", "data:d:1"), ("run", "run:r1"), ("origin", f"{workspace.home}#model:m:1")}
    assert share(asset, source, target).number == kept.number
    named = share(asset, source, target, name="ours", version="2.0")
    assert (named.name, named.version, named.digest) == ("ours", "2.0", asset.digest)


def test_a_version_that_is_there_with_other_content_is_not_replaced(home: Path, target: Registry, model: Path) -> None:
    source = Registry(Workspace.open())
    target.create(ModelSpec("m", str(model / "README.md")))
    asset = source.create(ModelSpec("m", str(model)))
    with pytest.raises(AssetExistsError, match="never change"):
        share(asset, source, target)
    with pytest.raises(ValidationException, match="not with its own"):
        share(asset, source, source)


def test_damaged_files_are_not_shared(home: Path, target: Registry, model: Path) -> None:
    source = Registry(Workspace.open())
    asset = source.create(ModelSpec("m", str(model)))
    weights = next(file for file in source.files(asset) if file.path == "sub/w.bin")
    place = source.workspace.blobs.local_file(weights.digest)
    assert place is not None
    place.write_bytes(b"x" * weights.size)
    with pytest.raises(WorkspaceError, match="is damaged"):
        share(asset, source, target)
    assert target.list() == []


def test_registries_have_names_in_the_settings(home: Path, tmp_path: Path) -> None:
    workspace = Workspace.open()
    workspace.settings.set("registries.team", str(tmp_path / "team"))
    workspace.settings.set("registries.big", {"home": str(tmp_path / "big"), "database": "postgresql://h/d"})
    assert find_registry("team", workspace).home == tmp_path / "team"
    big = find_registry("big", workspace)
    assert (big.home, big.database_url) == (tmp_path / "big", "postgresql://h/d")
    assert find_registry(str(tmp_path), workspace).home == tmp_path
    with pytest.raises(ValidationException, match="no registry called absent"):
        find_registry("absent", workspace)
