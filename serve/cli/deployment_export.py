"""`pf deployment export`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from promptflow.cli.command import Command
from promptflow.cli.output import Output
from serve.cli.endpoint_arguments import add_deployment, open_store
from serve.placement.export import FORMATS, Order, export
from serve.placement.key import KEY


def run(args: Namespace, out: Output) -> None:
    store = open_store()
    deployment = store.deployment(args.endpoint_name, args.name)
    order = Order(deployment, args.format, args.image, args.model_claim)
    with out.stdout_kept():  # a flow's tools are loaded to find its connections
        exported = export(order, Path(args.output), store.workspace)
    out.text(str(exported.folder))
    for name in exported.left_out:
        out.warn(f"{name} is not part of it: it may hold secrets")
    for line in exported.unlocked:
        out.warn(f"{line} is not installed here: it is in requirements.lock without a version of its own")
    for note in exported.notes:
        out.note(note)
    out.note(f"to be given where it runs: {', '.join(exported.variables)}")
    out.hint(f"{KEY}=... python -m serve.placement {args.output}")


def _arguments(parser: ArgumentParser) -> None:
    add_deployment(parser)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="Where to write.")
    parser.add_argument(
        "--format", choices=FORMATS, default="kubernetes",
        help="A container; the same with manifests for Kubernetes or KServe (kubernetes).",
    )  # fmt: skip
    parser.add_argument("--image", default="", metavar="NAME", help="Where the image will be, for the manifests.")
    parser.add_argument(
        "--model-claim", default="", metavar="NAME",
        help="A PersistentVolumeClaim that has the model: it is mounted, and not copied.",
    )  # fmt: skip


EXPORT = Command(
    run, "Write a folder that runs an instance of a deployment in a container, on Kubernetes, or with Python alone.",
    _arguments,
    (
        "pf deployment export -n blue -e my-endpoint --format kubernetes --output folder --image registry.example/b:1",
        "pf deployment export -n blue -e my-endpoint --format kserve --output folder --model-claim models",
    ),
)  # fmt: skip
