"""An instance as the gateway sees it: where it listens, and how many requests are in its hands."""

from __future__ import annotations

from collections.abc import Callable

from serve.gateway.wire import Address, Connection, LostError, connect


class Instance:
    """``limit`` is how many requests it takes at once. Only a ``ready`` one gets any."""

    def __init__(self, id: str, socket: str | Address, limit: int = 1) -> None:
        self.id, self.limit = id, limit
        self.socket: str | Address = socket
        self.ready = False
        self.in_flight = 0
        self.timeouts = 0  # in a row: one that only ever times out hangs
        self.doubt: Callable[[], None] = lambda: None  # called when it took no connection
        self._free: list[Connection] = []

    @property
    def has_room(self) -> bool:
        return self.ready and self.in_flight < self.limit

    async def connection(self, fresh: bool = False) -> Connection:
        """One that nobody uses, or a new one; LostError if it does not take any. Then it is not ready any more."""
        while self._free and not fresh:
            connection = self._free.pop()
            if not connection.closed:
                return connection
        try:
            return await connect(self.socket)
        except LostError:
            self.ready = False
            self.doubt()
            raise

    def give_back(self, connection: Connection) -> None:
        """For the next request if the last one went well; else it is closed."""
        if connection.reusable and self.ready:
            self._free.append(connection)
        else:
            connection.close()

    def hang_up(self) -> None:
        """Close what is idle: where one connection broke off, the others may be dead, too, and not say so yet."""
        while self._free:
            self._free.pop().close()

    def close(self) -> None:
        self.ready = False
        self.hang_up()
