"""`pf batch-endpoint`: names that data is sent to."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from promptflow.cli import exits
from promptflow.cli.args import KeyValues
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from serve.batch.endpoint_file import KEYS, BatchEndpointFile, endpoint_document, read_batch_endpoint
from serve.batch.jobs import JobStore
from serve.batch.records import BatchEndpoint
from serve.batch.store import BatchStore
from serve.cli.batch_arguments import open_batch, tell_jobs
from serve.cli.endpoint_arguments import (
    add_at_once,
    add_cloud,
    add_endpoint,
    add_endpoint_to_delete,
    add_file,
    add_labels,
    is_sure,
    tell_all,
)
from serve.cli.endpoint_live import base_url
from serve.cli.given import flags, loaded, overridden, places

_COLUMNS = ("name", "default", "deployments", "description", "created")
_PRIORITY = ("name", "default", "deployments")
_GIVEN = ("name", "description", "tags", "properties", "auth_mode")
_WHAT = "A batch endpoint"


def create(args: Namespace, out: Output) -> None:
    store = open_batch()
    file = _read(args, out, {})
    there = store.find(file.endpoint.name)
    if there is None:
        kept = store.create(file.endpoint)
    else:
        out.note(f"the batch endpoint '{there.name}' is there already: it is updated")
        kept = store.update(file.over(there))
    out.result(record(store, kept))
    out.hint(f"pf batch-deployment create -e {kept.name} -f deployment.yml --set-default")


def update(args: Namespace, out: Output) -> None:
    store = open_batch()
    name = args.name or loaded(args, _WHAT)[0].get("name")
    if not name:
        raise UsageError("--name is missing", hint="pf batch-endpoint update --name NAME ..., or -f FILE")
    current = store.get(str(name))
    file = _read(args, out, endpoint_document(current) if not args.file else {"name": current.name})
    if file.endpoint.name != current.name:
        raise UsageError(f"--set name: '{current.name}' keeps its name", hint="create another endpoint")
    changed = file.over(current)
    if args.defaults:
        changed = replace(changed, default=_default(args.defaults))
    out.result(record(store, store.update(changed)))


def show(args: Namespace, out: Output) -> None:
    store = open_batch()
    out.result(record(store, store.get(args.name)))


def list_endpoints(args: Namespace, out: Output) -> None:
    store = open_batch()
    rows = [record(store, endpoint) for endpoint in store.list()]
    tell_all(out, rows, _flat, _COLUMNS, _PRIORITY)


def delete(args: Namespace, out: Output) -> int:
    store = open_batch()
    endpoint = store.get(args.name)
    names = [one.name for one in store.deployments(endpoint.name)]
    if not is_sure(f"the batch endpoint '{endpoint.name}'", names, args, out):
        return exits.ERROR
    store.delete(endpoint.name)
    out.note(f"deleted the batch endpoint '{endpoint.name}'")
    return exits.OK


def list_jobs(args: Namespace, out: Output) -> None:
    store = open_batch()
    endpoint = store.get(args.name)
    tell_jobs(out, JobStore(store.workspace).list(target=f"batch:{endpoint.name}/"))


def record(store: BatchStore, endpoint: BatchEndpoint) -> dict[str, Any]:
    """An endpoint as `az ml` shows it."""
    return {
        **endpoint_document(endpoint),
        "location": "local",
        "provisioning_state": "Succeeded",
        "scoring_uri": f"{base_url(store.workspace)}/api/v1/batch-endpoints/{endpoint.name}/jobs",
        "deployments": [one.name for one in store.deployments(endpoint.name)],
        "revision": endpoint.revision,
        "created": endpoint.created,
        "updated": endpoint.updated,
    }


def _read(args: Namespace, out: Output, base: dict[str, Any]) -> BatchEndpointFile:
    """The file, or ``base``, with the flags over it."""
    data, marks = loaded(args, _WHAT)
    given = overridden({**base, **data, **flags(args, _GIVEN)}, args, KEYS)
    file = read_batch_endpoint(given, places(args, marks, _GIVEN))
    for warning in file.warnings:
        out.warn(warning)
    return file


def _default(words: dict[str, str]) -> str:
    """``--defaults deployment_name=NAME``."""
    if [*words] != ["deployment_name"]:
        raise UsageError("--defaults: the one default is deployment_name", hint="--defaults deployment_name=NAME")
    return words["deployment_name"]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "default": row.get("defaults", {}).get("deployment_name", ""),
        "deployments": ", ".join(row["deployments"]),
        "created": row["created"][:19].replace("T", " "),
    }


def _file_arguments(parser: ArgumentParser) -> None:
    add_endpoint(parser, required=False)
    add_file(parser, "a batch endpoint")
    add_labels(parser)
    parser.add_argument("--auth-mode", metavar="MODE", help="Kept, and without effect: whoever may use pf may use it.")
    add_at_once(parser)


def _update_arguments(parser: ArgumentParser) -> None:
    _file_arguments(parser)
    parser.add_argument(
        "--defaults", action=KeyValues, nargs="+", metavar="KEY=VALUE",
        help="deployment_name=NAME: the deployment that gets the data where none is named.",
    )  # fmt: skip


CREATE = Command(
    create, "Make a batch endpoint, from the YAML that `az ml batch-endpoint` takes or from flags.", _file_arguments,
    ("pf batch-endpoint create -f endpoint.yml", "pf batch-endpoint create -n my-batch"), "json",
)  # fmt: skip
UPDATE = Command(
    update, "Change a batch endpoint: its default deployment, description, tags.", _update_arguments,
    (
        "pf batch-endpoint update -n my-batch --set defaults.deployment_name=green",
        "pf batch-endpoint update -n my-batch --set tags.team=search",
    ),
    "json",
)  # fmt: skip
SHOW = Command(
    show, "Show a batch endpoint.", add_endpoint,
    ("pf batch-endpoint show -n my-batch", "pf batch-endpoint show -n my-batch --query defaults.deployment_name"),
    "json",
)  # fmt: skip
LIST = Command(list_endpoints, "List batch endpoints.", add_cloud, ("pf batch-endpoint list",), "table")
DELETE = Command(
    delete, "Delete a batch endpoint with all its deployments. Its jobs stay.", add_endpoint_to_delete,
    ("pf batch-endpoint delete -n my-batch -y",),
)  # fmt: skip
LIST_JOBS = Command(
    list_jobs, "List the jobs of a batch endpoint, newest first.", add_endpoint,
    ("pf batch-endpoint list-jobs -n my-batch",), "table",
)  # fmt: skip
