"""What a request calls its model -> the slot that is meant, and the adapter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from serve.engines.base import AdapterNotFoundError
from serve.holds import Holds
from serve.lora import Adapter, listed
from serve.served import NotServedError, Served, Slot

if TYPE_CHECKING:
    from serve.known import Known  # brings the database

TRUST_SECONDS = 5.0  # so long a name means what it meant: after that there may be a newer version

Find = Callable[[str], tuple[Served, str] | None]
FindAdapter = Callable[[str, str], tuple[str, Adapter] | None]


class Names:
    """The slots by all their names. Asked for what was not offered at the start are ``find``: what is served by that
    name, and the adapter of it that the name asks for; and ``find_adapter``, with the name of a model: the adapter's
    exact name, and the adapter. Whatever they find stays on offer. ``known`` lists what there is to be found."""

    def __init__(
        self,
        offered: Sequence[Served],
        holds: Holds,
        find: Find | None = None,
        find_adapter: FindAdapter | None = None,
        known: Callable[[], Sequence[Known]] | None = None,
    ) -> None:
        self.slots = {served.name: Slot(served, holds) for served in offered}
        self.find, self.find_adapter, self._holds = find, find_adapter, holds
        self._known: dict[str, tuple[float, Slot, str]] = {}
        self._list = known
        self._listed: tuple[float, Sequence[Known]] | None = None

    async def resolve(self, name: str) -> tuple[Slot, str]:
        """What is offered comes first, then what is found. NotServedError, AdapterNotFoundError."""
        offered = self._offered(name)
        if offered is not None:
            return offered
        known = self._known.get(name)
        if known is None or time.monotonic() - known[0] > TRUST_SECONDS or known[2] not in ("", *known[1].lora.offered):
            self._known.pop(name, None)
            known = time.monotonic(), *(await self._found(name) or await self._loose(name))
            self._known[name] = known
        return known[1:]

    async def known(self) -> Sequence[Known]:
        """What ``find`` may be asked for, as it was some seconds ago at most."""
        if self._list is None:
            return ()
        if self._listed is None or time.monotonic() - self._listed[0] > TRUST_SECONDS:
            self._listed = time.monotonic(), await asyncio.to_thread(self._list)
        return self._listed[1]

    def _offered(self, name: str) -> tuple[Slot, str] | None:
        if (slot := self._by_name(name)) is not None:
            return slot, ""
        owners = [slot for slot in self.slots.values() if name in slot.lora.offered]
        if len(owners) == 1:
            return owners[0], name
        base, _, adapter = name.rpartition("@")
        slot = self._by_name(base)
        return (slot, adapter) if slot is not None and adapter in slot.lora.offered else None

    async def _found(self, name: str) -> tuple[Slot, str] | None:
        found = await asyncio.to_thread(self.find, name) if self.find is not None else None
        if found is None:
            return None
        served, adapter = found
        slot = self._by_exact(served.exact) or self.slots.setdefault(served.name, Slot(served, self._holds, found=True))
        slot.lora.offered = {**served.adapters, **slot.lora.offered}
        return slot, adapter

    async def _loose(self, name: str) -> tuple[Slot, str]:
        """A version by its name without it; else MODEL@ADAPTER with an adapter that is yet to be found."""
        if (slot := self._by_alias(name)) is not None:
            return slot, ""
        base, _, adapter = name.rpartition("@")
        slot = (self._by_name(base) or self._by_alias(base)) if base and adapter else None
        if slot is None:
            raise NotServedError(f"The model '{name}' is not served here; {listed(list(self.slots))}.")
        if adapter in slot.lora.offered:
            return slot, adapter
        own = slot.served.name
        found = await asyncio.to_thread(self.find_adapter, own, adapter) if self.find_adapter is not None else None
        if found is None:
            raise AdapterNotFoundError(
                f"The model '{own}' has no adapter '{adapter}'; {listed(list(slot.lora.offered))}."
            )
        exact, one = found
        slot.lora.offered.setdefault(exact, one)
        return slot, exact

    def _by_name(self, name: str) -> Slot | None:
        """By its name, its exact one, or the last part of its name where only one is called so. What was found is not
        known by parts: they might mean something else tomorrow."""
        if name in self.slots:
            return self.slots[name]
        if (slot := self._by_exact(name)) is not None:
            return slot
        short = [slot for known, slot in self.slots.items() if not slot.found and known.rpartition("/")[2] == name]
        return short[0] if len(short) == 1 else None

    def _by_exact(self, name: str) -> Slot | None:
        return next((slot for slot in self.slots.values() if name and slot.served.exact == name), None)

    def _by_alias(self, name: str) -> Slot | None:
        return next((slot for slot in self.slots.values() if not slot.found and slot.served.alias == name), None)
