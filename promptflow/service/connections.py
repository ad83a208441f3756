"""``/v1.0/Connections``: what services there are to ask. Their secrets are never in an answer."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import Response

from promptflow.client import PFClient
from promptflow.connections import CustomConnection, _Connection
from promptflow.connections.yamlform import from_mapping
from promptflow.service.answers import answered
from promptflow.service.visitors import VisitorError

MOST = 50
Given = Annotated[dict[str, Any], Body()]
_LISTED = ("name", "type", "module", "expiry_time", "created_date", "last_modified_date")


def routes(client: PFClient) -> APIRouter:
    """The routes of connections."""
    router = APIRouter(prefix="/v1.0/Connections", tags=["Connections"])
    _of_reading(router, client)
    _of_writing(router, client)
    return router


def _of_reading(router: APIRouter, client: PFClient) -> None:
    @router.get("/")
    def list_connections(max_results: int = MOST, all_results: bool = False) -> Response:
        """List connections, by name."""
        found = client.connections.list(max(0, max_results), all_results)
        return answered([_listed(connection) for connection in found])

    @router.get("/specs")
    def list_specs() -> Response:
        """What each kind of connection is made of."""
        kinds = sorted(_Connection.SUPPORTED_TYPES.values(), key=lambda kind: kind.__name__)
        return answered([_spec(kind) for kind in kinds if kind.YAML_TYPE])

    @router.get("/{name}")
    def get_connection(name: str) -> Response:
        """One connection; instead of its secrets there are stars."""
        return answered(client.connections.get(name).to_dict())

    @router.get("/{name}/listsecrets")
    def list_secrets(name: str) -> Response:
        """Refused to everybody, as it was in all that Prompt flow released last."""
        raise VisitorError("Secrets are not shown.", hint="the connection's owner has them")


def _of_writing(router: APIRouter, client: PFClient) -> None:
    connections = client.connections

    @router.post("/{name}")
    def create_connection(name: str, data: Given) -> Response:
        """Keep a connection: the keys of its YAML."""
        return answered(connections.create_or_update(from_mapping({**data, "name": name})).to_dict())

    @router.put("/{name}")
    def update_connection(name: str, data: Given) -> Response:
        """Change some keys of a connection. Secrets that are not given, or as stars, stay what they are."""
        there = connections.get(name).to_dict()
        changed = from_mapping(there, [{**data, "name": name}])
        return answered(connections.create_or_update(changed).to_dict())

    @router.delete("/{name}", status_code=204)
    def delete_connection(name: str) -> Response:
        """Forget a connection."""
        connections.delete(name)
        return Response(status_code=204)


def _listed(connection: _Connection) -> dict[str, Any]:
    found = {key: getattr(connection, key, None) for key in _LISTED} | {"type": connection.YAML_TYPE}
    return {key: value for key, value in found.items() if value is not None}


def _spec(kind: type[_Connection]) -> dict[str, Any]:
    specs = [{"name": "name", "optional": False}, {"name": "type", "optional": False, "default": kind.YAML_TYPE}]
    if issubclass(kind, CustomConnection):
        specs += [{"name": name, "optional": False} for name in ("configs", "secrets")]
    else:
        specs += [_config(one) for one in inspect.signature(kind.__init__).parameters.values() if _is_config(one)]
    return {"connection_type": kind.__name__, "config_specs": specs}


def _is_config(parameter: inspect.Parameter) -> bool:
    return parameter.name not in ("self", "name") and parameter.kind is not parameter.VAR_KEYWORD


def _config(parameter: inspect.Parameter) -> dict[str, Any]:
    given = None if parameter.default is parameter.empty else parameter.default
    # A key was never called optional: what takes its place is another way of signing in.
    optional = parameter.default is not parameter.empty and parameter.name != "api_key"
    found = {"name": parameter.name, "optional": optional}
    return found if given is None else {**found, "default": given}
