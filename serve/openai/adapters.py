"""/v1/load_lora_adapter and /v1/unload_lora_adapter, as vLLM has them: for whoever has one of the server's keys."""

from __future__ import annotations

import asyncio

from serve.openai.bodies import LoadAdapterBody, UnloadAdapterBody
from serve.openai.errors import ApiError
from serve.openai.exchange import Exchange
from serve.openai.service import Service

TEXT = b"text/plain; charset=utf-8"


async def load(exchange: Exchange, service: Service) -> None:
    """``lora_path`` is what this server finds adapters by: the name of one that is registered or pulled here."""
    body = await exchange.read(LoadAdapterBody)
    _check_key(exchange)
    found = await asyncio.to_thread(service.router.find_adapter, body.model or "", body.lora_path)
    if found is None:
        raise ApiError(404, f"There is no adapter '{body.lora_path}' here.", code="model_not_found", param="lora_path")
    await service.router.load_adapter(body.model, body.lora_name, found[1], replace=bool(body.load_inplace))
    await _told(exchange, f"The adapter '{body.lora_name}' is loaded.")


async def unload(exchange: Exchange, service: Service) -> None:
    """Answers when the requests that use it are done."""
    body = await exchange.read(UnloadAdapterBody)
    _check_key(exchange)
    await service.router.unload_adapter(body.model, body.lora_name)
    await _told(exchange, f"The adapter '{body.lora_name}' is unloaded.")


async def _told(exchange: Exchange, text: str) -> None:
    await exchange.whole(text.encode(), TEXT)


def _check_key(exchange: Exchange) -> None:
    if not exchange.key:
        raise ApiError(403, "Adapters are loaded and unloaded only at a server that has API keys.")
