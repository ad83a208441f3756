"""`pf endpoint`: names with keys, and where their requests go."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from promptflow.cli import exits
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from serve.cli.endpoint_arguments import (
    add_at_once,
    add_cloud,
    add_endpoint,
    add_endpoint_to_delete,
    add_file,
    add_labels,
    is_sure,
    open_store,
    tell_all,
)
from serve.cli.endpoint_live import base_url, provisioning_state, status, tell_server
from serve.cli.given import flags, loaded, overridden, places
from serve.cli.server import ensure_server
from serve.endpoints.document import endpoint_document
from serve.endpoints.endpoint_file import KEYS, EndpointFile, read_endpoint
from serve.endpoints.records import Endpoint
from serve.endpoints.store import EndpointStore
from serve.endpoints.traffic import parse_traffic
from serve.supervisor.beacon import find

_COLUMNS = ("name", "auth_mode", "traffic", "deployments", "provisioning_state", "scoring_uri")
_PRIORITY = ("name", "traffic", "provisioning_state", "deployments", "auth_mode")
_GIVEN = ("name", "auth_mode", "description", "tags", "properties")
_WHAT = "An endpoint"


def create(args: Namespace, out: Output) -> None:
    store = open_store()
    file = _read(args, out)
    there = store.find(file.endpoint.name)
    if there is None:
        if any(file.endpoint.traffic.values()):
            out.warn("traffic goes nowhere before there are deployments: it is left out")
        kept = store.create(replace(file.endpoint, traffic={}, mirror={}))
    else:
        out.note(f"the endpoint '{there.name}' is there already: it is updated")
        kept = store.update(file.over(there))
    ensure_server(store.workspace, out)
    tell_server(store.workspace)
    out.result(record(store, kept))
    out.hint(f"pf deployment create -e {kept.name} -f deployment.yml --all-traffic")


def update(args: Namespace, out: Output) -> None:
    store = open_store()
    data = _given(args)
    current = store.get(str(data.get("name") or ""))
    if args.file is None:
        data = {**endpoint_document(current), **data}
    file = _read(args, out, data)
    if file.endpoint.name != current.name:
        raise UsageError(f"--set name: '{current.name}' keeps its name", hint="create another endpoint")
    changed = file.over(current)
    if args.traffic is not None:
        changed = replace(changed, traffic=_all_of(current, parse_traffic(args.traffic)))
    if args.mirror_traffic is not None:
        changed = replace(changed, mirror=parse_traffic(args.mirror_traffic))
    _warn_of_unready(store, changed, out)
    kept = store.update(changed)
    tell_server(store.workspace)
    out.result(record(store, kept))


def show(args: Namespace, out: Output) -> None:
    store = open_store()
    out.result(record(store, store.get(args.name)))


def list_endpoints(args: Namespace, out: Output) -> None:
    store = open_store()
    rows = [record(store, endpoint) for endpoint in store.list()]
    tell_all(out, rows, _flat, _COLUMNS, _PRIORITY)


def delete(args: Namespace, out: Output) -> int:
    store = open_store()
    endpoint = store.get(args.name)
    names = [one.name for one in store.deployments(endpoint.name)]
    if not is_sure(f"the endpoint '{endpoint.name}'", names, args, out):
        return exits.ERROR
    store.delete(endpoint.name)
    tell_server(store.workspace)
    out.note(f"deleted the endpoint '{endpoint.name}'")
    return exits.OK


def record(store: EndpointStore, endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as `az ml` shows it."""
    beacon = find(store.workspace.home)
    deployments = [one.name for one in store.deployments(endpoint.name)]
    states = {provisioning_state(status(beacon, endpoint.name, name)["state"]) for name in deployments}
    url = f"{base_url(store.workspace)}/endpoints/{endpoint.name}"
    worst = next((state for state in ("Failed", "Updating", "Stopped") if state in states), "Succeeded")
    return {
        "id": f"endpoint:{endpoint.name}",
        **endpoint_document(endpoint),
        "kind": "Managed",
        "location": "local",
        "provisioning_state": worst,
        "scoring_uri": f"{url}/score",
        "openapi_uri": f"{url}/swagger.json",
        "deployments": deployments,
        "revision": endpoint.revision,
        "created": endpoint.created,
        "updated": endpoint.updated,
    }


def _warn_of_unready(store: EndpointStore, endpoint: Endpoint, out: Output) -> None:
    """Whoever moves traffic wants to know that it would go nowhere."""
    beacon = find(store.workspace.home)
    for name, share in endpoint.traffic.items() if beacon is not None else ():
        found = status(beacon, endpoint.name, name)
        if share and provisioning_state(found["state"]) == "Failed":
            out.warn(f"{share} % of the traffic goes to '{name}', which is not ready: {found['message']}")


def _read(args: Namespace, out: Output, data: dict[str, Any] | None = None) -> EndpointFile:
    """The file with the flags over it."""
    kept, marks = loaded(args, _WHAT)
    if args.file or data is None:
        data = {**kept, **flags(args, _GIVEN)}
    file = read_endpoint(overridden(data, args, KEYS), places(args, marks, _GIVEN))
    for warning in file.warnings:
        out.warn(warning)
    for note in file.notes:
        out.note(note)
    return file


def _given(args: Namespace) -> dict[str, Any]:
    """The name, from the flag or the file, and what else the flags say."""
    if args.name:
        return flags(args, _GIVEN)
    if not args.file:
        raise UsageError("--name is missing", hint="pf endpoint update --name NAME ..., or -f FILE")
    return {"name": loaded(args, _WHAT)[0].get("name"), **flags(args, _GIVEN)}


def _all_of(endpoint: Endpoint, traffic: dict[str, int]) -> dict[str, int]:
    """What is not named gets nothing any more."""
    return {**dict.fromkeys(endpoint.traffic, 0), **traffic}


def _flat(row: Mapping[str, Any]) -> dict[str, str]:
    shares = " ".join(f"{name}={share}" for name, share in row["traffic"].items())
    return {"traffic": shares, "deployments": ", ".join(row["deployments"])}


def _texts(parser: ArgumentParser) -> None:
    parser.add_argument("--auth-mode", metavar="MODE", help="key (the default), or aml_token: expiring tokens.")
    add_labels(parser)
    add_at_once(parser)


def _create_arguments(parser: ArgumentParser) -> None:
    add_endpoint(parser, required=False)
    add_file(parser, "an endpoint")
    _texts(parser)


def _update_arguments(parser: ArgumentParser) -> None:
    add_endpoint(parser, required=False)
    add_file(parser, "an endpoint")
    parser.add_argument("--traffic", metavar="SHARES", help='Percent by deployment: "blue=90 green=10". Others get 0.')
    parser.add_argument("--mirror-traffic", metavar="SHARES", help='Percent of which a copy goes to: "green=10".')
    _texts(parser)


CREATE = Command(
    create, "Make an endpoint, from the YAML that `az ml online-endpoint` takes or from flags.", _create_arguments,
    ("pf endpoint create -f endpoint.yml", "pf endpoint create -n my-endpoint --auth-mode aml_token"), "json",
)  # fmt: skip
UPDATE = Command(
    update, "Change an endpoint: where its requests go, its description, tags, auth mode.", _update_arguments,
    (
        'pf endpoint update -n my-endpoint --traffic "blue=90 green=10"',
        'pf endpoint update -n my-endpoint --mirror-traffic "green=10"',
        "pf endpoint update -n my-endpoint --set tags.team=search",
    ),
    "json",
)  # fmt: skip
SHOW = Command(
    show, "Show an endpoint: traffic, state, where to send requests.", add_endpoint,
    ("pf endpoint show -n my-endpoint", "pf endpoint show -n my-endpoint --query scoring_uri -o tsv"), "json",
)  # fmt: skip
LIST = Command(list_endpoints, "List endpoints.", add_cloud, ("pf endpoint list",), "table")
DELETE = Command(
    delete,
    "Delete an endpoint with all its deployments.",
    add_endpoint_to_delete,
    ("pf endpoint delete -n my-endpoint -y",),
)
