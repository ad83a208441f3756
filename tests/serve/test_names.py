"""Names in requests -> models and adapters, while versions come and go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import serve.names
from catalog.registry import Registry
from catalog.schemas import ModelSpec
from promptflow.workspace import Workspace
from serve.engines.base import AdapterNotFoundError, Engine
from serve.engines.fake import EchoEngine
from serve.offers import Offers
from serve.router import Budget, NotServedError, Router, Served
from tests.serve.test_offers import adapter_of, folder_of


class Any(EchoEngine):
    """An echo that takes adapters."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.loaded: dict[str, Path] = {}

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self.loaded)

    def load_adapter(self, name: str, folder: Path) -> None:
        self.loaded[name] = folder


class Echoes(Offers):
    """Offers whose engines are echoes."""

    def _served(self, *args: object, **options: object) -> Served:
        found = super()._served(*args, **options)  # type: ignore[arg-type]
        make: type[Engine] = Any
        return Served(**{**vars(found), "make": lambda: make(found.name)})


@pytest.fixture
def registry(home: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(serve.names, "TRUST_SECONDS", 0.0)
    return Registry(Workspace.open())


def asked(*names: str, offered: tuple[str, ...] = (), then: object = None) -> list[str]:
    """What answers by each name, at a server of any model."""
    offers = Echoes(Workspace.open)

    async def work() -> list[str]:
        router = Router([offers.offer(name) for name in offered], Budget(), offers.among_known, offers.known_adapter)
        await router.open()
        answers = []
        for name in names:
            try:
                async with router.use(name) as use:
                    answers.append(use.name)
            except (NotServedError, AdapterNotFoundError) as error:
                answers.append(type(error).__name__)
            if callable(then):
                then()
        assert len({slot.served.exact for slot in router.slots.values()}) == len(router.slots)
        await router.close()
        return answers

    return asyncio.run(work())


def test_a_name_is_its_newest_version_also_later(registry: Registry, tmp_path: Path) -> None:
    places = iter(folder_of(tmp_path / f"v{size}", size=size) for size in range(1, 9))

    def new() -> None:
        registry.create(ModelSpec("shop", str(next(places))))

    new()
    assert asked("shop", "shop", "shop:1", "shop", then=new) == ["shop:1", "shop:2", "shop:1", "shop:4"]


def test_versions_aliases_and_long_forms_lead_to_one_engine(registry: Registry, tmp_path: Path) -> None:
    registry.create(ModelSpec("shop", str(folder_of(tmp_path / "a")), aliases=("champion",)))
    names = ("shop", "shop:1", "shop@champion", "shop@latest", "workspace/shop:1", "azureml:shop:1", "models:/shop/1")
    assert asked(*names) == ["shop:1"] * len(names)
    wrong = ("shop:2", "shop@other", "shop:", "@", "shop@", "@shop", ":1", "a@b@c", "shop:1:1", "\0", "~", ".", "shop/")
    assert asked(*wrong) == ["NotServedError"] * len(wrong)


def test_what_was_offered_by_a_name_keeps_it(registry: Registry, tmp_path: Path) -> None:
    registry.create(ModelSpec("shop", str(folder_of(tmp_path / "a", size=1)), aliases=("old",)))
    offered = ("shop",)

    def new() -> None:
        registry.create(ModelSpec("shop", str(folder_of(tmp_path / f"v{len(registry.list('shop'))}"))))

    assert asked("shop", "shop", "shop:1", "shop@old", "shop:2", offered=offered, then=new) == [
        "shop", "shop", "shop", "shop", "shop:2"
    ]  # fmt: skip
    assert asked("shop", "shop:1", offered=("shop:1",))[1] == "shop:1"


def test_adapters_are_found_by_name_version_and_base(registry: Registry, tmp_path: Path) -> None:
    registry.create(ModelSpec("shop", str(folder_of(tmp_path / "base"))))
    registry.create(ModelSpec("formal", str(adapter_of(tmp_path / "f", "shop")), aliases=("prod",)))

    def new() -> None:
        folder = adapter_of(tmp_path / f"f{len(registry.list('formal'))}", "shop")
        (folder / "more.txt").write_text(folder.name)
        registry.create(ModelSpec("formal", str(folder)))

    names = ("formal", "shop@formal", "formal@prod", "shop@formal:1", "shop:1@formal:2", "formal:9", "shop@absent")
    assert asked(*names, then=new) == [
        "shop:1@formal:1", "shop:1@formal:2", "shop:1@formal:1", "shop:1@formal:1", "shop:1@formal:2",
        "NotServedError", "NotServedError",
    ]  # fmt: skip


def test_a_deleted_model_is_not_served_any_more(registry: Registry, tmp_path: Path) -> None:
    asset = registry.create(ModelSpec("shop", str(folder_of(tmp_path / "a"))))
    registry.create(ModelSpec("other", str(folder_of(tmp_path / "b", size=7))))
    offers = Echoes(Workspace.open)

    async def work() -> None:
        router = Router([], Budget(models=1), offers.among_known, offers.known_adapter)
        await router.preload("shop")
        assert registry.uses.of(asset.id)
        await router.preload("other")  # takes its place
        assert not registry.uses.of(asset.id)
        registry.delete(asset)
        for name in ("shop", "shop:1"):
            with pytest.raises(NotServedError):
                await router.preload(name)
        assert [*router.slots] == ["other:1"]
        await router.close()

    asyncio.run(work())
