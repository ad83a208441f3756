"""Batch endpoints and deployments in the workspace's database.

Whoever changes one read it before, and says which revision that was: of two that do so at once one is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptflow.workspace import Workspace
from promptflow.workspace.clock import now_text
from serve.batch.records import BatchDeployment, BatchEndpoint, Settings
from serve.endpoints.errors import EndpointConflictError, EndpointNotFoundError
from serve.endpoints.names import check_deployment_name, check_endpoint_name, nearest
from serve.endpoints.parts import Parts
from serve.endpoints.revision import check_revision
from serve.endpoints.snapshots import Snapshots
from serve.endpoints.spec_rows import spec_from_row, spec_to_row

Endpoints = list[BatchEndpoint]
Deployments = list[BatchDeployment]
LOCK = "batch"
_SHARED = ("description", "tags", "properties", "recorded")
_OF_ENDPOINT = ("default", "auth_mode", *_SHARED)


class BatchStore:
    """The batch endpoints of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.snapshots = Snapshots(workspace)
        self._store = workspace.store
        self._parts = Parts(workspace, self.snapshots)

    def find(self, name: str) -> BatchEndpoint | None:
        """That endpoint, or None."""
        row = self._store.get("batch_endpoints", name)
        return _endpoint(row) if row else None

    def get(self, name: str) -> BatchEndpoint:
        """That endpoint; EndpointNotFoundError says which there are."""
        found = self.find(name)
        if found is None:
            names = [endpoint.name for endpoint in self.list()]
            raise EndpointNotFoundError(
                f"There is no batch endpoint '{name}'.", hint=nearest(name, names, "pf batch-endpoint create")
            )
        return found

    def list(self) -> Endpoints:
        """All endpoints, by name."""
        query = "SELECT * FROM batch_endpoints ORDER BY name"
        return [_endpoint(row) for row in self._store.select("batch_endpoints", query)]

    def create(self, endpoint: BatchEndpoint) -> BatchEndpoint:
        """Keep a new endpoint. EndpointConflictError if the name is taken."""
        check_endpoint_name(endpoint.name)
        with self.workspace.db.write(lock=LOCK):
            if self.find(endpoint.name) is not None:
                raise EndpointConflictError(
                    f"There is a batch endpoint '{endpoint.name}' already.", hint="pf batch-endpoint update changes it"
                )
            now = now_text()
            kept = replace(endpoint, revision=1, created=now, updated=now)
            self._store.append("batch_endpoints", [_endpoint_row(kept)])
            self.workspace.events.append("batch-endpoint.created", kept.name)
        return kept

    def update(self, endpoint: BatchEndpoint) -> BatchEndpoint:
        """Keep a changed endpoint, whose ``revision`` is the one that was read."""
        with self.workspace.db.write(lock=LOCK):
            current = self.get(endpoint.name)
            check_revision(f"The batch endpoint '{current.name}'", endpoint.revision, current.revision)
            if endpoint.default and endpoint.default != current.default:
                self.deployment(endpoint.name, endpoint.default)
            kept = replace(endpoint, revision=current.revision + 1, created=current.created, updated=now_text())
            self._store.put("batch_endpoints", _endpoint_row(kept))
            self.workspace.events.append("batch-endpoint.updated", kept.name)
        return kept

    def delete(self, name: str) -> None:
        """Forget an endpoint with its deployments; jobs go on, and stay in the list."""
        with self.workspace.db.write(lock=LOCK):
            self.get(name)
            for deployment in self.deployments(name):
                self._drop(deployment)
            self._store.delete("batch_endpoints", name)
            self.workspace.events.append("batch-endpoint.deleted", name)
        self.snapshots.prune()

    def find_deployment(self, endpoint: str, name: str) -> BatchDeployment | None:
        """That deployment, or None."""
        query = "SELECT * FROM batch_deployments WHERE endpoint = :endpoint AND name = :name"
        rows = self._store.select("batch_deployments", query, endpoint=endpoint, name=name)
        return _deployment(rows[0], self.workspace.home) if rows else None

    def deployment(self, endpoint: str, name: str) -> BatchDeployment:
        """That deployment; EndpointNotFoundError says which there are."""
        found = self.find_deployment(endpoint, name)
        if found is None:
            self.get(endpoint)
            names = [one.name for one in self.deployments(endpoint)]
            raise EndpointNotFoundError(
                f"The batch endpoint '{endpoint}' has no deployment '{name}'.",
                hint=nearest(name, names, "pf batch-deployment create"),
            )
        return found

    def default(self, endpoint: str) -> BatchDeployment:
        """The deployment that data goes to where none is named."""
        name = self.get(endpoint).default
        if not name:
            names = ", ".join(one.name for one in self.deployments(endpoint)) or "none yet"
            raise EndpointConflictError(
                f"The batch endpoint '{endpoint}' has no default deployment.",
                hint=f"--deployment-name NAME (there are: {names}), or "
                f"pf batch-endpoint update -n {endpoint} --set defaults.deployment_name=NAME",
            )
        return self.deployment(endpoint, name)

    def deployments(self, endpoint: str | None = None) -> Deployments:
        """The deployments of an endpoint, or all, by name."""
        where = "" if endpoint is None else "WHERE endpoint = :endpoint"
        query = f"SELECT * FROM batch_deployments {where} ORDER BY endpoint, name"
        values = {} if endpoint is None else {"endpoint": endpoint}
        rows = self._store.select("batch_deployments", query, **values)
        return [_deployment(row, self.workspace.home) for row in rows]

    def put(self, deployment: BatchDeployment, *, default: bool = False) -> BatchDeployment:
        """Keep a new deployment (``revision`` 0), or a changed one whose ``revision`` is the one that was read. The
        first of an endpoint is its default, and one with ``default`` is from now on."""
        check_deployment_name(deployment.name)
        with self.workspace.db.write(lock=LOCK):
            parent = self.get(deployment.endpoint)
            current = self.find_deployment(deployment.endpoint, deployment.name)
            there = current.revision if current else 0
            check_revision(f"The deployment '{deployment.endpoint}/{deployment.name}'", deployment.revision, there)
            now = now_text()
            kept = replace(deployment, revision=there + 1, created=current.created if current else now, updated=now)
            self._parts.hold(kept.id, kept.spec.assets, current.spec.assets if current else ())
            self._store.put("batch_deployments", _deployment_row(kept, self.workspace.home))
            if default or not parent.default:
                self.update(replace(parent, default=kept.name))
            kind = "batch-deployment.updated" if current else "batch-deployment.created"
            self.workspace.events.append(kind, f"{kept.endpoint}/{kept.name}")
        if current is not None:
            self.snapshots.prune()
        return kept

    def delete_deployment(self, endpoint: str, name: str) -> None:
        """Forget a deployment. EndpointConflictError for the default one, unless it is the last."""
        with self.workspace.db.write(lock=LOCK):
            deployment, parent = self.deployment(endpoint, name), self.get(endpoint)
            if parent.default == name:
                others = [one.name for one in self.deployments(endpoint) if one.name != name]
                if others:
                    raise EndpointConflictError(
                        f"'{name}' is the default deployment of '{endpoint}'.",
                        hint=f"pf batch-endpoint update -n {endpoint} --set defaults.deployment_name={others[0]}",
                    )
                self.update(replace(parent, default=""))
            self._drop(deployment)
            self.workspace.events.append("batch-deployment.deleted", f"{endpoint}/{name}")
        self.snapshots.prune()

    def _drop(self, deployment: BatchDeployment) -> None:
        self._parts.release(deployment.id, deployment.spec.assets)
        self._store.delete_where("batch_deployments", {"endpoint": deployment.endpoint, "name": deployment.name})


def _endpoint(row: Mapping[str, Any]) -> BatchEndpoint:
    values = dict(row)
    return BatchEndpoint(**values.pop("record"), **values)


def _endpoint_row(endpoint: BatchEndpoint) -> dict[str, Any]:
    values = dict(vars(endpoint))
    record = {name: values.pop(name) for name in _OF_ENDPOINT}
    return {**values, "record": record}


def _deployment(row: Mapping[str, Any], home: Path) -> BatchDeployment:
    values = dict(row)
    record = values.pop("record")
    spec, settings = spec_from_row(record.pop("spec"), home), Settings.from_json(record.pop("settings"))
    return BatchDeployment(spec=spec, settings=settings, **record, **values)


def _deployment_row(deployment: BatchDeployment, home: Path) -> dict[str, Any]:
    values = dict(vars(deployment))
    record = {name: values.pop(name) for name in _SHARED}
    record |= {"spec": spec_to_row(values.pop("spec"), home), "settings": values.pop("settings").to_json()}
    return {**values, "record": record}
