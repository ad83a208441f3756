"""Names as people give them -> what is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.registry import Registry
from catalog.schemas import ModelSpec
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace
from serve.lora import Adapter
from serve.offers import Offers, weights_size
from serve.served import Served


@pytest.fixture
def registry(home: Path) -> Registry:
    return Registry(Workspace.open())


def folder_of(place: Path, file: str = "model.safetensors", size: int = 1000) -> Path:
    place.mkdir()
    (place / "config.json").write_text("{}")
    (place / file).write_bytes(bytes(size))
    return place


def adapter_of(place: Path, base: str) -> Path:
    place.mkdir()
    (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return place


def unopened() -> Workspace:
    raise AssertionError("the workspace is not needed for this")


def test_built_in_models_and_folders_do_without_the_workspace(tmp_path: Path) -> None:
    offers = Offers(unopened)
    assert offers.offer("fake/echo").size == 0
    assert offers.offer("builtin/intent-mini").size > 10**5
    assert offers.offer(str(folder_of(tmp_path / "m"))).size == 1100


def test_a_registered_model_keeps_the_name_it_was_asked_by(registry: Registry, tmp_path: Path) -> None:
    registry.create(ModelSpec("shop", str(folder_of(tmp_path / "a")), aliases=("champion",)))
    registry.create(ModelSpec("shop", str(folder_of(tmp_path / "b", size=5000))))
    offers = Offers(Workspace.open)
    found = {name: offers.offer(name) for name in ("shop", "shop:1", "shop@champion")}
    assert {name: (one.name, one.alias, one.size) for name, one in found.items()} == {
        "shop": ("shop", "shop", 5500),
        "shop:1": ("shop:1", "shop", 1100),
        "shop@champion": ("shop@champion", "shop", 1100),
    }


def test_an_adapter_is_offered_with_its_base(registry: Registry, tmp_path: Path) -> None:
    registry.create(ModelSpec("shop", str(folder_of(tmp_path / "base"))))
    registry.create(ModelSpec("formal", str(adapter_of(tmp_path / "formal", "shop"))))
    registry.create(ModelSpec("orphan", str(adapter_of(tmp_path / "orphan", "org/absent"))))
    offers = Offers(Workspace.open)
    for served in (offers.offer("formal"), offers.offer("shop@formal")):
        assert served.name == "shop" and [*served.adapters] == ["formal"]
    named = offers.offer("shop", {"f": "formal", "here": str(tmp_path / "orphan")})
    assert {*named.adapters} == {"f", "here"} and named.adapters["here"].folder == tmp_path / "orphan"
    with pytest.raises(ValidationException, match="adapter of 'org/absent', which is not on this machine"):
        offers.offer("orphan")
    with pytest.raises(ValidationException, match="'shop' is no adapter"):
        offers.offer("shop", {"x": "shop"})


def test_over_http_no_path_is_a_name(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.create(ModelSpec("shop", str(folder_of(tmp_path / "m"))))
    registry.create(ModelSpec("formal", str(adapter_of(tmp_path / "a", "shop"))))
    registry.create(ModelSpec("orphan", str(adapter_of(tmp_path / "b", str(tmp_path / "m")))))
    monkeypatch.chdir(tmp_path)
    offers = Offers(Workspace.open)
    (shop, none), (base, adapter) = offers.among_known("shop") or ("", ""), offers.among_known("formal") or ("", "")
    assert isinstance(shop, Served) and (shop.name, shop.exact, shop.asset, none) == (
        "shop:1",
        "shop:1",
        "model:shop:1",
        "",
    )
    assert isinstance(base, Served) and (base.name, [*base.adapters], adapter) == ("shop:1", ["formal:1"], "formal:1")
    assert base.assets == ["model:shop:1", "model:formal:1"]
    for name in (str(tmp_path / "m"), "./m", "m", "../" + tmp_path.name + "/m", "orphan", "absent", "", "builtin/../m"):
        assert offers.among_known(name) is None
    known = offers.known_adapter("shop", "formal")
    assert known is not None and (known[0], known[1].asset) == ("formal:1", "model:formal:1")
    for name in ("./a", str(tmp_path / "a"), "shop", "absent"):
        assert offers.known_adapter("shop", name) is None
    assert offers.any_adapter("shop", str(tmp_path / "a")) == (str(tmp_path / "a"), Adapter(tmp_path / "a"))
    assert offers.any_adapter("shop", "absent") is None


@pytest.mark.parametrize("name", ["absent", "./absent", "builtin/absent", ""])
def test_a_name_of_nothing_is_an_error(home: Path, name: str) -> None:
    with pytest.raises(UserErrorException):
        Offers(Workspace.open).offer(name)


def test_of_several_formats_the_largest_counts(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", size=300)
    make: Callable[[str, int], object] = lambda name, size: (folder / name).write_bytes(bytes(size))  # noqa: E731
    make("more.safetensors", 200)
    make("model.onnx", 400)
    assert weights_size(folder) == 500
    assert weights_size(folder / "model.onnx") == 400
