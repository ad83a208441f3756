"""Names of models -> folders that engines read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalog.assets import AssetNotFoundError
from catalog.models import ModelNotFoundError, find_model
from catalog.registry import Registry
from catalog.schemas import ModelSpec
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace


@pytest.fixture
def registry(home: Path) -> Registry:
    return Registry(Workspace.open())


def make_model(folder: Path, **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def make_adapter(folder: Path, base: str) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return folder


def test_a_registered_model_by_all_its_names(registry: Registry, tmp_path: Path) -> None:
    first = registry.create(ModelSpec("shop", str(make_model(tmp_path / "a")), aliases=("champion",)))
    second = registry.create(ModelSpec("shop", str(make_model(tmp_path / "b", x=1))))
    for name in (
        "shop",
        "shop:2",
        "shop@latest",
        "workspace/shop",
        "workspace/shop:2",
        "azureml:shop:2",
        "models:/shop/2",
    ):
        found = find_model(name, registry.workspace)
        assert (found.name, found.kind, found.version, found.digest) == ("shop", "registry", "2", second.digest)
        assert json.loads((found.folder / "config.json").read_text()) == {"x": 1}
        assert not found.is_adapter and found.adapter_of is None and found.base == ""
    assert find_model("shop@champion", registry.workspace).digest == first.digest


def test_folders_and_files(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path / "shop")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    for name in ("shop", "./shop", str(tmp_path / "shop"), "../" + tmp_path.name + "/shop"):
        found = find_model(name, registry.workspace)
        assert found.kind == "folder" and found.folder.samefile(tmp_path / "shop") and found.folder.is_absolute()
    assert find_model("m.gguf", registry.workspace).kind == "gguf"
    registry.create(ModelSpec("shop", "shop"))
    assert find_model("shop", registry.workspace).kind == "registry"
    assert find_model("./shop", registry.workspace).kind == "folder"


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_an_empty_name_is_not_this_folder(registry: Registry, name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="is empty"):
        find_model(name, registry.workspace)


def test_models_that_come_with_the_package(registry: Registry) -> None:
    found = find_model("builtin/intent-mini", registry.workspace)
    assert found.kind == "builtin" and (found.folder / "model.onnx").is_file()
    for name in ("builtin/absent", "builtin/../builtin", "builtin/"):
        with pytest.raises(ModelNotFoundError, match="comes with"):
            find_model(name, registry.workspace)


@pytest.fixture
def pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two revisions of Org/Base and an adapter of it, as huggingface_hub leaves them."""
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    for sha, ref, size in (("a" * 40, "main", 2), ("b" * 40, "v1", 3)):
        snapshot = cache / "models--Org--Base" / "snapshots" / sha
        for folder in (snapshot, snapshot.parents[1] / "refs", snapshot.parents[1] / "blobs"):
            folder.mkdir(parents=True, exist_ok=True)
        (snapshot.parents[1] / "refs" / ref).write_text(sha)
        (snapshot.parents[1] / "blobs" / sha).write_bytes(sha[:1].encode() * size * 1_000_000)
        (snapshot / "model.safetensors").symlink_to(f"../../blobs/{sha}")
        (snapshot / "config.json").write_text("{}")
    adapter = cache / "models--Org--lora" / "snapshots" / ("c" * 40)
    adapter.parent.mkdir(parents=True)
    make_adapter(adapter, "Org/Base")
    return cache


def test_a_pulled_model_and_its_adapters(registry: Registry, pulled: Path) -> None:
    for name, sha in (("Org/Base", "a"), ("Org/Base:v1", "b"), ("Org/Base:bbbbbbbb", "b")):
        found = find_model(name, registry.workspace)
        assert (found.name, found.kind, found.version) == ("Org/Base", "hub", sha * 40)
        assert (found.folder / "model.safetensors").read_bytes()[:1] == sha.encode()
    for name in ("Org/lora", "Org/Base@Org/lora"):
        found = find_model(name, registry.workspace)
        assert found.is_adapter and found.adapter_of is not None and found.adapter_of.name == "Org/Base"
    with pytest.raises(ModelNotFoundError):
        find_model("Org/Base:v2", registry.workspace)


def test_a_pulled_model_is_registered_without_a_second_copy(registry: Registry, pulled: Path) -> None:
    asset = registry.create(ModelSpec("base", "hf://Org/Base@v1"))
    lora = registry.create(ModelSpec("lora", "hf://Org/lora"))
    assert asset.path == "Base" and asset.size == 3_000_002
    blob = pulled / "models--Org--Base" / "blobs" / ("b" * 40)
    assert blob.stat().st_nlink == 2 and blob.samefile(
        registry.workspace.blobs.local_file(registry.files(asset)[1].digest)
    )
    assert [(e.relation, e.source) for e in registry.lineage.sources(asset.id)] == [
        ("origin", f"hub:Org/Base@{'b' * 40}")
    ]
    assert [(e.relation, e.source) for e in registry.lineage.sources(lora.id)] == [
        ("origin", f"hub:Org/lora@{'c' * 40}"), ("parent", "hub:Org/Base"),
    ]  # fmt: skip
    found = find_model("base@lora", registry.workspace)
    assert found.adapter_of is not None and found.adapter_of.kind == "registry"
    alone = find_model("lora", registry.workspace)
    assert alone.base == "Org/Base" and alone.adapter_of is not None and alone.adapter_of.kind == "hub"
    registry.delete(asset)
    assert blob.stat().st_size == 3_000_000


def test_an_adapter_knows_its_base_and_is_named_after_it(registry: Registry, tmp_path: Path) -> None:
    base = registry.create(ModelSpec("base", str(make_model(tmp_path / "base"))))
    lora = registry.create(ModelSpec("lora", str(make_adapter(tmp_path / "lora", "base"))))
    assert [edge.source for edge in registry.lineage.sources(lora.id)] == [base.id]
    for name in ("lora", "base@lora", "base:1@lora:1", f"base@{tmp_path / 'lora'}", f"{tmp_path / 'base'}@lora"):
        found = find_model(name, registry.workspace)
        assert found.is_adapter and found.adapter_of is not None
        assert (found.adapter_of.folder / "config.json").is_file()
    assert find_model("base@lora", registry.workspace).base == "base"
    alone = find_model(str(make_adapter(tmp_path / "other", "Org/Absent")), registry.workspace)
    assert (alone.base, alone.adapter_of) == ("Org/Absent", None)


def test_an_alias_goes_before_an_adapter_of_that_name(registry: Registry, tmp_path: Path) -> None:
    registry.create(ModelSpec("base", str(make_model(tmp_path / "base")), aliases=("lora",)))
    registry.create(ModelSpec("lora", str(make_adapter(tmp_path / "lora", "base"))))
    assert find_model("base@lora", registry.workspace).name == "base"


def test_names_of_nothing(registry: Registry, tmp_path: Path) -> None:
    registry.create(ModelSpec("base", str(make_model(tmp_path / "base"))))
    with pytest.raises(ModelNotFoundError, match="There is no model absent .* registered are base"):
        find_model("absent", registry.workspace)
    with pytest.raises(ModelNotFoundError) as caught:
        find_model("Org/Name", registry.workspace)
    assert caught.value.hint == "pf catalog pull Org/Name"
    for name in ("workspace/absent", "base:7", "azureml:base:7"):
        with pytest.raises((AssetNotFoundError, ModelNotFoundError)):
            find_model(name, registry.workspace)
    with pytest.raises(ModelNotFoundError, match="absent"):
        find_model("base@absent", registry.workspace)
    with pytest.raises(ValidationException, match="no adapter"):
        find_model("base@base", registry.workspace)
    with pytest.raises(ValidationException, match="another workspace"):
        find_model("azureml://registries/other/models/base/versions/1", registry.workspace)
