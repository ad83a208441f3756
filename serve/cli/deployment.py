"""`pf deployment`: looking at what answers for an endpoint, and losing it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from promptflow.cli import exits
from promptflow.cli.args import add_yes, positive
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from serve.cli.endpoint_arguments import (
    add_at_once,
    add_deployment,
    add_deployments_to_list,
    is_sure,
    open_store,
    tell_all,
)
from serve.cli.endpoint_live import provisioning_state, status, tell_server
from serve.endpoints.document import deployment_document
from serve.endpoints.records import Deployment
from serve.endpoints.store import EndpointStore
from serve.supervisor.beacon import find
from serve.supervisor.places import log_folder, previous, tail

LINES = 5000  # as many as `az ml` prints

_COLUMNS = ("name", "endpoint_name", "kind", "model", "traffic", "state", "instances", "updated")
_PRIORITY = ("name", "state", "traffic", "model", "instances")


def show(args: Namespace, out: Output) -> None:
    store = open_store()
    out.result(record(store, store.deployment(args.endpoint_name, args.name)))


def list_deployments(args: Namespace, out: Output) -> None:
    store = open_store()
    if args.endpoint_name:
        store.get(args.endpoint_name)
    rows = [record(store, one) for one in store.deployments(args.endpoint_name)]
    tell_all(out, rows, _flat, _COLUMNS, _PRIORITY)


def delete(args: Namespace, out: Output) -> int:
    store = open_store()
    deployment = store.deployment(args.endpoint_name, args.name)
    if not is_sure(f"the deployment '{deployment.endpoint}/{deployment.name}'", (), args, out):
        return exits.ERROR
    store.delete_deployment(deployment.endpoint, deployment.name)
    tell_server(store.workspace)
    out.note(f"deleted the deployment '{deployment.endpoint}/{deployment.name}'")
    return exits.OK


def get_logs(args: Namespace, out: Output) -> int:
    store = open_store()
    deployment = store.deployment(args.endpoint_name, args.name)
    folder = log_folder(store.workspace.home, deployment.endpoint, deployment.name)
    files = sorted(file for file in folder.glob("*.log") if not file.stem.endswith(".previous"))
    if args.instance is not None:
        files = [folder / f"{args.instance}.log"]
    found = [(file, tail(previous(file) if args.previous else file, args.lines)) for file in files]
    found = [(file, lines) for file, lines in found if lines]
    for file, lines in found:
        if len(found) > 1:
            out.text(f"Instance {file.stem}:")
        out.text("\n".join(lines))
    if not found:
        out.note("no log yet" if not files else "the log is empty")
    return exits.OK


def record(store: EndpointStore, deployment: Deployment) -> dict[str, Any]:
    """A deployment as `az ml` shows it, with what the server knows of its instances."""
    beacon = find(store.workspace.home)
    found = status(beacon, deployment.endpoint, deployment.name)
    endpoint = store.get(deployment.endpoint)
    return {
        "id": deployment.id,
        **deployment_document(deployment),
        "kind": deployment.spec.kind,
        "provisioning_state": provisioning_state(found["state"]),
        "state": found["state"],
        **{key: found[key] for key in ("message", "log", "warnings") if found.get(key)},
        "traffic": endpoint.traffic.get(deployment.name, 0),
        "mirror_traffic": endpoint.mirror.get(deployment.name, 0),
        "instances": found.get("instances", []),
        "revision": deployment.revision,
        "created": deployment.created,
        "updated": deployment.updated,
    }


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    model = row.get("model", "")
    ready = sum(one.get("phase") == "ready" for one in row["instances"])
    return {
        "model": model.get("path", "") if isinstance(model, dict) else model,
        "traffic": f"{row['traffic']} %",
        "instances": f"{ready}/{max(len(row['instances']), ready)}",
        "updated": row["updated"][:19].replace("T", " "),
    }


def _delete_arguments(parser: ArgumentParser) -> None:
    add_deployment(parser)
    add_yes(parser)
    add_at_once(parser)


def _logs_arguments(parser: ArgumentParser) -> None:
    add_deployment(parser)
    parser.add_argument(
        "-l", "--lines", "--tail", type=positive, default=LINES, metavar="N", help=f"The last N lines ({LINES})."
    )
    parser.add_argument("--instance", type=int, metavar="N", help="Of this instance only: 0 is the first.")
    parser.add_argument("--previous", action="store_true", help="Of the instances before those that run now.")
    parser.add_argument("-c", "--container", metavar="NAME", help="Without effect: there are no containers.")


SHOW = Command(
    show, "Show a deployment: what it runs, its settings, its instances.", add_deployment,
    ("pf deployment show -n blue -e my-endpoint", "pf deployment show -n blue -e my-endpoint --query state -o tsv"),
    "json",
)  # fmt: skip
LIST = Command(
    list_deployments, "List deployments.", add_deployments_to_list, ("pf deployment list -e my-endpoint",), "table"
)  # fmt: skip
DELETE = Command(
    delete, "Delete a deployment that gets no traffic.", _delete_arguments,
    ("pf deployment delete -n blue -e my-endpoint -y",),
)  # fmt: skip
LOGS = Command(
    get_logs, "Print what a deployment's instances have logged.", _logs_arguments,
    ("pf deployment get-logs -n blue -e my-endpoint --lines 100",),
)  # fmt: skip
