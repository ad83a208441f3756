"""`pf batch-deployment`: what goes through the data that is sent to a batch endpoint."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from promptflow.cli import exits
from promptflow.cli.args import add_yes
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.workspace.yamlfile import Marks
from serve.batch.deployment_file import KEYS, BatchDeploymentFile, batch_document, read_batch_deployment
from serve.batch.jobs import JobStore
from serve.batch.records import BatchDeployment
from serve.batch.resolve import resolve_batch
from serve.batch.store import BatchStore
from serve.cli.batch_arguments import add_batch_deployment, open_batch, tell_jobs
from serve.cli.endpoint_arguments import (
    add_allow_pickle,
    add_at_once,
    add_deployments_to_list,
    add_file,
    add_labels,
    is_sure,
    tell_all,
)
from serve.cli.given import deployment_named, exclusive, flags, folder_of, loaded, overridden, places

_COLUMNS = ("name", "endpoint_name", "kind", "model", "default", "updated")
_PRIORITY = ("name", "endpoint_name", "default", "model")
_GIVEN = ("name", "endpoint_name", "description", "tags", "properties", "model", "flow")
_WHAT = "A batch deployment"


def create(args: Namespace, out: Output) -> None:
    store = open_batch()
    data, marks = loaded(args, _WHAT)
    data = overridden({**data, **flags(args, _GIVEN)}, args, KEYS)
    file = _read(data, args, marks, out)
    store.get(file.shared.endpoint)  # before anything is copied
    current = store.find_deployment(file.shared.endpoint, file.shared.name)
    if current is not None:
        out.note(f"the deployment '{current.endpoint}/{current.name}' is there already: it is updated")
    kept = store.put(resolve_batch(file, store.workspace, current), default=args.set_default)
    out.result(record(store, kept))
    out.hint(f"pf batch-endpoint invoke -n {kept.endpoint} --input FOLDER")


def update(args: Namespace, out: Output) -> None:
    store = open_batch()
    data, marks = loaded(args, _WHAT)
    data = {**data, **flags(args, _GIVEN)}
    current = store.deployment(*deployment_named({**data, **args.overrides}))
    merged = overridden({**batch_document(current), **exclusive(data)}, args, KEYS)
    file = _read(merged, args, marks, out)
    kept = store.put(resolve_batch(file, store.workspace, current), default=args.set_default)
    out.result(record(store, kept))


def show(args: Namespace, out: Output) -> None:
    store = open_batch()
    out.result(record(store, store.deployment(args.endpoint_name, args.name)))


def list_deployments(args: Namespace, out: Output) -> None:
    store = open_batch()
    if args.endpoint_name:
        store.get(args.endpoint_name)
    rows = [record(store, one) for one in store.deployments(args.endpoint_name)]
    tell_all(out, rows, _flat, _COLUMNS, _PRIORITY)


def delete(args: Namespace, out: Output) -> int:
    store = open_batch()
    deployment = store.deployment(args.endpoint_name, args.name)
    if not is_sure(f"the deployment '{deployment.endpoint}/{deployment.name}'", (), args, out):
        return exits.ERROR
    store.delete_deployment(deployment.endpoint, deployment.name)
    out.note(f"deleted the deployment '{deployment.endpoint}/{deployment.name}'")
    return exits.OK


def list_jobs(args: Namespace, out: Output) -> None:
    store = open_batch()
    deployment = store.deployment(args.endpoint_name, args.name)
    tell_jobs(out, JobStore(store.workspace).list(target=deployment.id))


def record(store: BatchStore, deployment: BatchDeployment) -> dict[str, Any]:
    """A deployment as `az ml` shows it."""
    return {
        **batch_document(deployment),
        "kind": deployment.spec.kind,
        "provisioning_state": "Succeeded",
        "default": store.get(deployment.endpoint).default == deployment.name,
        "revision": deployment.revision,
        "created": deployment.created,
        "updated": deployment.updated,
    }


def _read(data: dict[str, Any], args: Namespace, marks: Marks | None, out: Output) -> BatchDeploymentFile:
    shown = {key: value for key, value in data.items() if key != "default"}
    file = read_batch_deployment(shown, folder_of(args), places(args, marks, _GIVEN))
    for warning in file.warnings:
        out.warn(warning)
    for note in file.shared.notes:
        out.note(note)
    return file


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    model = row.get("model", "")
    return {
        "model": model.get("path", "") if isinstance(model, dict) else model,
        "default": "yes" if row["default"] else "",
        "updated": row["updated"][:19].replace("T", " "),
    }


def _file_arguments(parser: ArgumentParser) -> None:
    add_batch_deployment(parser, required=False)
    add_file(parser, "a batch deployment")
    parser.add_argument("--model", metavar="MODEL", help="A registered or pulled model, or a path.")
    parser.add_argument("--flow", metavar="PATH", help="A flow's folder or file.")
    add_allow_pickle(parser)
    add_labels(parser)
    parser.add_argument(
        "--set-default", action="store_true", help="From now on it gets the data where no deployment is named."
    )
    parser.add_argument("--skip-script-validation", action="store_true", help="Without effect.")
    add_at_once(parser)


def _delete_arguments(parser: ArgumentParser) -> None:
    add_batch_deployment(parser)
    add_yes(parser)
    add_at_once(parser)


CREATE = Command(
    create,
    "Deploy a model, a batch driver or a flow to a batch endpoint, from the YAML that `az ml batch-deployment` takes.",
    _file_arguments,
    (
        "pf batch-deployment create -f deployment.yml --set-default",
        "pf batch-deployment create -n green -e my-batch --model my-model:3",
        "pf batch-deployment create -f deployment.yml --set settings.mini_batch_size=100",
    ),
    "json",
)
UPDATE = Command(
    update, "Change a batch deployment. Jobs that are there go on with what they began with.", _file_arguments,
    (
        "pf batch-deployment update -f deployment.yml",
        "pf batch-deployment update -n green -e my-batch --set settings.error_threshold=10",
    ),
    "json",
)  # fmt: skip
SHOW = Command(
    show, "Show a batch deployment: what it runs, and its settings.", add_batch_deployment,
    ("pf batch-deployment show -n green -e my-batch",), "json",
)  # fmt: skip
LIST = Command(
    list_deployments, "List batch deployments.", add_deployments_to_list,
    ("pf batch-deployment list -e my-batch",), "table",
)  # fmt: skip
DELETE = Command(
    delete, "Delete a batch deployment. Its jobs stay.", _delete_arguments,
    ("pf batch-deployment delete -n green -e my-batch -y",),
)  # fmt: skip
LIST_JOBS = Command(
    list_jobs, "List the jobs of a batch deployment, newest first.", add_batch_deployment,
    ("pf batch-deployment list-jobs -n green -e my-batch --query [].name",), "table",
)  # fmt: skip
