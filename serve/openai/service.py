"""What all routes share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from serve.metrics import Metrics
from serve.openai.exchange import Exchange
from serve.openai.kept import Responses
from serve.router import Router, Use


@dataclass
class Service:
    router: Router
    metrics: Metrics = field(default_factory=Metrics)
    responses: Responses = field(default_factory=Responses)
    started: int = field(default_factory=lambda: int(time.time()))

    @asynccontextmanager
    async def use(self, exchange: Exchange, model: str | None) -> AsyncIterator[Use]:
        """The model that a body names, for as long as it takes to answer."""
        async with self.router.use(model) as use:
            exchange.tally.model = use.name
            yield use
