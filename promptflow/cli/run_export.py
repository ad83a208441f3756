"""`pf run export`: the rows of a run as a file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from promptflow.batch.export import FORMATS, format_of, print_rows
from promptflow.cli import exits
from promptflow.cli.args import add_yes
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.names import find_run
from promptflow.cli.output import Output
from promptflow.client.client import PFClient
from promptflow.workspace import urls


def export(args: Namespace, out: Output) -> int:
    client = PFClient()
    run = find_run(client, args.run_name)
    if args.output is None:
        if args.format == "parquet":
            raise UsageError("parquet is no text to print", hint=f"add --output {run.name}.parquet")
        print_rows(run.folder, args.format or "jsonl", out.stdout)
        return exits.OK
    format = format_of(args.output, args.format)
    there = urls.exists(args.output) if urls.is_url(args.output) else Path(urls.absolute(args.output)).exists()
    if there and not out.confirm(f"Write over {urls.shown(args.output)}?", args.yes):
        out.note("not exported")
        return exits.ERROR
    rows = client.runs.export(run, args.output, format)
    out.note(f"{rows} rows of run {run.name} are in {urls.shown(args.output)}")
    return exits.OK


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="NAME", help="The run; a unique prefix or @latest will do.")
    parser.add_argument("--format", choices=FORMATS, help="What to write (what the file's name says, else jsonl).")
    parser.add_argument(
        "--output", metavar="FILE", help="A path or url; .gz compresses csv and jsonl. Without it, rows are printed."
    )
    add_yes(parser)


EXPORT = Command(
    export, "Write the inputs and outputs of a run, a line per row, as csv, jsonl or parquet.", _arguments,
    ("pf run export @latest --output rows.parquet", "pf run export my_run --format csv > rows.csv"),
)  # fmt: skip
