"""`pf batch-endpoint invoke`: data to a deployment, and the name of the job that goes through it."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptflow.cli import exits
from promptflow.cli.args import KeyValues, positive
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.cli.overrides import apply
from promptflow.workspace import Workspace
from serve.batch.deployment_file import SETTINGS, read_settings, settings_document
from serve.batch.document import job_document
from serve.batch.inputs import TYPES, Input, resolve_input
from serve.batch.jobs import JobStore
from serve.batch.records import OUTPUT, BatchDeployment, Settings
from serve.batch.submit import Request, submit
from serve.cli.batch_arguments import open_batch, tell_end
from serve.cli.endpoint_arguments import add_endpoint
from serve.cli.given import folder_of, loaded
from serve.endpoints.fields import FLAT
from serve.endpoints.spec import FLOW

_OF_DATA = re.compile(r"\.(path|type|mode)$")
_KEYS = ("inputs", "outputs", "settings", "experiment_name", "display_name", "tags", "name", *SETTINGS)


def run(args: Namespace, out: Output) -> int:
    store = open_batch()
    name = args.deployment_name
    deployment = store.deployment(args.name, name) if name else store.default(args.name)
    job = submit(store.workspace, deployment, _request(args, deployment, store.workspace))
    if args.stream:
        return tell_end(JobStore(store.workspace), job.name, out)
    out.result(job_document(job))
    out.hint(f"pf job stream -n {job.name}")
    return exits.OK


def _request(args: Namespace, deployment: BatchDeployment, workspace: Workspace) -> Request:
    data, _ = loaded(args, "The inputs")
    said = {f"inputs.{key}": value for key, value in (args.inputs or {}).items() if _OF_DATA.search(key)}
    said |= {f"outputs.{key}": value for key, value in (args.outputs or {}).items()}
    data = apply(data, {**said, **args.overrides}, known=_KEYS, flat=FLAT)
    given, words = _inputs(args, data, deployment, workspace)
    path = _output(data.get("outputs") or {})
    return Request(
        given,
        _settings(args, data, deployment),
        words,
        args.output_path or path,
        args.job_name or str(data.get("name") or ""),
        args.experiment_name or str(data.get("experiment_name") or ""),
        str(data.get("display_name") or ""),
        {str(key): str(value) for key, value in (data.get("tags") or {}).items()},
    )


def _inputs(
    args: Namespace, data: Mapping[str, Any], deployment: BatchDeployment, workspace: Workspace
) -> tuple[Input, dict[str, str]]:
    """The one input that is data, and the words for a flow's inputs."""
    listed = data.get("inputs") or {}
    if not isinstance(listed, Mapping):
        raise UsageError("inputs: it is a mapping of names to values or to {type, path}", hint="-f inputs.yml")
    found = [_data(name, one, folder_of(args), workspace) for name, one in listed.items() if _is_data(one)]
    words = {str(name): str(_literal(one)) for name, one in listed.items() if not _is_data(one)}
    words |= {key: value for key, value in (args.inputs or {}).items() if not _OF_DATA.search(key)}
    if args.input:
        found = [resolve_input(args.input, args.input_type or "", workspace=workspace)]
    elif not found and deployment.spec.kind != FLOW and len(words) == 1:  # --inputs NAME=PATH
        found = [resolve_input(words.popitem()[1], args.input_type or "", workspace=workspace)]
    if len(found) != 1:
        what = "there is none" if not found else f"there are {len(found)}"
        raise UsageError(f"a job goes through one input, and {what}", hint="--input FOLDER")
    if words and deployment.spec.kind != FLOW:
        raise UsageError(
            f"--inputs {next(iter(words))}: only a flow has inputs of its own", hint="--input FOLDER is the data"
        )
    return found[0], words


def _is_data(value: Any) -> bool:
    return isinstance(value, Mapping) and ("path" in value or str(value.get("type", "")) in TYPES)


def _data(name: str, value: Mapping[str, Any], folder: Path, workspace: Workspace) -> Input:
    if not value.get("path"):
        raise UsageError(f"inputs.{name}: it has no path", hint=f"--set inputs.{name}.path=FOLDER")
    return resolve_input(str(value["path"]), str(value.get("type") or ""), folder, workspace=workspace)


def _output(outputs: Any) -> str:
    """The folder of the one output that there is: ``score: FOLDER``, or ``score: {path: FOLDER}``."""
    if not isinstance(outputs, Mapping) or {*outputs} - {OUTPUT}:
        raise UsageError(f"outputs: a job has one output, {OUTPUT}", hint=f"--outputs {OUTPUT}.path=FOLDER")
    found = outputs.get(OUTPUT) or ""
    return str((found.get("path") if isinstance(found, Mapping) else found) or "")


def _literal(value: Any) -> Any:
    return value.get("value", value.get("default", "")) if isinstance(value, Mapping) else value


def _settings(args: Namespace, data: Mapping[str, Any], deployment: BatchDeployment) -> Settings:
    """Those of the deployment, with what this job is to have otherwise."""
    inner = data.get("settings") or {}
    own = {key: data[key] for key in SETTINGS if key in data} | {key: inner[key] for key in inner}
    if args.mini_batch_size is not None:
        own["mini_batch_size"] = args.mini_batch_size
    return read_settings({**settings_document(deployment.settings), **own})


def _arguments(parser: ArgumentParser) -> None:
    add_endpoint(parser)
    parser.add_argument(
        "--input",
        metavar="PATH",
        help="The data: a folder, a file, a pattern, a url, an MLTable, azureml:NAME:VERSION.",
    )
    parser.add_argument("--input-type", metavar="TYPE", choices=TYPES, help=f"{', '.join(TYPES)}; else what it is.")
    parser.add_argument(
        "--inputs", action=KeyValues, nargs="+", metavar="NAME=VALUE",
        help="Of a flow: inputs, as `'${data.column}'` or as values. Of data: NAME.path=PATH NAME.type=TYPE.",
    )  # fmt: skip
    parser.add_argument(
        "--outputs", action=KeyValues, nargs="+", metavar="NAME=FOLDER", help="score=FOLDER, or score.path=FOLDER."
    )
    parser.add_argument("-f", "--file", metavar="FILE", help="A YAML with `inputs`, and what `--set` takes.")
    parser.add_argument(
        "--set", dest="overrides", action=KeyValues, nargs="+", default={}, metavar="PATH=VALUE",
        help="For this job: output_file_name=FILE, settings.error_threshold=5, inputs.NAME.path=FOLDER.",
    )  # fmt: skip
    parser.add_argument(
        "--deployment-name", "--deployment", metavar="NAME", help="This deployment, and not the default one."
    )
    parser.add_argument("--output-path", metavar="FOLDER", help="Where the output goes; else to the workspace.")
    parser.add_argument(
        "-m", "--mini-batch-size", metavar="N", help="For this job: files, or rows of a table, at once."
    )
    parser.add_argument("-c", "--instance-count", type=positive, metavar="N", help="Without effect: all is local.")
    parser.add_argument("--job-name", metavar="NAME", help="What the job is called; else a name is made up.")
    parser.add_argument("--experiment-name", metavar="NAME", help="The experiment that the job belongs to.")
    parser.add_argument("--stream", action="store_true", help="Wait until the job ends, with its log on stderr.")


INVOKE = Command(
    run, "Start a job that sends all of the data through a deployment, and print its name.", _arguments,
    (
        "pf batch-endpoint invoke -n my-batch --input ./data",
        "pf batch-endpoint invoke -n my-batch --input ./data --query name -o tsv",
        "pf batch-endpoint invoke -n my-batch --input ./table --input-type mltable --mini-batch-size 1000",
        "pf batch-endpoint invoke -n my-batch --input rows.jsonl --inputs question='${data.question}'",
    ),
    "json",
)  # fmt: skip
