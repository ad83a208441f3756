"""``/api/v1/endpoints``: online endpoints, their traffic and their keys."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from serve.api.bodies import EndpointAnswer, EndpointBody, KeysAnswer, TokenAnswer, TrafficBody
from serve.api.running import Name, Running, changed
from serve.endpoints.records import Deployment, Endpoint


def routes(server: Running) -> APIRouter:
    """The routes of online endpoints."""
    router = APIRouter(prefix="/api/v1/endpoints")
    _endpoints(router, server)
    _keys(router, server)
    return router


def _endpoints(router: APIRouter, server: Running) -> None:
    store = server.store

    @router.get("", tags=["endpoints"])
    async def list_endpoints(request: Request) -> list[EndpointAnswer]:
        """All endpoints, by name."""
        found = await asyncio.to_thread(lambda: [(one, store.deployments(one.name)) for one in store.list()])
        return [_endpoint(one, deployments, request) for one, deployments in found]

    @router.get("/{name}", tags=["endpoints"])
    async def get_endpoint(name: Name, request: Request) -> EndpointAnswer:
        """One endpoint."""
        endpoint, deployments = await asyncio.to_thread(lambda: (store.get(name), store.deployments(name)))
        return _endpoint(endpoint, deployments, request)

    @router.put("/{name}", tags=["endpoints"])
    async def put_endpoint(name: Name, body: EndpointBody, request: Request) -> EndpointAnswer:
        """Make an endpoint, or change the one whose revision is given. Traffic stays as it is."""

        def put() -> Endpoint:
            values = body.model_dump()
            if not body.revision:
                return store.create(Endpoint(name, **values))
            return store.update(replace(store.get(name), **values))

        endpoint = await changed(server, put)
        return _endpoint(endpoint, await asyncio.to_thread(store.deployments, name), request)

    @router.put("/{name}/traffic", tags=["endpoints"])
    async def put_traffic(name: Name, body: TrafficBody, request: Request) -> EndpointAnswer:
        """Send requests elsewhere. It is in force when this answers."""
        endpoint = await changed(server, lambda: store.set_traffic(name, body.traffic, body.mirror))
        return _endpoint(endpoint, await asyncio.to_thread(store.deployments, name), request)

    @router.delete("/{name}", tags=["endpoints"])
    async def delete_endpoint(name: Name) -> dict[str, str]:
        """Forget an endpoint with its deployments and keys."""
        await changed(server, lambda: store.delete(name))
        return {"deleted": name}


def _keys(router: APIRouter, server: Running) -> None:
    store = server.store

    @router.get("/{name}/keys", tags=["keys"])
    async def get_keys(name: Name) -> KeysAnswer:
        """The keys that callers of the endpoint show."""
        return KeysAnswer(**vars(await asyncio.to_thread(store.keys, name)))

    @router.post("/{name}/keys/{which}", tags=["keys"])
    async def regenerate_key(name: Name, which: Literal["primary", "secondary"]) -> KeysAnswer:
        """Replace one of the keys; the old one is of no use from then on."""
        return KeysAnswer(**vars(await changed(server, lambda: store.regenerate(name, which))))

    @router.post("/{name}/token", tags=["keys"])
    async def make_token(name: Name, seconds: Annotated[int, Query(ge=1, le=30 * 86400)] = 3600) -> TokenAnswer:
        """A token of an endpoint that takes them."""
        token = await asyncio.to_thread(store.token, name, seconds)
        return TokenAnswer(token=token.value, expires=token.expires, refresh_after=token.refresh_after)


def _endpoint(endpoint: Endpoint, deployments: list[Deployment], request: Request) -> EndpointAnswer:
    values = {name: value for name, value in vars(endpoint).items() if name != "recorded"}
    uri = f"{str(request.base_url).rstrip('/')}/endpoints/{endpoint.name}/score"
    return EndpointAnswer(**values, scoring_uri=uri, deployments=[one.name for one in deployments])
