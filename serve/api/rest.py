"""The REST API of endpoints and deployments, as a FastAPI application. All of it needs the workspace's key."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, Protocol, TypeVar

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from promptflow.exceptions import PromptflowException, UserErrorException
from promptflow.workspace import Workspace
from serve.api.bodies import (
    DeploymentAnswer,
    DeploymentStatus,
    EndpointAnswer,
    EndpointBody,
    ErrorAnswer,
    KeysAnswer,
    LogAnswer,
    ScaleBody,
    TokenAnswer,
    TrafficBody,
)
from serve.api.changes import scaled
from serve.endpoints.records import Deployment, Endpoint
from serve.endpoints.store import EndpointStore
from serve.supervisor.places import log_folder, tail

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
T = TypeVar("T")
ERRORS: dict[int | str, dict[str, Any]] = {code: {"model": ErrorAnswer} for code in (400, 401, 404, 405, 409, 413, 422)}


BEARER = HTTPBearer(
    description="The workspace's own key: endpoints/server.json of its folder has it.", auto_error=False
)


class Owner:
    """Lets in who shows the workspace's key."""

    def __init__(self, key: str) -> None:
        self.key = key.encode()

    async def __call__(self, given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), self.key):
            raise HTTPException(401, "This needs the workspace's key.", {"www-authenticate": "Bearer"})


class Running(Protocol):
    """What the API asks of the server that it is a part of."""

    workspace: Workspace
    store: EndpointStore
    key: str

    async def reload(self) -> int: ...

    def deployment_status(self, endpoint: str, deployment: str) -> dict[str, Any] | None: ...


def make_app(server: Running, version: str) -> FastAPI:
    """The API of one server; mounted where it is, at ``/api/v1``."""
    app = FastAPI(
        title="Prompt flow server",
        version=version,
        description="Endpoints and deployments of one workspace.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(Owner(server.key))],
        responses=ERRORS,
    )
    app.add_exception_handler(PromptflowException, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    _endpoints(app, server)
    _keys(app, server)
    _deployments(app, server)
    return app


def _endpoints(app: FastAPI, server: Running) -> None:
    store = server.store

    @app.get("/api/v1/endpoints", tags=["endpoints"])
    async def list_endpoints(request: Request) -> list[EndpointAnswer]:
        """All endpoints, by name."""
        found = await asyncio.to_thread(lambda: [(one, store.deployments(one.name)) for one in store.list()])
        return [_endpoint(one, deployments, request) for one, deployments in found]

    @app.get("/api/v1/endpoints/{name}", tags=["endpoints"])
    async def get_endpoint(name: Name, request: Request) -> EndpointAnswer:
        """One endpoint."""
        endpoint, deployments = await asyncio.to_thread(lambda: (store.get(name), store.deployments(name)))
        return _endpoint(endpoint, deployments, request)

    @app.put("/api/v1/endpoints/{name}", tags=["endpoints"])
    async def put_endpoint(name: Name, body: EndpointBody, request: Request) -> EndpointAnswer:
        """Make an endpoint, or change the one whose revision is given. Traffic stays as it is."""

        def put() -> Endpoint:
            values = body.model_dump()
            if not body.revision:
                return store.create(Endpoint(name, **values))
            return store.update(replace(store.get(name), **values))

        endpoint = await _changed(server, put)
        return _endpoint(endpoint, await asyncio.to_thread(store.deployments, name), request)

    @app.put("/api/v1/endpoints/{name}/traffic", tags=["endpoints"])
    async def put_traffic(name: Name, body: TrafficBody, request: Request) -> EndpointAnswer:
        """Send requests elsewhere. It is in force when this answers."""
        endpoint = await _changed(server, lambda: store.set_traffic(name, body.traffic, body.mirror))
        return _endpoint(endpoint, await asyncio.to_thread(store.deployments, name), request)

    @app.delete("/api/v1/endpoints/{name}", tags=["endpoints"])
    async def delete_endpoint(name: Name) -> dict[str, str]:
        """Forget an endpoint with its deployments and keys."""
        await _changed(server, lambda: store.delete(name))
        return {"deleted": name}


def _keys(app: FastAPI, server: Running) -> None:
    store = server.store

    @app.get("/api/v1/endpoints/{name}/keys", tags=["keys"])
    async def get_keys(name: Name) -> KeysAnswer:
        """The keys that callers of the endpoint show."""
        return KeysAnswer(**vars(await asyncio.to_thread(store.keys, name)))

    @app.post("/api/v1/endpoints/{name}/keys/{which}", tags=["keys"])
    async def regenerate_key(name: Name, which: Literal["primary", "secondary"]) -> KeysAnswer:
        """Replace one of the keys; the old one is of no use from then on."""
        return KeysAnswer(**vars(await _changed(server, lambda: store.regenerate(name, which))))

    @app.post("/api/v1/endpoints/{name}/token", tags=["keys"])
    async def make_token(name: Name, seconds: Annotated[int, Query(ge=1, le=30 * 86400)] = 3600) -> TokenAnswer:
        """A token of an endpoint that takes them."""
        token = await asyncio.to_thread(store.token, name, seconds)
        return TokenAnswer(token=token.value, expires=token.expires, refresh_after=token.refresh_after)


def _deployments(app: FastAPI, server: Running) -> None:
    store, at = server.store, "/api/v1/endpoints/{name}/deployments"

    @app.get(at, tags=["deployments"])
    async def list_deployments(name: Name) -> list[DeploymentAnswer]:
        """The deployments of an endpoint, by name."""
        found = await asyncio.to_thread(lambda: (store.get(name), store.deployments(name))[1])
        return [_deployment(one) for one in found]

    @app.get(f"{at}/{{deployment}}", tags=["deployments"])
    async def get_deployment(name: Name, deployment: Name) -> DeploymentAnswer:
        """One deployment."""
        return _deployment(await asyncio.to_thread(store.deployment, name, deployment))

    @app.get(f"{at}/{{deployment}}/status", tags=["deployments"])
    async def get_status(name: Name, deployment: Name) -> DeploymentStatus:
        """How its instances are."""
        found = server.deployment_status(name, deployment)
        if found is None:
            await asyncio.to_thread(store.deployment, name, deployment)
            raise UserErrorException(f"The server does not run '{name}/{deployment}' yet.")
        return DeploymentStatus(**found)

    @app.get(f"{at}/{{deployment}}/logs", tags=["deployments"])
    async def get_logs(
        name: Name, deployment: Name, lines: Annotated[int, Query(ge=1, le=10000)] = 50
    ) -> list[LogAnswer]:
        """The last lines that each instance has written."""
        await asyncio.to_thread(store.deployment, name, deployment)
        files = sorted(log_folder(server.workspace.home, name, deployment).glob("*[0-9].log"))
        return [LogAnswer(instance=int(file.stem), lines=await asyncio.to_thread(tail, file, lines)) for file in files]

    @app.patch(f"{at}/{{deployment}}/scale", tags=["deployments"])
    async def scale_deployment(name: Name, deployment: Name, body: ScaleBody) -> DeploymentAnswer:
        """Run more or fewer instances."""
        changed = await _changed(server, lambda: store.put(scaled(store.deployment(name, deployment), body)))
        return _deployment(changed)

    @app.delete(f"{at}/{{deployment}}", tags=["deployments"])
    async def delete_deployment(name: Name, deployment: Name) -> dict[str, str]:
        """Forget a deployment that has no traffic."""
        await _changed(server, lambda: store.delete_deployment(name, deployment))
        return {"deleted": deployment}


async def _changed(server: Running, change: Callable[[], T]) -> T:
    """Make a change, and put it in force."""
    result = await asyncio.to_thread(change)
    await server.reload()
    return result


def _endpoint(endpoint: Endpoint, deployments: list[Deployment], request: Request) -> EndpointAnswer:
    values = {name: value for name, value in vars(endpoint).items() if name != "recorded"}
    uri = f"{str(request.base_url).rstrip('/')}/endpoints/{endpoint.name}/score"
    return EndpointAnswer(**values, scoring_uri=uri, deployments=[one.name for one in deployments])


def _deployment(deployment: Deployment) -> DeploymentAnswer:
    return DeploymentAnswer(**{**vars(deployment), "spec": _shown(deployment.spec.to_json())})


def _shown(spec: dict[str, Any]) -> dict[str, Any]:
    """Values of environment variables may be secrets: their names do."""
    return {**spec, "variables": dict.fromkeys(spec["variables"], "***")}


async def _told(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PromptflowException)
    status = error.http_status if not isinstance(error, UserErrorException) or error.http_status < 500 else 400
    hint = f" ({error.hint})" if error.hint else ""
    return _error(status, type(error).__name__, f"{error}{hint}")


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    where = ".".join(map(str, fault["loc"]))
    return _error(422, "BadArgument", f"{where}: {fault['msg']}")


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    answer = _error(error.status_code, "Unauthorized" if error.status_code == 401 else "BadRequest", str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
