"""The LoRA adapters of one model that is offered: loaded when a request asks for one, unloaded by order, or when the
engine has room for no more: then the one that was not used for longest."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from promptflow.exceptions import UserErrorException
from serve.engines.base import AdapterNotFoundError, Engine
from serve.holds import Holds


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter. ``asset`` is what the registry knows it by; empty of a folder."""

    folder: Path
    asset: str = ""


class AdapterExistsError(UserErrorException):
    """An adapter of this name is there already."""

    http_status = 409


class Lora:
    """``offered`` are the adapters that requests may name. Changes of one adapter come one after the other; those of
    others go on meanwhile."""

    def __init__(self, offered: Mapping[str, Adapter], holds: Holds) -> None:
        self.offered = dict(offered)
        self._holds = holds
        self._held: dict[str, str] = {}
        self._users: Counter[str] = Counter()
        self._last: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._coming: set[str] = set()
        self._leaving: set[str] = set()
        self._spare = asyncio.Condition()

    @asynccontextmanager
    async def use(self, engine: Engine, name: str) -> AsyncIterator[None]:
        """The adapter is loaded, and nobody takes its place, until the block ends."""
        self._users[name] += 1
        try:
            if name not in engine.adapters or name in self._leaving:
                async with self._locks[name]:
                    if name not in engine.adapters:
                        await self._load(engine, name)
            yield
        finally:
            self._users[name] -= 1
            self._last[name] = time.monotonic()
            if engine.most_adapters:
                async with self._spare:
                    self._spare.notify_all()

    async def load(self, engine: Engine, name: str, adapter: Adapter, *, replace: bool) -> None:
        """Offer an adapter and load it. AdapterExistsError where there is one of the name, unless it is to go."""
        async with self._locks[name]:
            before = self.offered.get(name)
            if not replace and (before is not None or name in engine.adapters):
                raise AdapterExistsError(f"The model '{engine.model}' has an adapter '{name}' already.")
            self.offered[name] = adapter
            try:
                await self._load(engine, name)
            except BaseException:
                del self.offered[name]
                if before is not None:
                    self.offered[name] = before
                raise

    async def unload(self, engine: Engine | None, name: str) -> None:
        """Offer it no more, and unload it once the requests that use it are done."""
        async with self._locks[name]:
            known = self.offered.pop(name, None)
            if engine is not None and name in engine.adapters:
                await self._unload(engine, name)
            elif known is None:
                raise AdapterNotFoundError(f"There is no adapter '{name}' to unload; {listed(list(self.offered))}.")

    def gone(self) -> list[str]:
        """The engine was unloaded, with all adapters: the assets that it held."""
        held = list(self._held.values())
        self._held.clear()
        return held

    async def _load(self, engine: Engine, name: str) -> None:
        """Called under the adapter's lock."""
        adapter = self.offered.get(name)
        if adapter is None:
            raise AdapterNotFoundError(
                f"The model '{engine.model}' has no adapter '{name}'; {listed(list(self.offered))}."
            )
        try:
            if name not in engine.adapters:
                await self._make_room(engine, name)
            if adapter.asset and self._held.get(name) != adapter.asset:
                await asyncio.to_thread(self._holds.hold, [adapter.asset])
                await self._release(name)
                self._held[name] = adapter.asset
            await asyncio.to_thread(engine.load_adapter, name, adapter.folder)
        except BaseException:
            if name not in engine.adapters:
                await self._release(name)
            raise
        finally:
            self._coming.discard(name)

    async def _unload(self, engine: Engine, name: str) -> None:
        self._leaving.add(name)
        try:
            await asyncio.to_thread(engine.unload_adapter, name)
            await self._release(name)
        finally:
            self._leaving.discard(name)

    async def _release(self, name: str) -> None:
        asset = self._held.pop(name, "")
        if asset:
            await asyncio.to_thread(self._holds.release, [asset])

    async def _make_room(self, engine: Engine, name: str) -> None:
        """Take one more place, of an adapter that nobody uses if need be; waits while all are used."""
        while engine.most_adapters and len({*engine.adapters} | self._coming) >= engine.most_adapters:
            free = [one for one in engine.adapters if not self._users[one] and not self._locks[one].locked()]
            if free:
                victim = min(free, key=lambda one: self._last.get(one, 0.0))
                async with self._locks[victim]:
                    if not self._users[victim] and victim in engine.adapters:
                        await self._unload(engine, victim)
            else:
                async with self._spare:
                    await self._spare.wait()
        self._coming.add(name)


def listed(names: Sequence[str]) -> str:
    """What there is instead."""
    if not names:
        return "there is none"
    return f"'{names[0]}' is" if len(names) == 1 else "there are " + ", ".join(names[:20])
