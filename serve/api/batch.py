"""``/api/v1/batch-endpoints``: names that data is sent to, and what goes through it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request

from serve.api.bodies import (
    BatchDeploymentAnswer,
    BatchDeploymentBody,
    BatchEndpointAnswer,
    BatchEndpointBody,
    Defaults,
    JobAnswer,
    JobBody,
    KeptBatchDeployment,
)
from serve.api.given_paths import check_paths
from serve.api.jobs import MOST, shown
from serve.api.running import JobName, Name, Running
from serve.batch.asked import read_request
from serve.batch.deployment_file import read_batch_deployment, settings_document
from serve.batch.jobs import Job, JobNotFoundError, JobStore
from serve.batch.records import BatchDeployment, BatchEndpoint
from serve.batch.resolve import resolve_batch
from serve.batch.store import BatchStore
from serve.batch.submit import submit
from serve.endpoints.revision import check_revision

DEPLOYMENT = "azureml-model-deployment"


def routes(server: Running) -> APIRouter:
    """The routes of batch endpoints, their deployments and their jobs."""
    router = APIRouter(prefix="/api/v1/batch-endpoints")
    store = BatchStore(server.workspace)
    _endpoints(router, store)
    _deployments(router, store)
    _jobs(router, store)
    return router


def _endpoints(router: APIRouter, store: BatchStore) -> None:
    @router.get("", tags=["batch endpoints"])
    async def list_batch_endpoints(request: Request) -> list[BatchEndpointAnswer]:
        """All batch endpoints, by name."""
        found = await asyncio.to_thread(lambda: [(one, store.deployments(one.name)) for one in store.list()])
        return [_endpoint(one, deployments, request) for one, deployments in found]

    @router.get("/{name}", tags=["batch endpoints"])
    async def get_batch_endpoint(name: Name, request: Request) -> BatchEndpointAnswer:
        """One batch endpoint."""
        return _endpoint(*await asyncio.to_thread(lambda: (store.get(name), store.deployments(name))), request)

    @router.put("/{name}", tags=["batch endpoints"])
    async def put_batch_endpoint(name: Name, body: BatchEndpointBody, request: Request) -> BatchEndpointAnswer:
        """Make a batch endpoint, or change the one whose revision is given."""

        def put() -> tuple[BatchEndpoint, list[BatchDeployment]]:
            values = body.model_dump(exclude={"defaults"}) | {"default": body.defaults.deployment_name}
            if not body.revision:
                return store.create(BatchEndpoint(name, **values)), []
            return store.update(replace(store.get(name), **values)), store.deployments(name)

        return _endpoint(*await asyncio.to_thread(put), request)

    @router.delete("/{name}", tags=["batch endpoints"])
    async def delete_batch_endpoint(name: Name) -> dict[str, str]:
        """Forget a batch endpoint with its deployments. Its jobs stay, and go on."""
        await asyncio.to_thread(store.delete, name)
        return {"deleted": name}


def _deployments(router: APIRouter, store: BatchStore) -> None:
    at = "/{name}/deployments"

    @router.get(at, tags=["batch deployments"])
    async def list_batch_deployments(name: Name) -> list[BatchDeploymentAnswer]:
        """The deployments of a batch endpoint, by name."""
        endpoint, found = await asyncio.to_thread(lambda: (store.get(name), store.deployments(name)))
        return [BatchDeploymentAnswer(**_shown(one, endpoint.default)) for one in found]

    @router.get(f"{at}/{{deployment}}", tags=["batch deployments"])
    async def get_batch_deployment(name: Name, deployment: Name) -> BatchDeploymentAnswer:
        """One deployment of a batch endpoint."""
        found, endpoint = await asyncio.to_thread(lambda: (store.deployment(name, deployment), store.get(name)))
        return BatchDeploymentAnswer(**_shown(found, endpoint.default))

    @router.put(f"{at}/{{deployment}}", tags=["batch deployments"])
    async def put_batch_deployment(
        name: Name,
        deployment: Name,
        body: BatchDeploymentBody,
        default: Annotated[bool, Query(description="From now on it gets the jobs that name no deployment.")] = False,
    ) -> KeptBatchDeployment:
        """Make a deployment, or replace the one whose revision is given: the keys of its YAML. The first one of an
        endpoint is its default."""
        kept, notes, now = await asyncio.to_thread(_kept, store, name, deployment, body, default)
        return KeptBatchDeployment(**_shown(kept, now), notes=notes)

    @router.delete(f"{at}/{{deployment}}", tags=["batch deployments"])
    async def delete_batch_deployment(name: Name, deployment: Name) -> dict[str, str]:
        """Forget a deployment that is not the default one, or the last."""
        await asyncio.to_thread(store.delete_deployment, name, deployment)
        return {"deleted": deployment}


def _jobs(router: APIRouter, store: BatchStore) -> None:
    at = "/{name}/jobs"

    @router.post(at, tags=["jobs"])
    async def invoke_batch_endpoint(
        name: Name, body: JobBody, deployment: Annotated[str, Header(alias=DEPLOYMENT, max_length=64)] = ""
    ) -> JobAnswer:
        """Start a job that sends all of the data through a deployment: the one that the header names, or the default
        one. It goes on without the server."""

        def start() -> Job:
            found = store.deployment(name, deployment) if deployment else store.default(name)
            return submit(store.workspace, found, read_request(body.properties, found, store.workspace))

        return shown(await asyncio.to_thread(start))

    @router.get(at, tags=["jobs"])
    async def list_jobs_of_endpoint(name: Name, limit: Annotated[int, Query(ge=1, le=MOST)] = MOST) -> list[JobAnswer]:
        """The jobs of a batch endpoint, newest first."""

        def find() -> list[Job]:
            store.get(name)
            return JobStore(store.workspace).list(target=f"batch:{name}/", limit=limit)

        return [shown(job) for job in await asyncio.to_thread(find)]

    @router.get(f"{at}/{{job}}", tags=["jobs"])
    async def get_job_of_endpoint(name: Name, job: JobName) -> JobAnswer:
        """A job of a batch endpoint."""
        found = await asyncio.to_thread(JobStore(store.workspace).get, job)
        if not found.target.startswith(f"batch:{name}/"):
            raise JobNotFoundError(f"The batch endpoint '{name}' has no job '{job}'.")
        return shown(found)


def _kept(
    store: BatchStore, name: str, deployment: str, body: BatchDeploymentBody, default: bool
) -> tuple[BatchDeployment, list[str], str]:
    """The deployment in the store, what to tell of it, and which one is the default now."""
    data = body.document() | {"name": deployment, "endpoint_name": name}
    check_paths(data)
    store.get(name)  # before anything is copied
    current = store.find_deployment(name, deployment)
    check_revision(f"The deployment '{name}/{deployment}'", body.revision, current.revision if current else 0)
    file = read_batch_deployment(data, store.workspace.home)
    found = resolve_batch(file, store.workspace, current)
    kept = store.put(replace(found, revision=body.revision), default=default)
    return kept, [*file.warnings, *file.shared.notes], store.get(name).default


def _endpoint(endpoint: BatchEndpoint, deployments: list[BatchDeployment], request: Request) -> BatchEndpointAnswer:
    values = {name: value for name, value in vars(endpoint).items() if name not in ("recorded", "default")}
    return BatchEndpointAnswer(
        **values,
        defaults=Defaults(deployment_name=endpoint.default),
        scoring_uri=f"{str(request.base_url).rstrip('/')}/api/v1/batch-endpoints/{endpoint.name}/jobs",
        deployments=[one.name for one in deployments],
    )


def _shown(deployment: BatchDeployment, default: str) -> dict[str, Any]:
    """Values of environment variables may be secrets: their names are shown."""
    spec = deployment.spec.to_json()
    return {
        **vars(deployment),
        "spec": {**spec, "variables": dict.fromkeys(spec["variables"], "***")},
        "settings": settings_document(deployment.settings),
        "default": deployment.name == default,
    }
