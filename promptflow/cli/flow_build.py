"""`pf flow build` and `pf run build`."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from pathlib import Path

from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.client.client import PFClient
from promptflow.entities.run import Run
from promptflow.exceptions import RunNotFoundError
from promptflow.storage.folder import SNAPSHOT


def build(args: Namespace, out: Output) -> None:
    from promptflow.serving.export.build import build_flow  # the web framework's neighbours, for this verb only

    client = PFClient()
    source, name = Path(args.source), ""
    if not source.exists():
        run = _run(client, args.source)
        source, name = run.folder.path / SNAPSHOT, Path(str(run.flow)).name
    with out.stdout_kept():  # a DAG's tools are loaded to find its connections
        built = build_flow(
            source,
            args.output,
            format=args.format,
            variant=args.variant,
            image=args.image,
            flow_only=args.flow_only,
            name=name,
            workspace=client.workspace,
        )
    out.text(str(built.folder))
    for name in built.left_out:
        out.warn(f"{name} is not part of the build: it may hold secrets")
    for line in built.unlocked:
        out.warn(f"{line} is not installed here: it is in requirements.lock without a version of its own")
    if built.variables:
        out.note(f"secrets are read from {', '.join(built.variables)}")
    if not args.flow_only:
        out.hint(f"python -m promptflow.serving {args.output}")


def _run(client: PFClient, name: str) -> Run:
    try:
        return client.runs.find(name)
    except RunNotFoundError as error:
        raise RunNotFoundError(
            f"There is neither a flow at {name} nor a run of that name.", hint="--source takes a flow's folder or file"
        ) from error


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="A flow folder or file, or the name of a run.")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="Where to write.")
    parser.add_argument(
        "-f", "--format", choices=("docker", "kubernetes", "kserve", "executable"), default="docker",
        help="A container; the same with manifests for Kubernetes or KServe (docker).",
    )  # fmt: skip
    parser.add_argument("-v", "--variant", metavar="${NODE.VARIANT}", help="The variant to build.")
    parser.add_argument("--image", default="", metavar="NAME", help="Where the image will be, for the manifests.")
    parser.add_argument("--flow-only", action="store_true", help=argparse.SUPPRESS)


_EXAMPLES = (
    "pf flow build --source my_flow --output image",
    "pf flow build --source my_flow --output image --variant '${ask.short}'",
    "pf flow build --source my_flow --output image --format kubernetes --image registry.example.com/my-flow:1",
)
BUILD = Command(
    build, "Write a folder to serve a flow from: in a container, on Kubernetes, or with Python alone.", _arguments,
    _EXAMPLES,
)  # fmt: skip
RUN_BUILD = Command(
    build, "Write a folder to serve the flow of a run from.", _arguments,
    ("pf run build --source my_run --output image",),
)  # fmt: skip
