"""`pf deployment create`, `update` and `scale`."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.workspace.yamlfile import Marks
from serve.cli.deployment import record
from serve.cli.endpoint_arguments import (
    add_allow_pickle,
    add_deployment,
    add_file,
    add_labels,
    add_wait,
    open_store,
)
from serve.cli.endpoint_live import tell_server, wait_until_ready
from serve.cli.given import deployment_named, exclusive, flags, folder_of, loaded, overridden, places
from serve.cli.server import ensure_server
from serve.endpoints.deployment_file import KEYS, DeploymentFile, read_deployment
from serve.endpoints.document import deployment_document
from serve.endpoints.records import Deployment
from serve.endpoints.resolve import resolve
from serve.endpoints.settings_file import IDLE_SECONDS
from serve.endpoints.store import EndpointStore

_GIVEN = ("name", "endpoint_name", "description", "tags", "properties", "model", "flow", "engine")


def create(args: Namespace, out: Output) -> None:
    store = open_store()
    data, marks = loaded(args, "A deployment")
    data = overridden({**data, **flags(args, _GIVEN)}, args, KEYS)
    file = _read(data, args, marks, out)
    store.get(file.endpoint)  # before anything is copied
    current = store.find_deployment(file.endpoint, file.name)
    if current is not None:
        out.note(f"the deployment '{file.endpoint}/{file.name}' is there already: it is updated")
    _keep(store, resolve(file, store.workspace, current), args, out)


def update(args: Namespace, out: Output) -> None:
    store = open_store()
    data, marks = loaded(args, "A deployment")
    data = {**data, **flags(args, _GIVEN)}
    current = store.deployment(*deployment_named({**data, **(args.overrides or {})}))
    shown = deployment_document(current)
    # Paths of the file are relative to it; those of what is there are not relative at all.
    merged = {**shown, **exclusive(data)}
    file = _read(overridden(merged, args, KEYS), args, marks, out)
    _keep(store, resolve(file, store.workspace, current), args, out)


def scale(args: Namespace, out: Output) -> None:
    store = open_store()
    current = store.deployment(args.endpoint_name, args.name)
    spec = current.spec
    if args.instances is None and args.min is None and args.max is None and args.idle is None:
        raise UsageError("nothing to change", hint="--instances N, or --min N --max N")
    if args.instances is not None:
        low, high = args.instances, args.instances
    else:
        low = spec.min_instances if args.min is None else args.min
        high = max(spec.max_instances, low, 1) if args.max is None else args.max
    if low > high or high < 1:
        raise UsageError(f"from {low} to {high} instances", hint="--max is 1 or more, and no less than --min")
    idle = args.idle if args.idle is not None else spec.idle_seconds or (0.0 if low else IDLE_SECONDS)
    count = min(max(spec.instance_count, low), high)
    changed = replace(spec, min_instances=low, max_instances=high, instance_count=count, idle_seconds=idle)
    _keep(store, replace(current, spec=changed), args, out)


def _keep(store: EndpointStore, deployment: Deployment, args: Namespace, out: Output) -> None:
    """In the store, running, and with the traffic that was asked for; nobody is sent to it before it is ready."""
    kept = store.put(deployment)
    beacon = ensure_server(store.workspace, out)
    tell_server(store.workspace)
    if not args.no_wait:
        wait_until_ready(beacon, kept.endpoint, [kept.name], args.timeout, out, kept.revision)
    if getattr(args, "all_traffic", False):
        endpoint = store.get(kept.endpoint)
        traffic = {**dict.fromkeys(endpoint.traffic, 0), kept.name: 100}
        mirror = {name: share for name, share in endpoint.mirror.items() if name != kept.name}
        store.set_traffic(kept.endpoint, traffic, mirror, revision=endpoint.revision)
        tell_server(store.workspace)
    shown = record(store, kept)
    for text in shown.get("warnings", ()):
        out.warn(text)
    out.result(shown)
    out.hint(f"pf endpoint invoke -n {kept.endpoint} --request-file request.json")


def _read(data: Mapping[str, Any], args: Namespace, marks: Marks | None, out: Output) -> DeploymentFile:
    file = read_deployment(data, folder_of(args), places(args, marks, _GIVEN))
    for warning in file.warnings:
        out.warn(warning)
    for note in file.notes:
        out.note(note)
    return file


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1000:
        raise ValueError
    return number


def _file_arguments(parser: ArgumentParser) -> None:
    add_deployment(parser, required=False)
    add_file(parser, "a deployment")
    parser.add_argument("--model", metavar="MODEL", help="A registered or pulled model, builtin/..., or a path.")
    parser.add_argument("--flow", metavar="PATH", help="A flow's folder or file.")
    parser.add_argument("--engine", metavar="KIND", help="Of an LLM: onnx, transformers, remote, ...")
    add_allow_pickle(parser)
    add_labels(parser)
    parser.add_argument("--all-traffic", action="store_true", help="Send it all traffic, once it is ready.")
    for word in ("--skip-script-validation", "--with-package", "--package-model"):
        parser.add_argument(word, action="store_true", help=SUPPRESS)  # what means nothing here
    add_wait(parser)


def _scale_arguments(parser: ArgumentParser) -> None:
    add_deployment(parser)
    parser.add_argument("--instances", type=_count, metavar="N", help="So many, always; 0: none until it is asked for.")
    parser.add_argument("--min", type=_count, metavar="N", help="At least so many; 0: none while nobody asks.")
    parser.add_argument("--max", type=_count, metavar="N", help="At most so many.")
    parser.add_argument("--idle", type=float, metavar="SECONDS", help="None are left after so long without requests.")
    add_wait(parser)


CREATE = Command(
    create,
    "Deploy a model, a score.py, a flow or an LLM to an endpoint, from the YAML that `az ml online-deployment` takes.",
    _file_arguments,
    (
        "pf deployment create -f blue.yml --all-traffic",
        "pf deployment create -n blue -e my-endpoint --model my-model:3",
        "pf deployment create -f blue.yml --set instance_count=2 environment_variables.LEVEL=debug",
    ),
    "json",
)
UPDATE = Command(
    update, "Change a deployment: new instances take over from the old ones without losing a request.", _file_arguments,
    (
        "pf deployment update -f blue.yml",
        "pf deployment update -n blue -e my-endpoint --set request_settings.request_timeout_ms=90000",
    ),
    "json",
)  # fmt: skip
SCALE = Command(
    scale, "Change how many instances a deployment has.", _scale_arguments,
    (
        "pf deployment scale -n blue -e my-endpoint --instances 3",
        "pf deployment scale -n blue -e my-endpoint --min 0 --max 4 --idle 300",
    ),
    "json",
)  # fmt: skip
