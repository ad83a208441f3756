"""/health, /metrics and /v1/models."""

from __future__ import annotations

from typing import Any

from serve.metrics import CONTENT_TYPE, Labels
from serve.openai.exchange import Exchange
from serve.openai.service import Service

GAUGES = {
    "running": ("requests_running", "Requests that the engine works on."),
    "waiting": ("requests_waiting", "Requests that wait inside the engine."),
    "weights_bytes": ("weights_bytes", "Memory of the model's weights."),
    "cache_bytes": ("cache_bytes", "Memory set aside for the KV cache."),
    "cache_used": ("cache_used_ratio", "Share of the KV cache in use."),
}


async def health(exchange: Exchange, service: Service) -> None:
    await exchange.json({"status": "ok", "model": service.router.default})


async def metrics(exchange: Exchange, service: Service) -> None:
    await exchange.whole(service.metrics.text(gauges(service)).encode(), CONTENT_TYPE)


async def models(exchange: Exchange, service: Service) -> None:
    """What is offered, with its adapters; at a server of any model also what is there to be asked for."""
    cards = []
    for slot in list(service.router.slots.values()):
        cards.append(card(slot.served.name, service))
        loaded = slot.engine.adapters if slot.engine is not None else ()
        for adapter in dict.fromkeys((*slot.lora.offered, *loaded)):
            cards.append(card(f"{slot.served.name}@{adapter}", service, parent=slot.served.name))
    there = {one["id"] for one in cards}
    cards += [card(one.name, service, parent=one.base) for one in await service.router.known() if one.name not in there]
    await exchange.json({"object": "list", "data": cards})


async def model(exchange: Exchange, service: Service, name: str) -> None:
    slot, adapter = await service.router.resolve(name)
    base = slot.served.name
    await exchange.json(card(f"{base}@{adapter}", service, parent=base) if adapter else card(base, service))


def card(name: str, service: Service, parent: str = "") -> dict[str, Any]:
    result = {"id": name, "object": "model", "created": service.started, "owned_by": "promptflow"}
    return {**result, "parent": parent} if parent else result


def gauges(service: Service) -> dict[str, tuple[str, dict[Labels, float]]]:
    """What is loaded, and what each engine tells of itself now."""
    router = service.router
    loaded = router.loaded()
    result: dict[str, tuple[str, dict[Labels, float]]] = {
        "pf_models_loaded": ("Models in memory.", {(): len(loaded)}),
        "pf_model_loads": ("Models loaded since the start.", {(): router.loads}),
        "pf_model_evictions": ("Models that left to make room.", {(): router.evictions}),
    }
    stats = {slot.served.name: slot.engine.stats() for slot in loaded if slot.engine is not None}
    for field, (name, help) in GAUGES.items():
        values: dict[Labels, float] = {(("model", model),): getattr(one, field) for model, one in stats.items()}
        result[f"pf_engine_{name}"] = (help, values)
    return result
