"""`pf flow`: save and validate, and the two verbs of a later release."""

from __future__ import annotations

import argparse
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from promptflow.cli import exits
from promptflow.cli.args import KeyValues, add_environment_variables, add_init
from promptflow.cli.command import Command
from promptflow.cli.errors import report_lines
from promptflow.cli.output import Output
from promptflow.client.client import PFClient
from promptflow.exceptions import NotSupported


def save(args: Namespace, out: Output) -> None:
    code = args.code or os.curdir
    with out.stdout_kept():
        PFClient().flows.save(entry=args.entry, code=code, path=args.path)
    out.text(str(Path(args.path or code).resolve()))
    out.hint(f"pf flow test --flow {args.path or code}")


def _save_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--entry", required=True, metavar="MODULE:NAME", help="The function or class.")
    parser.add_argument("--code", metavar="FOLDER", help="Where the module lives (this folder).")
    parser.add_argument("--path", metavar="FOLDER", help="A new folder for a copy of the code and the flow file.")


def validate(args: Namespace, out: Output) -> int:
    with out.stdout_kept():
        result = PFClient().flows.validate(args.source)
    rows = [
        {"severity": f.severity, "location": f.location, "message": f.message, "hint": f.hint} for f in result.findings
    ]
    if out.format == "table":
        for row in rows:
            told = report_lines(row["message"], row["location"], row["hint"])
            out.text(told if row["severity"] == "error" else told.replace("error:", "warning:", 1))
        out.note(_verdict(rows))
    else:
        out.result({"result": "Succeeded" if result.passed else "Failed", "findings": rows})
    return exits.OK if result.passed else exits.ERROR


def _verdict(rows: list[dict[str, str]]) -> str:
    errors = sum(row["severity"] == "error" for row in rows)
    warnings = len(rows) - errors
    return f"errors: {errors}, warnings: {warnings}" if rows else "the flow is valid"


def _validate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="A flow folder or file.")


def serve(args: Namespace, out: Output) -> None:
    raise NotSupported(
        "pf flow serve is not part of this release",
        hint="call the flow from your own server: promptflow.client.load_flow",
    )


def build(args: Namespace, out: Output) -> None:
    raise NotSupported("pf flow build is not part of this release", hint="install promptflow in an image of your own")


def _serve_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="A flow folder or file, or a run.")
    parser.add_argument("--port", type=int, default=8080, help="Port to listen on (8080).")
    parser.add_argument("--host", default="localhost", help="Address to listen on (localhost).")
    parser.add_argument("--engine", choices=("flask", "fastapi"), default="flask", help="Kept for old scripts.")
    add_environment_variables(parser)
    parser.add_argument("--skip-open-browser", action="store_true", help="Open no browser.")
    add_init(parser)
    parser.add_argument("--static-folder", help=argparse.SUPPRESS)
    parser.add_argument("--config", action=KeyValues, nargs="+", help=argparse.SUPPRESS)


def _build_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="A flow folder or file, or a run.")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="Where to write.")
    parser.add_argument("-f", "--format", choices=("docker", "executable"), help="What to build.")
    parser.add_argument("-v", "--variant", metavar="${NODE.VARIANT}", help="The variant to build.")
    parser.add_argument("--flow-only", action="store_true", help=argparse.SUPPRESS)


SAVE = Command(
    save, "Write the flow.flex.yaml of a function or class.", _save_arguments,
    ("pf flow save --entry intent:classify", "pf flow save --entry intent:classify --code src --path my_flow"),
)  # fmt: skip
VALIDATE = Command(
    validate, "Check a flow file, its tools and its connections, and list every error at once.", _validate_arguments,
    ("pf flow validate --source my_flow",), "table",
)  # fmt: skip
SERVE = Command(
    serve, "Serve a flow over HTTP. Not part of this release: the arguments are listed to check scripts against.",
    _serve_arguments, ("pf flow serve --source my_flow --port 8080",),
)  # fmt: skip
BUILD = Command(
    build, "Build an image of a flow. Not part of this release: the arguments are listed to check scripts against.",
    _build_arguments, ("pf flow build --source my_flow --output image --format docker",),
)  # fmt: skip
