"""``/api/v1/endpoints/NAME/deployments``: what answers for an online endpoint."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query

from promptflow.exceptions import UserErrorException
from serve.api.bodies import (
    DeploymentAnswer,
    DeploymentBody,
    DeploymentStatus,
    KeptDeployment,
    LogAnswer,
    ScaleBody,
)
from serve.api.changes import scaled
from serve.api.given_paths import check_paths
from serve.api.running import Name, Running, changed
from serve.endpoints.deployment_file import read_deployment
from serve.endpoints.records import Deployment
from serve.endpoints.resolve import resolve
from serve.endpoints.revision import check_revision
from serve.endpoints.store import EndpointStore
from serve.supervisor.places import log_folder, tail


def routes(server: Running) -> APIRouter:
    """The routes of deployments."""
    router = APIRouter(prefix="/api/v1/endpoints/{name}/deployments", tags=["deployments"])
    _reads(router, server)
    _changes(router, server)
    return router


def _reads(router: APIRouter, server: Running) -> None:
    store = server.store

    @router.get("")
    async def list_deployments(name: Name) -> list[DeploymentAnswer]:
        """The deployments of an endpoint, by name."""
        found = await asyncio.to_thread(lambda: (store.get(name), store.deployments(name))[1])
        return [DeploymentAnswer(**_shown(one)) for one in found]

    @router.get("/{deployment}")
    async def get_deployment(name: Name, deployment: Name) -> DeploymentAnswer:
        """One deployment."""
        return DeploymentAnswer(**_shown(await asyncio.to_thread(store.deployment, name, deployment)))

    @router.get("/{deployment}/status")
    async def get_status(name: Name, deployment: Name) -> DeploymentStatus:
        """How its instances are."""
        found = server.deployment_status(name, deployment)
        if found is None:
            await asyncio.to_thread(store.deployment, name, deployment)
            raise UserErrorException(f"The server does not run '{name}/{deployment}' yet.")
        return DeploymentStatus(**found)

    @router.get("/{deployment}/logs")
    async def get_logs(
        name: Name, deployment: Name, lines: Annotated[int, Query(ge=1, le=10000)] = 50
    ) -> list[LogAnswer]:
        """The last lines that each instance has written."""
        await asyncio.to_thread(store.deployment, name, deployment)
        files = sorted(log_folder(server.workspace.home, name, deployment).glob("*[0-9].log"))
        return [LogAnswer(instance=int(file.stem), lines=await asyncio.to_thread(tail, file, lines)) for file in files]


def _changes(router: APIRouter, server: Running) -> None:
    store = server.store

    @router.put("/{deployment}")
    async def put_deployment(name: Name, deployment: Name, body: DeploymentBody) -> KeptDeployment:
        """Make a deployment, or replace the one whose revision is given: the keys of its YAML. It gets no traffic by
        that; its status says when it is ready."""
        kept, told = await changed(server, lambda: _kept(store, name, deployment, body))
        return KeptDeployment(**_shown(kept), notes=told)

    @router.patch("/{deployment}/scale")
    async def scale_deployment(name: Name, deployment: Name, body: ScaleBody) -> DeploymentAnswer:
        """Run more or fewer instances."""
        kept = await changed(server, lambda: store.put(scaled(store.deployment(name, deployment), body)))
        return DeploymentAnswer(**_shown(kept))

    @router.delete("/{deployment}")
    async def delete_deployment(name: Name, deployment: Name) -> dict[str, str]:
        """Forget a deployment that has no traffic."""
        await changed(server, lambda: store.delete_deployment(name, deployment))
        return {"deleted": deployment}


def _kept(store: EndpointStore, name: str, deployment: str, body: DeploymentBody) -> tuple[Deployment, list[str]]:
    """The deployment in the store, and what to tell of it."""
    data = body.document() | {"name": deployment, "endpoint_name": name}
    check_paths(data)
    store.get(name)  # before anything is copied
    current = store.find_deployment(name, deployment)
    check_revision(f"The deployment '{name}/{deployment}'", body.revision, current.revision if current else 0)
    file = read_deployment(data, store.workspace.home)
    kept = store.put(replace(resolve(file, store.workspace, current), revision=body.revision))
    return kept, [*file.warnings, *file.notes]


def _shown(deployment: Deployment) -> dict[str, Any]:
    """Values of environment variables may be secrets: their names are shown."""
    spec = deployment.spec.to_json()
    return {**vars(deployment), "spec": {**spec, "variables": dict.fromkeys(spec["variables"], "***")}}
