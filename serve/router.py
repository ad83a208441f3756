"""Many models behind one port: each is loaded when it is first asked for, and leaves when the memory is needed.

Within the budget all stay. Beyond it the one that was not used for longest goes, once its requests are done; those that
come for it meanwhile wait in line and load it again, so that two models in demand take turns and neither starves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from catalog.assets import AssetNotFoundError
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from serve.engines.base import Engine, EngineClosedError
from serve.holds import Holds
from serve.lora import Adapter
from serve.names import Find, FindAdapter, Names
from serve.served import Budget, NoRoomError, NotServedError, Served, Slot, Use

if TYPE_CHECKING:
    from serve.known import Known  # brings the database

__all__ = ["Adapter", "Budget", "NoRoomError", "NotServedError", "Router", "Served", "Slot", "Use"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

DRAIN_SECONDS = 300.0  # so long a model waits for another one's requests to end


class Router:
    """``find`` and ``find_adapter`` are asked for names that were not offered at the start, as `Names` says; ``known``
    tells what ``find`` may be asked for. ``told`` hears of each model that was loaded, in a thread.

    All of it belongs to one event loop; loading and unloading run in threads.
    """

    def __init__(
        self,
        offered: Sequence[Served],
        budget: Budget = Budget(),  # noqa: B008 - frozen
        find: Find | None = None,
        find_adapter: FindAdapter | None = None,
        holds: Holds | None = None,
        told: Callable[[Served, Engine], None] | None = None,
        known: Callable[[], Sequence[Known]] | None = None,
    ) -> None:
        self.holds = holds or Holds(Workspace.open)
        self.names = Names(offered, self.holds, find, find_adapter, known)
        self.slots = self.names.slots
        self.budget, self.told = budget, told
        self.loads = self.evictions = 0
        self._room = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def default(self) -> str:
        return next(iter(self.slots), "")

    async def known(self) -> Sequence[Known]:
        """What may be asked for beside what is offered."""
        return await self.names.known()

    def loaded(self) -> list[Slot]:
        return [slot for slot in self.slots.values() if slot.engine is not None]

    @asynccontextmanager
    async def use(self, name: str | None) -> AsyncIterator[Use]:
        """The model called ``name`` (MODEL, MODEL@ADAPTER or ADAPTER; by default the first one), loaded."""
        slot, adapter = await self.resolve(name or self.default)
        async with self._using(slot) as engine:
            if adapter:
                async with slot.lora.use(engine, adapter):
                    yield Use(f"{slot.served.name}@{adapter}", engine, adapter)
            else:
                yield Use(slot.served.name, engine)

    async def resolve(self, name: str) -> tuple[Slot, str]:
        """The slot for a name and the adapter that it asks for. NotServedError, AdapterNotFoundError."""
        return await self.names.resolve(name)

    def find_adapter(self, model: str, name: str) -> tuple[str, Adapter] | None:
        """An adapter that was not offered, by its name. Blocks."""
        return self.names.find_adapter(model, name) if self.names.find_adapter is not None else None

    async def load_adapter(self, model: str | None, name: str, adapter: Adapter, *, replace: bool = False) -> None:
        """Offer one more adapter of a model, and load it. AdapterExistsError, unless it may ``replace`` one."""
        slot, _ = await self.resolve(model or self.default)
        async with self._using(slot) as engine:
            await slot.lora.load(engine, name, adapter, replace=replace)

    async def unload_adapter(self, model: str | None, name: str) -> None:
        """Offer an adapter no more; it leaves once the requests that use it are done."""
        slot, _ = await self.resolve(model or self.default)
        if slot.engine is None:
            return await slot.lora.unload(None, name)
        async with self._using(slot) as engine:
            await slot.lora.unload(engine, name)

    @asynccontextmanager
    async def _using(self, slot: Slot) -> AsyncIterator[Engine]:
        engine = await self._enter(slot)
        try:
            yield engine
        except EngineClosedError:
            # It is gone for good: the next request gets a new one. After an EngineFailedError it goes on by itself.
            slot.leaving = slot.leaving or slot.engine is engine
            raise
        finally:
            await self._leave(slot)

    async def open(self) -> None:
        """Hold what is offered, from now until it is closed."""
        await asyncio.to_thread(self.holds.hold, [one for slot in self.slots.values() for one in slot.served.assets])

    async def preload(self, name: str) -> None:
        async with self.use(name):
            pass

    async def close(self) -> None:
        """Unload all models, whether or not they are in use."""
        if self._timer is not None:
            self._timer.cancel()
        for slot in self.slots.values():
            for engine in filter(None, (slot.engine, slot.asleep)):
                slot.engine = slot.asleep = None
                await asyncio.to_thread(engine.unload)
        await asyncio.to_thread(self.holds.end)

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
                woken = await self._woken(slot)
                engine = woken or await self._made(slot)
                stats = engine.stats()
                slot.size = max(stats.weights_bytes + stats.cache_bytes, slot.served.size)
                slot.engine = engine
        finally:
            slot.loading = None
        self.loads += 1
        word = "loaded" if woken is None else "woke"
        logger.info("%s %s in %.1f s, %d bytes", word, slot.served.name, time.monotonic() - began, slot.size)
        if self.told is not None and woken is None:
            self._start(asyncio.to_thread(self.told, slot.served, engine))
        return engine

    async def _made(self, slot: Slot) -> Engine:
        """Its engine, loaded, and its files held."""
        assets = [slot.served.asset] if slot.served.asset else []
        try:
            await asyncio.to_thread(self.holds.hold, assets)
        except AssetNotFoundError as error:
            if slot.found:
                self.slots.pop(slot.served.name, None)
            raise NotServedError(f"The model '{slot.served.name}' was deleted meanwhile: {error}") from error
        try:
            engine = await asyncio.to_thread(slot.served.make)
            engine.expect([adapter.folder for adapter in slot.served.adapters.values()])
            await asyncio.to_thread(engine.load)
        except BaseException:
            await asyncio.to_thread(self.holds.release, assets)
            raise
        return engine

    async def _woken(self, slot: Slot) -> Engine | None:
        """The engine that sleeps, awake; None where there is none, or it cannot be woken."""
        engine = slot.asleep
        if engine is None:
            return None
        try:
            await asyncio.to_thread(engine.wake)
        except UserErrorException as error:
            logger.warning("%s is loaded anew: %s", slot.served.name, error)
            await self._release(slot)
            return None
        slot.asleep = None
        return engine

    async def _make_room(self, slot: Slot) -> None:
        need, budget = slot.served.size, self.budget
        if budget.memory and need > budget.memory:
            raise NoRoomError(
                f"The model '{slot.served.name}' needs about {_bytes(need)}; {_bytes(budget.memory)} may be used here."
            )
        need = max(need, slot.size)  # of one that sleeps, what it had before
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
                await self._put_away(victim)
                self.evictions += 1

    async def _put_away(self, slot: Slot) -> None:
        """Out of the memory that models share: asleep, where the engine can do that, else unloaded."""
        engine = slot.engine
        if engine is None or not await asyncio.to_thread(engine.sleep):
            return await self._unload(slot)
        slot.engine, slot.asleep, slot.leaving = None, engine, False
        slot.changed.notify_all()
        logger.info("%s sleeps", slot.served.name)

    async def _unload(self, slot: Slot) -> None:
        """Called under the slot's condition, when nobody uses it."""
        try:
            await self._release(slot)
        finally:
            slot.leaving = False
            slot.changed.notify_all()

    async def _release(self, slot: Slot) -> None:
        engine = slot.engine or slot.asleep
        slot.engine, slot.asleep, slot.size = None, None, 0
        if engine is not None:
            await asyncio.to_thread(engine.unload)
            held = slot.lora.gone() + ([slot.served.asset] if slot.served.asset else [])
            await asyncio.to_thread(self.holds.release, held)
            logger.info("unloaded %s", slot.served.name)

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
        for slot in [slot for slot in self.slots.values() if slot.engine is not None or slot.asleep is not None]:
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


def _bytes(size: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000  # type: ignore[assignment]
    return f"{size:.1f} {unit}"
