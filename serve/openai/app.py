"""The OpenAI-compatible API as an ASGI application."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from serve.openai import adapters, chat, listing, responses, vectors
from serve.openai.errors import ApiError
from serve.openai.exchange import Exchange
from serve.openai.keys import Account, Keys
from serve.openai.service import Service
from serve.router import Router

Handler = Callable[[Exchange, Service], Awaitable[None]]
Named = Callable[[Exchange, Service, str], Awaitable[None]]

OPEN = frozenset({"/health"})  # for those who look whether it lives; it is no work, and needs no key
ROUTES: dict[str, tuple[str, Handler]] = {
    "/health": ("GET", listing.health),
    "/metrics": ("GET", listing.metrics),
    "/v1/models": ("GET", listing.models),
    "/v1/chat/completions": ("POST", chat.chat),
    "/v1/completions": ("POST", chat.completions),
    "/v1/embeddings": ("POST", vectors.embeddings),
    "/v1/rerank": ("POST", vectors.rerank),
    "/v1/responses": ("POST", responses.create),
    "/v1/load_lora_adapter": ("POST", adapters.load),
    "/v1/unload_lora_adapter": ("POST", adapters.unload),
}
NAMED: dict[tuple[str, str], Named] = {
    ("GET", "/v1/models/"): listing.model,
    ("GET", "/v1/responses/"): responses.show,
    ("DELETE", "/v1/responses/"): responses.delete,
}


class Activity:
    """When the last request ended, and how many are in the works. Health checks and metrics do not count as work."""

    def __init__(self) -> None:
        self.running = 0
        self.last = time.monotonic()

    def idle_seconds(self) -> float:
        return 0.0 if self.running else time.monotonic() - self.last


class OpenAIApp:
    """Answers for all models of a router."""

    def __init__(self, router: Router, keys: Keys | None = None) -> None:
        self.service = Service(router)
        self.keys = keys or Keys()
        self.activity = Activity()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            if exchange.path in OPEN:
                return await self._route(exchange)
            account = self.keys.find(scope["headers"])
            if account is None:
                raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
            if exchange.path == "/metrics":
                return await self._route(exchange)
            await self._counted(exchange, account)
        except ConnectionResetError:
            pass  # nobody is there to be told
        except Exception as error:
            await exchange.fail(error)

    async def _counted(self, exchange: Exchange, account: Account) -> None:
        """A request that counts as work: for the limits of its key, the idle time and the metrics."""
        self.activity.running += 1
        account_open = False
        try:
            exchange.key = account.key.name
            account.begin()
            account_open = True
            exchange.headers += account.headers()
            await self._route(exchange)
        except ConnectionResetError:
            exchange.tally.status = 499  # nginx's number for it
        except Exception as error:
            await exchange.fail(error)
        finally:
            if account_open:
                account.end(exchange.tally.prompt_tokens + exchange.tally.completion_tokens)
            self.activity.running -= 1
            self.activity.last = time.monotonic()
            self._measure(exchange)

    async def _route(self, exchange: Exchange) -> None:
        path, method = exchange.path, exchange.scope["method"]
        route = path if path in ROUTES else f"/v1{path}"  # some clients are told an address without /v1
        if route in ROUTES:
            wanted, handler = ROUTES[route]
            if method != wanted:
                raise ApiError(405, f"{path} answers to {wanted} only.", headers={"allow": wanted})
            exchange.tally.route = route
            return await handler(exchange, self.service)
        for (wanted, prefix), handle in NAMED.items():
            if method == wanted and path.startswith(prefix) and len(path) > len(prefix):
                exchange.tally.route = f"{prefix}{{id}}"
                return await handle(exchange, self.service, path.removeprefix(prefix))
        raise ApiError(404, f"There is no {method} {path} here.")

    def _measure(self, exchange: Exchange) -> None:
        tally, metrics = exchange.tally, self.service.metrics
        route, model = tally.route, tally.model
        metrics.add("pf_requests_total", "Requests answered.", route=route, model=model, status=str(tally.status))
        taken = time.perf_counter() - exchange.begun
        metrics.observe("pf_request_seconds", "Time of a request.", taken, route=route, model=model)
        if tally.first_token:
            metrics.observe("pf_first_token_seconds", "Time to the first token.", tally.first_token, model=model)
        for kind, count in (("prompt", tally.prompt_tokens), ("completion", tally.completion_tokens)):
            if count:
                metrics.add("pf_tokens_total", "Tokens read and written.", count, model=model, kind=kind)
