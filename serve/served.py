"""What a router offers, and what of it is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from promptflow.exceptions import UserErrorException
from serve.engines.base import Engine
from serve.holds import Holds
from serve.lora import Adapter, Lora


class NotServedError(UserErrorException):
    """Nothing of this name is served here."""

    http_status = 404


class NoRoomError(UserErrorException):
    """The model does not fit the memory budget, or the others do not make room for it."""

    http_status = 503


@dataclass(frozen=True)
class Served:
    """A model as it is offered. ``make`` gives its engine, not loaded; ``size`` is the bytes that it is thought to
    need; ``adapters`` are its LoRA adapters by the name that requests use; by ``alias`` it is known where no other has
    that name: of a version, the name without it.

    Two of the same ``exact`` name are one model. ``asset`` is what the registry knows it by, ``folder`` where its files
    are, and ``kind`` the engine that was chosen for it; all are empty where there is none.
    """

    name: str
    make: Callable[[], Engine]
    size: int = 0
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    alias: str = ""
    exact: str = ""
    asset: str = ""
    folder: Path | None = None
    kind: str = ""

    @property
    def assets(self) -> list[str]:
        """All that the registry must keep while it is offered."""
        return [asset for asset in (self.asset, *(one.asset for one in self.adapters.values())) if asset]


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
    """A model that is offered, and its engine while it is loaded. ``found``: not from the start, but by its name."""

    def __init__(self, served: Served, holds: Holds, *, found: bool = False) -> None:
        self.served, self.found = served, found
        self.lora = Lora(served.adapters, holds)
        self.engine: Engine | None = None
        self.asleep: Engine | None = None  # instead of it: one that gave its memory to others
        self.users = 0
        self.last = 0.0  # monotonic seconds
        self.size = 0
        self.leaving = False
        self.loading: asyncio.Task[Engine] | None = None
        self.changed = asyncio.Condition()

    @property
    def free(self) -> bool:
        return self.users == 0
