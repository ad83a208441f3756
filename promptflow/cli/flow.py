"""`pf flow save` and `pf flow validate`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from promptflow.cli import exits
from promptflow.cli.command import Command
from promptflow.cli.errors import report_lines
from promptflow.cli.output import Output
from promptflow.client.client import PFClient


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


SAVE = Command(
    save, "Write the flow.flex.yaml of a function or class.", _save_arguments,
    ("pf flow save --entry intent:classify", "pf flow save --entry intent:classify --code src --path my_flow"),
)  # fmt: skip
VALIDATE = Command(
    validate, "Check a flow file, its tools and its connections, and list every error at once.", _validate_arguments,
    ("pf flow validate --source my_flow",), "table",
)  # fmt: skip
