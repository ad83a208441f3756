"""`pf run resume` and `pf run retry`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from promptflow.cli.command import Command
from promptflow.cli.names import find_run
from promptflow.cli.output import Output
from promptflow.cli.progress import progress
from promptflow.cli.run_create import ending_arguments, tell
from promptflow.client.client import PFClient


def resume(args: Namespace, out: Output) -> int:
    client = PFClient()
    run = find_run(client, args.run_name)
    with progress(out, args.stream) as shown, out.stdout_kept():
        run = client.runs.resume(run.name, accept_changes=args.accept_changes, progress=shown)
    return tell(client, run, args, out)


def retry(args: Namespace, out: Output) -> int:
    client = PFClient()
    run = find_run(client, args.run_name)
    with progress(out, args.stream) as shown, out.stdout_kept():
        run = client.runs.retry(run.name, accept_changes=args.accept_changes, progress=shown)
    return tell(client, run, args, out)


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="NAME", help="The run; a unique prefix or @latest will do.")
    parser.add_argument(
        "--accept-changes",
        action="store_true",
        help="Go on although the flow or the data changed since; rows that have ended stay as they are.",
    )
    ending_arguments(parser)


RESUME = Command(
    resume,
    "Go on with a run that was interrupted or failed. Rows that have ended stand; failed ones too, see `pf run retry`.",
    _arguments,
    ("pf run resume @latest",),
    "json",
)
RETRY = Command(
    retry,
    "Run the failed rows of a run again, in the same run. Rows that never ran are run too.",
    _arguments,
    ("pf run retry @latest",),
    "json",
)
