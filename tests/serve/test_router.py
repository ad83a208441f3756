"""Loading on demand, and who leaves when there is no room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from serve.engines.base import AdapterNotFoundError, Engine, EngineClosedError, EngineFailedError, Piece, Request
from serve.router import Adapter, Budget, NoRoomError, NotServedError, Router, Served


class Counted(Engine):
    """Notes in ``log`` what happens to it."""

    def __init__(self, model: str, log: list[str]) -> None:
        super().__init__(model)
        self.log = log
        self._adapters: tuple[str, ...] = ()

    def load(self) -> None:
        self.log.append(f"+{self.model}")

    def unload(self) -> None:
        self.log.append(f"-{self.model}")

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        yield Piece("", 0, 0, "stop")

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._adapters

    def load_adapter(self, name: str, folder: Path) -> None:
        self._adapters = (*self._adapters, name)
        self.log.append(f"+{self.model}@{name}")


def router_of(log: list[str], sizes: dict[str, int], **options: Any) -> Router:
    served = [Served(name, lambda name=name: Counted(name, log), size) for name, size in sizes.items()]  # type: ignore[misc]
    return Router(served, **options)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with asyncio.timeout(10):
            return await work()

    return asyncio.run(inside())


def test_a_model_is_loaded_once_when_many_ask_for_it_at_once() -> None:
    log: list[str] = []

    async def work() -> None:
        router = router_of(log, {"a": 1, "b": 1})
        await asyncio.gather(*(router.preload("a") for _ in range(20)))
        assert log == ["+a"]
        await router.close()

    run(work)
    assert log == ["+a", "-a"]


@pytest.mark.parametrize("budget", [Budget(models=2), Budget(memory=2)])
def test_the_one_that_was_not_used_for_longest_leaves(budget: Budget) -> None:
    log: list[str] = []

    async def work() -> None:
        router = router_of(log, {"a": 1, "b": 1, "c": 1}, budget=budget)
        for name in ("a", "b", "a", "c", "a", "b"):
            await router.preload(name)
        assert router.evictions == 2

    run(work)
    assert log == ["+a", "+b", "-b", "+c", "-c", "+b"]


def test_one_that_is_in_use_is_waited_for_and_nobody_starves() -> None:
    log: list[str] = []

    async def work() -> None:
        router = router_of(log, {"a": 1, "b": 1}, budget=Budget(models=1))

        async def use(name: str, seconds: float) -> None:
            async with router.use(name) as use:
                log.append(f"use {use.name}")
                await asyncio.sleep(seconds)

        first = asyncio.create_task(use("a", 0.05))
        await asyncio.sleep(0.01)
        other = asyncio.create_task(use("b", 0))
        await asyncio.sleep(0.01)
        late = [asyncio.create_task(use("a", 0)) for _ in range(3)]  # behind the one that waits for room
        await asyncio.gather(first, other, *late)

    run(work)
    assert log == ["+a", "use a", "-a", "+b", "use b", "-b", "+a", "use a", "use a", "use a"]


def test_a_hundred_requests_for_three_models_in_room_for_one() -> None:
    log: list[str] = []

    async def work() -> None:
        router = router_of(log, {"a": 1, "b": 1, "c": 1}, budget=Budget(models=1))
        await asyncio.gather(*(router.preload("abc"[number % 3]) for number in range(99)))
        assert all(slot.users == 0 for slot in router.slots.values()) and len(router.loaded()) == 1

    run(work)
    loaded = 0
    for event in log:
        loaded += 1 if event[0] == "+" else -1
        assert loaded <= 1
    assert len(log) < 20  # those that wait for the same model share its loading


def test_what_is_larger_than_the_budget_is_refused() -> None:
    async def work() -> None:
        router = router_of([], {"a": 3 * 10**9}, budget=Budget(memory=2 * 10**9))
        with pytest.raises(NoRoomError, match=r"needs about 3\.0 GB; 2\.0 GB"):
            await router.preload("a")

    run(work)


def test_a_model_that_nobody_uses_leaves() -> None:
    log: list[str] = []

    async def work() -> None:
        router = router_of(log, {"a": 1}, budget=Budget(idle=0.05))
        await router.preload("a")
        while router.loaded():
            await asyncio.sleep(0.01)
        await router.preload("a")

    run(work)
    assert log[:3] == ["+a", "-a", "+a"]


def test_a_failed_load_is_told_and_tried_again() -> None:
    tries: list[int] = []

    def make() -> Engine:
        tries.append(1)
        if len(tries) == 1:
            raise EngineFailedError("no luck")
        return Counted("a", [])

    async def work() -> None:
        router = Router([Served("a", make)])
        with pytest.raises(EngineFailedError, match="no luck"):
            await router.preload("a")
        await router.preload("a")
        assert len(router.loaded()) == 1

    run(work)


@pytest.mark.parametrize(
    ("error", "log"), [(EngineClosedError("it is gone"), ["+a", "-a", "+a"]), (EngineFailedError("this one"), ["+a"])]
)
def test_an_engine_that_is_gone_is_replaced_once_its_requests_are_over(error: Exception, log: list[str]) -> None:
    """One that only failed at an answer looks after itself."""
    noted: list[str] = []

    async def work() -> None:
        router = router_of(noted, {"a": 1})
        with pytest.raises(type(error)):
            async with router.use("a"):
                raise error
        await router.preload("a")

    run(work)
    assert noted == log


def test_names_lead_to_models_and_adapters(tmp_path: Path) -> None:
    log: list[str] = []

    async def work() -> None:
        served = Served("org/a", lambda: Counted("org/a", log), adapters={"x": Adapter(tmp_path)})
        router = Router(
            [served], find_adapter=lambda base, name: (name, Adapter(tmp_path)) if name == "later" else None
        )
        for asked, got in {
            None: "org/a",
            "a": "org/a",
            "org/a": "org/a",
            "x": "org/a@x",
            "a@x": "org/a@x",
            "org/a@later": "org/a@later",
        }.items():
            async with router.use(asked) as use:
                assert use.name == got
        with pytest.raises(AdapterNotFoundError, match="has no adapter 'y'; there are x, later"):
            await router.preload("org/a@y")
        with pytest.raises(NotServedError, match="The model 'b' is not served here; 'org/a' is"):
            await router.preload("b")

    run(work)
    assert log == ["+org/a", "+org/a@x", "+org/a@later"]


def test_an_adapter_that_many_ask_for_is_loaded_once(tmp_path: Path) -> None:
    log: list[str] = []

    async def work() -> None:
        router = Router([Served("a", lambda: Counted("a", log), adapters={"x": Adapter(tmp_path)})])
        await asyncio.gather(*(router.preload("a@x") for _ in range(10)))

    run(work)
    assert log == ["+a", "+a@x"]


class Sleeper(Counted):
    """Sleeps instead of being unloaded, and wakes up unless it is told not to."""

    wakes = True

    def expect(self, adapters: Sequence[Path]) -> None:
        if adapters:
            self.log.append(f"?{[folder.name for folder in adapters]}")

    def sleep(self) -> bool:
        self.log.append(f"z{self.model}")
        return True

    def wake(self) -> None:
        self.log.append(f"!{self.model}")
        if not self.wakes:
            raise EngineFailedError("it does not wake up")


def sleepers(log: list[str], names: str = "ab", **options: Any) -> Router:
    served = [Served(name, lambda name=name: Sleeper(name, log), 1) for name in names]  # type: ignore[misc]
    return Router(served, **options)


def test_an_engine_that_can_sleep_is_not_loaded_twice() -> None:
    log: list[str] = []

    async def work() -> None:
        router = sleepers(log, budget=Budget(memory=1))
        for name in ("a", "b", "a", "b"):
            async with router.use(name) as use:
                assert use.engine.model == name
                assert [slot.served.name for slot in router.loaded()] == [name]
        await router.close()

    run(work)
    assert log == ["+a", "za", "+b", "zb", "!a", "za", "!b", "-a", "-b"]


def test_an_engine_that_does_not_wake_up_is_loaded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setattr(Sleeper, "wakes", False)

    async def work() -> None:
        router = sleepers(log, budget=Budget(models=1))
        for name in ("a", "b", "a"):
            await router.preload(name)

    run(work)
    assert log == ["+a", "za", "+b", "zb", "!a", "-a", "+a"]


def test_what_sleeps_and_is_not_used_leaves_in_time() -> None:
    log: list[str] = []

    async def work() -> None:
        router = sleepers(log, budget=Budget(models=1, idle=0.05))
        await router.preload("a")
        await router.preload("b")
        while "-a" not in log or "-b" not in log:
            await asyncio.sleep(0.01)

    run(work)
    assert sorted(log) == sorted(["+a", "za", "+b", "-a", "-b"])


def test_an_engine_hears_of_its_adapters_before_it_is_loaded(tmp_path: Path) -> None:
    log: list[str] = []

    async def work() -> None:
        served = Served("a", lambda: Sleeper("a", log), adapters={"one": Adapter(tmp_path / "lora")})
        await Router([served]).preload("a")

    run(work)
    assert log == ["?['lora']", "+a"]
