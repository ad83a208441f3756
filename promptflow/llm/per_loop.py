"""Things of which every event loop has its own, such as connections: made at first use, closed when the loop ends."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """``await it.get()`` is the running loop's own; another one, where ``is_closed`` says that it is no more."""

    def __init__(
        self, make: Callable[[], T], close: Callable[[T], Awaitable[None]], is_closed: Callable[[T], bool]
    ) -> None:
        self._make, self._close, self._is_closed = make, close, is_closed
        self._own: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = weakref.WeakKeyDictionary()
        self._keepers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[T, None]] = (
            weakref.WeakKeyDictionary()
        )

    async def get(self) -> T:
        loop = asyncio.get_running_loop()
        own = self._own.get(loop)
        if own is None or self._is_closed(own):
            keeper = self._keep(loop)
            own = await anext(keeper)
            self._own[loop], self._keepers[loop] = own, keeper
        return own

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[T, None]:
        # A generator, because a loop that ends closes its async generators: nobody else tells us that it is time.
        own = self._make()
        try:
            yield own
        finally:
            self._own.pop(loop, None)
            self._keepers.pop(loop, None)
            await self._close(own)
