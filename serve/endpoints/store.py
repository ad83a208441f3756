"""Endpoints and deployments in the workspace's database.

Whoever changes one read it before, and says which revision that was: of two that do so at once one is told, and nothing
is ever made of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.clock import now_text
from promptflow.workspace.quick import Query
from serve.endpoints.errors import EndpointConflictError, EndpointNotFoundError
from serve.endpoints.names import check_deployment_name, check_endpoint_name, nearest
from serve.endpoints.parts import Parts
from serve.endpoints.records import Deployment, Endpoint, Keys
from serve.endpoints.revision import check_revision
from serve.endpoints.snapshots import Snapshots
from serve.endpoints.spec_rows import spec_from_row, spec_to_row
from serve.endpoints.tokens import SECONDS, Token, issue, new_key
from serve.endpoints.traffic import check_traffic, without

Deployments = list[Deployment]
LOCK = "endpoints"
PRIMARY, SECONDARY, SIGNING = "primary", "secondary", "signing"
_COUNTER = "endpoints.changes"
_SHARED = ("description", "tags", "properties")
_ENDPOINTS = "SELECT * FROM endpoints ORDER BY name"
_DEPLOYMENTS = "SELECT * FROM deployments ORDER BY endpoint, name"
_OF_ENDPOINT = (*_SHARED, "auth_mode", "traffic", "mirror", "recorded")


@dataclass(frozen=True)
class State:
    """All that there is at one moment. ``keys`` are an endpoint's, and what its tokens are signed with."""

    counter: int
    endpoints: tuple[Endpoint, ...]
    deployments: tuple[Deployment, ...]
    keys: Mapping[str, tuple[Keys, str]]


class EndpointStore:
    """The endpoints of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.snapshots = Snapshots(workspace)
        self._store = workspace.store
        self._parts = Parts(workspace, self.snapshots)
        self._opened: dict[str, str] = {}

    def counter(self) -> int:
        """A number that every change raises: who watches the store need only look at it."""
        row = self._store.get("meta", _COUNTER)
        return int(row["value"]) if row else 0

    def state(self) -> State:
        """Everything, of one moment. Nobody is kept from writing meanwhile: then it is read again."""
        while True:
            before, endpoints, deployments, secrets, after = self._store.select_all(_EVERYTHING)
            if before == after:
                found = tuple(_endpoint(row) for row in endpoints)
                home = self.workspace.home
                return State(
                    int(after[0]["value"]) if after else 0,
                    found,
                    tuple(_deployment(row, home) for row in deployments),
                    self._all_keys(found, {row["name"]: row["value"] for row in secrets}),
                )

    def find(self, name: str) -> Endpoint | None:
        """That endpoint, or None."""
        row = self._store.get("endpoints", name)
        return _endpoint(row) if row else None

    def get(self, name: str) -> Endpoint:
        """That endpoint; EndpointNotFoundError says which there are."""
        found = self.find(name)
        if found is None:
            names = [endpoint.name for endpoint in self.list()]
            raise EndpointNotFoundError(
                f"There is no endpoint '{name}'.", hint=nearest(name, names, "pf endpoint create")
            )
        return found

    def list(self) -> list[Endpoint]:
        """All endpoints, by name."""
        return [_endpoint(row) for row in self._store.select("endpoints", _ENDPOINTS)]

    def create(self, endpoint: Endpoint) -> Endpoint:
        """Keep a new endpoint, with keys of its own. EndpointConflictError if the name is taken."""
        check_endpoint_name(endpoint.name)
        with self.workspace.db.write(lock=LOCK):
            if self.find(endpoint.name) is not None:
                raise EndpointConflictError(
                    f"There is an endpoint '{endpoint.name}' already.", hint="pf endpoint update changes it"
                )
            check_traffic(endpoint.traffic, endpoint.mirror, ())
            now = now_text()
            kept = replace(endpoint, revision=1, created=now, updated=now)
            self._store.append("endpoints", [_endpoint_row(kept)])
            for which in (PRIMARY, SECONDARY, SIGNING):
                self.workspace.secrets.set(_secret(kept.name, which), new_key())
            self._changed("endpoint.created", kept.name)
        return kept

    def update(self, endpoint: Endpoint) -> Endpoint:
        """Keep a changed endpoint, whose ``revision`` is the one that was read."""
        with self.workspace.db.write(lock=LOCK):
            current = self.get(endpoint.name)
            check_revision(f"The endpoint '{current.name}'", endpoint.revision, current.revision)
            check_traffic(endpoint.traffic, endpoint.mirror, [one.name for one in self.deployments(endpoint.name)])
            mirror = {
                name: share for name, share in endpoint.mirror.items() if share
            }  # 0 is how a mirror is taken away
            kept = replace(
                endpoint, mirror=mirror, revision=current.revision + 1, created=current.created, updated=now_text()
            )
            self._store.put("endpoints", _endpoint_row(kept))
            self._changed("endpoint.updated", kept.name, {"traffic": dict(kept.traffic), "mirror": dict(kept.mirror)})
        return kept

    def set_traffic(
        self, name: str, traffic: Mapping[str, int], mirror: Mapping[str, int] | None = None, *, revision: int = 0
    ) -> Endpoint:
        """Send requests elsewhere, all at once. ``revision`` 0: whatever it is; ``mirror`` None: as it was."""
        with self.workspace.db.write(lock=LOCK):
            current = self.get(name)
            changed = replace(
                current,
                traffic=dict(traffic),
                mirror=dict(current.mirror if mirror is None else mirror),
                revision=revision or current.revision,
            )
            return self.update(changed)

    def delete(self, name: str) -> None:
        """Forget an endpoint with its deployments and keys."""
        with self.workspace.db.write(lock=LOCK):
            self.get(name)
            for deployment in self.deployments(name):
                self._drop(deployment)
            self._store.delete("endpoints", name)
            for which in (PRIMARY, SECONDARY, SIGNING):
                self.workspace.secrets.delete(_secret(name, which))
            self._changed("endpoint.deleted", name)
        self.snapshots.prune()

    def find_deployment(self, endpoint: str, name: str) -> Deployment | None:
        """That deployment, or None."""
        query = "SELECT * FROM deployments WHERE endpoint = :endpoint AND name = :name"
        rows = self._store.select("deployments", query, endpoint=endpoint, name=name)
        return _deployment(rows[0], self.workspace.home) if rows else None

    def deployment(self, endpoint: str, name: str) -> Deployment:
        """That deployment; EndpointNotFoundError says which there are."""
        found = self.find_deployment(endpoint, name)
        if found is None:
            self.get(endpoint)
            names = [one.name for one in self.deployments(endpoint)]
            raise EndpointNotFoundError(
                f"The endpoint '{endpoint}' has no deployment '{name}'.",
                hint=nearest(name, names, "pf deployment create"),
            )
        return found

    def deployments(self, endpoint: str | None = None) -> Deployments:
        """The deployments of an endpoint, or all, by name."""
        where = "" if endpoint is None else "WHERE endpoint = :endpoint"
        query = f"SELECT * FROM deployments {where} ORDER BY endpoint, name"
        values = {} if endpoint is None else {"endpoint": endpoint}
        home = self.workspace.home
        return [_deployment(row, home) for row in self._store.select("deployments", query, **values)]

    def put(self, deployment: Deployment) -> Deployment:
        """Keep a new deployment (``revision`` 0), or a changed one whose ``revision`` is the one that was read."""
        check_deployment_name(deployment.name)
        with self.workspace.db.write(lock=LOCK):
            self.get(deployment.endpoint)
            current = self.find_deployment(deployment.endpoint, deployment.name)
            there = current.revision if current else 0
            check_revision(f"The deployment '{deployment.endpoint}/{deployment.name}'", deployment.revision, there)
            now = now_text()
            kept = replace(deployment, revision=there + 1, created=current.created if current else now, updated=now)
            self._parts.hold(kept.id, kept.spec.assets, current.spec.assets if current else ())
            self._store.put("deployments", _deployment_row(kept, self.workspace.home))
            self._changed("deployment.updated" if current else "deployment.created", f"{kept.endpoint}/{kept.name}")
        if current is not None:
            self.snapshots.prune()
        return kept

    def delete_deployment(self, endpoint: str, name: str) -> None:
        """Forget a deployment. EndpointConflictError while it has traffic."""
        with self.workspace.db.write(lock=LOCK):
            deployment, parent = self.deployment(endpoint, name), self.get(endpoint)
            traffic = without(parent.traffic, name)
            mirror = {other: share for other, share in parent.mirror.items() if other != name}
            self._drop(deployment)
            if (traffic, mirror) != (dict(parent.traffic), dict(parent.mirror)):
                self.update(replace(parent, traffic=traffic, mirror=mirror))
            self._changed("deployment.deleted", f"{endpoint}/{name}")
        self.snapshots.prune()

    def keys(self, name: str) -> Keys:
        """The keys that callers show."""
        self.get(name)
        return Keys(self._key(name, PRIMARY), self._key(name, SECONDARY))

    def regenerate(self, name: str, which: str) -> Keys:
        """Replace one of the keys; the old one is of no use any more. Tokens end with the primary key."""
        if which not in (PRIMARY, SECONDARY):
            raise ValidationException(f"There is no {which!r} key.", hint="primary or secondary")
        with self.workspace.db.write(lock=LOCK):
            self.get(name)
            for one in (which, SIGNING) if which == PRIMARY else (which,):
                self.workspace.secrets.set(_secret(name, one), new_key())
            self._changed("endpoint.key", name, {"key": which})
            return self.keys(name)

    def signing_key(self, name: str) -> str:
        """What the tokens of an endpoint are signed with."""
        return self._key(name, SIGNING)

    def token(self, name: str, seconds: float = SECONDS) -> Token:
        """A new token of an endpoint that takes them."""
        endpoint = self.get(name)
        if not endpoint.takes_tokens:
            raise ValidationException(
                f"The endpoint '{name}' takes keys, not tokens: its auth_mode is {endpoint.auth_mode}."
            )
        return issue(name, self.signing_key(name), seconds)

    def _key(self, name: str, which: str) -> str:
        found = self.workspace.secrets.get(_secret(name, which))
        if found is None:
            raise _gone(name, which)
        return found

    def _all_keys(self, endpoints: Iterable[Endpoint], kept: Mapping[str, str]) -> dict[str, tuple[Keys, str]]:
        """``kept`` are the secrets as they are stored. What was so already the last time is not opened again."""
        opened: dict[str, str] = {}

        def key(name: str, which: str) -> str:
            stored = kept.get(_secret(name, which))
            if stored is None:
                raise _gone(name, which)
            opened[stored] = self._opened.get(stored) or self.workspace.secrets.decrypt(stored)
            return opened[stored]

        keys = {
            one.name: (Keys(key(one.name, PRIMARY), key(one.name, SECONDARY)), key(one.name, SIGNING))
            for one in endpoints
        }
        self._opened = opened
        return keys

    def _drop(self, deployment: Deployment) -> None:
        self._parts.release(deployment.id, deployment.spec.assets)
        self._store.delete_where("deployments", {"endpoint": deployment.endpoint, "name": deployment.name})

    def _changed(self, kind: str, subject: str, payload: Mapping[str, Any] | None = None) -> None:
        self._store.put("meta", {"name": _COUNTER, "value": str(self.counter() + 1)})
        self.workspace.events.append(kind, subject, payload)


_COUNTED: Query = ("meta", "SELECT value FROM meta WHERE name = :name", {"name": _COUNTER})
_EVERYTHING: tuple[Query, ...] = (
    _COUNTED,
    ("endpoints", _ENDPOINTS, {}),
    ("deployments", _DEPLOYMENTS, {}),
    ("secrets", "SELECT name, value FROM secrets WHERE name LIKE :names", {"names": "endpoint:%"}),
    _COUNTED,
)


def _gone(name: str, which: str) -> EndpointNotFoundError:
    return EndpointNotFoundError(f"The {which} key of the endpoint '{name}' is gone.")


def _secret(name: str, which: str) -> str:
    return f"endpoint:{name}:{which}"


def _endpoint(row: Mapping[str, Any]) -> Endpoint:
    values = dict(row)
    return Endpoint(**values.pop("record"), **values)


def _endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    values = dict(vars(endpoint))
    return {**_without(values, _OF_ENDPOINT), "record": {name: values[name] for name in _OF_ENDPOINT}}


def _deployment(row: Mapping[str, Any], home: Path) -> Deployment:
    values = dict(row)
    record = values.pop("record")
    return Deployment(spec=spec_from_row(record.pop("spec"), home), **record, **values)


def _deployment_row(deployment: Deployment, home: Path) -> dict[str, Any]:
    values = dict(vars(deployment))
    record = {"spec": spec_to_row(values.pop("spec"), home), **{name: values[name] for name in _SHARED}}
    return {**_without(values, _SHARED), "record": record}


def _without(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
