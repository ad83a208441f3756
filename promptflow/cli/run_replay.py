"""`pf run replay` and `pf run export-tape`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from promptflow.cli.args import add_set
from promptflow.cli.command import Command
from promptflow.cli.names import find_run
from promptflow.cli.output import Output
from promptflow.cli.overrides import parse_value
from promptflow.cli.progress import progress
from promptflow.cli.run import metadata
from promptflow.cli.run_create import ending_arguments, tell
from promptflow.client.client import PFClient


def replay(args: Namespace, out: Output) -> int:
    client = PFClient()
    old = find_run(client, args.run_name)
    overrides = {path: parse_value(value) for path, value in (args.overrides or {}).items() if path.startswith("nodes")}
    changes = metadata({path: value for path, value in (args.overrides or {}).items() if path not in overrides})
    with progress(out, args.stream) as shown, out.stdout_kept():
        run = client.runs.replay(
            old.name, tape=args.tape, overrides=overrides, new_name=args.new_name, progress=shown, **changes
        )
    return tell(client, run, args, out)


def _replay_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="NAME", help="The recorded run; a unique prefix or @latest will do.")
    parser.add_argument("--tape", metavar="FILE", help="Another tape than the one of the run.")
    parser.add_argument("--new-name", metavar="NAME", help="Name of the new run; made up without it.")
    add_set(parser, "Change inputs of nodes: nodes[NAME].inputs.INPUT=VALUE; display_name=..., tags.KEY=... too.")
    ending_arguments(parser)


def export_tape(args: Namespace, out: Output) -> None:
    client = PFClient()
    count = client.runs.export_tape(find_run(client, args.run_name).name, args.file)
    out.note(f"{count} calls in {args.file}; pf flow test --replay {args.file} runs without the network")


def _export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="NAME", help="The recorded run; a unique prefix or @latest will do.")
    parser.add_argument("file", metavar="FILE", help="Where to write the tape.")


REPLAY = Command(
    replay,
    "Run a recorded run again, its calls answered from the tape and the network blocked. Exit code 5: the flow made a "
    "call that is not on the tape.",
    _replay_arguments,
    ("pf run replay @latest", "pf run replay my_run --set nodes[check].inputs.limit=3"),
    "json",
)  # fmt: skip
EXPORT_TAPE = Command(
    export_tape, "Copy the tape of a recorded run, for tests in other places.", _export_arguments,
    ("pf run export-tape @latest tests/tape.jsonl",),
)  # fmt: skip
