"""Many models behind one port: each is loaded when it is first asked for, and leaves when the memory is needed.

Within the budget all stay. Beyond it the one that was not used for longest goes, once its requests are done; those that
come for it meanwhile wait in line and load it again, so that two models in demand take turns and neither starves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from promptflow.exceptions import UserErrorException
from serve.engines.base import AdapterNotFoundError, Engine, EngineClosedError

logger = logging.getLogger(__name__)
T = TypeVar("T")

DRAIN_SECONDS = 300.0  # so long a model waits for another one's requests to end


class NotServedError(UserErrorException):
    """Nothing of this name is served here."""

    http_status = 404


class NoRoomError(UserErrorException):
    """The model does not fit the memory budget, or the others do not make room for it."""

    http_status = 503


@dataclass(frozen=True)
class Served:
    """A model as it is offered. ``make`` gives its engine, not loaded; ``size`` is the bytes that it is thought to
    need; ``adapters`` are the folders of its LoRA adapters by the name that requests use; by ``alias`` it is known
    where no other has that name: of a version, the name without it."""

    name: str
    make: Callable[[], Engine]
    size: int = 0
    adapters: Mapping[str, Path] = field(default_factory=dict)
    alias: str = ""


@dataclass(frozen=True)
class Budget:
    """What may be loaded at once; 0 is no limit. ``idle`` is the seconds after which an unused model leaves."""

    memory: int = 0
    models: int = 0
    idle: float = 0.0


@dataclass(frozen=True)
class Use:
    """A loaded model in the hands of one request; ``adapter`` is empty for the base model."""

    name: str
    engine: Engine
    adapter: str = ""


class Slot:
    """A model that is offered, and its engine while it is loaded."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.engine: Engine | None = None
        self.users = 0
        self.last = 0.0  # monotonic seconds
        self.size = 0
        self.leaving = False
        self.loading: asyncio.Task[Engine] | None = None
        self.changed = asyncio.Condition()

    @property
    def free(self) -> bool:
        return self.users == 0


class Router:
    """``find`` and ``find_adapter`` are asked for names that were not offered at the start; None or an error refuses.

    All of it belongs to one event loop; loading and unloading run in threads.
    """

    def __init__(
        self,
        offered: Sequence[Served],
        budget: Budget = Budget(),  # noqa: B008 - frozen
        find: Callable[[str], Served | None] | None = None,
        find_adapter: Callable[[str, str], Path | None] | None = None,
    ) -> None:
        self.slots = {served.name: Slot(served) for served in offered}
        self.budget, self.find, self.find_adapter = budget, find, find_adapter
        self.loads = self.evictions = 0
        self._room = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def default(self) -> str:
        return next(iter(self.slots), "")

    def loaded(self) -> list[Slot]:
        return [slot for slot in self.slots.values() if slot.engine is not None]

    @asynccontextmanager
    async def use(self, name: str | None) -> AsyncIterator[Use]:
        """The model called ``name`` (MODEL, MODEL@ADAPTER or ADAPTER; by default the first one), loaded."""
        slot, adapter = await self.resolve(name or self.default)
        engine = await self._enter(slot)
        try:
            if adapter and adapter not in engine.adapters:
                await self._load_adapter(slot, engine, adapter)
            yield Use(f"{slot.served.name}@{adapter}" if adapter else slot.served.name, engine, adapter)
        except EngineClosedError:
            # It is gone for good: the next request gets a new one. After an EngineFailedError it goes on by itself.
            slot.leaving = slot.leaving or slot.engine is engine
            raise
        finally:
            await self._leave(slot)

    async def resolve(self, name: str) -> tuple[Slot, str]:
        """The slot for a name and the adapter that it asks for. NotServedError, AdapterNotFoundError."""
        if (slot := self._by_name(name)) is not None:
            return slot, ""
        owners = [slot for slot in self.slots.values() if name in slot.served.adapters]
        if len(owners) == 1:
            return owners[0], name
        base, at, adapter = name.rpartition("@")
        if at and base and (slot := self._by_name(base)) is not None:
            return slot, adapter
        served = await asyncio.to_thread(self.find, name) if self.find is not None else None
        if served is None:
            raise NotServedError(f"The model '{name}' is not served here; {_listed(list(self.slots))}.")
        return self.slots.setdefault(served.name, Slot(served)), ""

    def _by_name(self, name: str) -> Slot | None:
        """By its name or alias, or by the last part of its name where only one is called so."""
        if name in self.slots:
            return self.slots[name]
        for slot in self.slots.values():
            if slot.served.alias == name:
                return slot
        short = [slot for known, slot in self.slots.items() if known.rpartition("/")[2] == name]
        return short[0] if len(short) == 1 else None

    async def preload(self, name: str) -> None:
        async with self.use(name):
            pass

    async def close(self) -> None:
        """Unload all models, whether or not they are in use."""
        if self._timer is not None:
            self._timer.cancel()
        for slot in self.loaded():
            engine, slot.engine = slot.engine, None
            assert engine is not None
            await asyncio.to_thread(engine.unload)

    async def _enter(self, slot: Slot) -> Engine:
        """Counts one more user; the caller has to `_leave`, but not after an error."""
        async with slot.changed:
            while slot.leaving:
                if slot.free:  # nobody else is there to see it out
                    await self._unload(slot)
                else:
                    await slot.changed.wait()
            slot.users += 1
            slot.last = time.monotonic()
            if slot.engine is not None:
                return slot.engine
            # All that wait for a model wait for one task, which goes on when any of them hangs up. They must not stand
            # in the line for room themselves: the next model there would wait for them to end.
            loading = slot.loading = slot.loading or self._start(self._load(slot))
        try:
            return await asyncio.shield(loading)
        except BaseException:
            await self._leave(slot)
            raise

    async def _leave(self, slot: Slot) -> None:
        slot.users -= 1
        slot.last = time.monotonic()
        if slot.leaving and slot.free:
            async with slot.changed:
                slot.changed.notify_all()
        if self.budget.idle and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.budget.idle, self._start_sweep)

    async def _load(self, slot: Slot) -> Engine:
        try:
            async with self._room:
                await self._make_room(slot)
                began = time.monotonic()
                engine = await asyncio.to_thread(slot.served.make)
                await asyncio.to_thread(engine.load)
                stats = engine.stats()
                slot.size = max(stats.weights_bytes + stats.cache_bytes, slot.served.size)
                slot.engine = engine
        finally:
            slot.loading = None
        self.loads += 1
        logger.info("loaded %s in %.1f s, %d bytes", slot.served.name, time.monotonic() - began, slot.size)
        return engine

    async def _load_adapter(self, slot: Slot, engine: Engine, adapter: str) -> None:
        folder = slot.served.adapters.get(adapter)
        if folder is None and self.find_adapter is not None:
            folder = await asyncio.to_thread(self.find_adapter, slot.served.name, adapter)
        if folder is None:
            raise AdapterNotFoundError(
                f"The model '{slot.served.name}' has no adapter '{adapter}'; {_listed(list(slot.served.adapters))}."
            )
        async with slot.changed:
            if adapter not in engine.adapters:
                await asyncio.to_thread(engine.load_adapter, adapter, folder)

    async def _make_room(self, slot: Slot) -> None:
        need, budget = slot.served.size, self.budget
        if budget.memory and need > budget.memory:
            raise NoRoomError(
                f"The model '{slot.served.name}' needs about {_bytes(need)}; {_bytes(budget.memory)} may be used here."
            )
        while (there := self.loaded()) and (
            (budget.models and len(there) >= budget.models)
            or (budget.memory and sum(other.size for other in there) + need > budget.memory)
        ):
            await self._evict(min(there, key=lambda other: (not other.free, other.last)), slot)

    async def _evict(self, victim: Slot, wanted: Slot) -> None:
        victim.leaving = True
        async with victim.changed:
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    while not victim.free:
                        await victim.changed.wait()
            except TimeoutError:
                victim.leaving = False
                victim.changed.notify_all()
                raise NoRoomError(
                    f"There is no room for '{wanted.served.name}': '{victim.served.name}' is in use."
                ) from None
            if victim.leaving:  # else another request has seen it out already
                await self._unload(victim)
                self.evictions += 1

    async def _unload(self, slot: Slot) -> None:
        """Called under the slot's condition, when nobody uses it."""
        engine, slot.engine, slot.size = slot.engine, None, 0
        try:
            if engine is not None:
                await asyncio.to_thread(engine.unload)
                logger.info("unloaded %s", slot.served.name)
        finally:
            slot.leaving = False
            slot.changed.notify_all()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that is kept until it is done; whoever waits for it gets its error."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: those who waited may all have hung up

    def _start_sweep(self) -> None:
        self._start(self._sweep())

    async def _sweep(self) -> None:
        """Unload what nobody used for as long as the budget says, and come back when the next one may be due."""
        self._timer = None
        now, soonest = time.monotonic(), 0.0
        for slot in self.loaded():
            left = slot.last + self.budget.idle - now
            if slot.free and left <= 0:
                slot.leaving = True
                async with slot.changed:
                    if slot.free and slot.leaving:
                        await self._unload(slot)
                    else:
                        slot.leaving = False
            else:
                soonest = min(soonest or self.budget.idle, max(left, 0.05))
        if soonest and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(soonest, self._start_sweep)


def _listed(names: list[str]) -> str:
    if not names:
        return "there is none"
    return f"'{names[0]}' is" if len(names) == 1 else "there are " + ", ".join(names[:20])


def _bytes(size: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000  # type: ignore[assignment]
    return f"{size:.1f} {unit}"
