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


def test_models_that_come_with_the_package(registry: Registry) -> None:
    found = find_model("builtin/intent-mini", registry.workspace)
    assert found.kind == "builtin" and (found.folder / "model.onnx").is_file()
    for name in ("builtin/absent", "builtin/../builtin", "builtin/"):
        with pytest.raises(ModelNotFoundError, match="comes with"):
            find_model(name, registry.workspace)


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
