"""`pf flow init`: a new flow from a template, or around a function that exists."""

from __future__ import annotations

import argparse
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

from promptflow.cli import exits
from promptflow.cli.args import KeyValues, add_yes
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.flow_wrap import wrap_function
from promptflow.cli.output import Output
from promptflow.cli.templates import FLOWS, fill
from promptflow.cli.write_files import write_files

_CONNECTION = "open_ai_connection"
_MODEL = "gpt-4o-mini"
_NAME = re.compile(r"^[\w.-]+$")


def init(args: Namespace, out: Output) -> int:
    folder = Path(args.flow)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder")
    if args.entry or args.prompt_template or args.function:
        files = _wrapped(folder, args)
    else:
        for flag in ("connection", "deployment"):
            if not _NAME.match(getattr(args, flag)):
                raise UsageError(f"--{flag} {getattr(args, flag)!r} is no name")
        files = fill(FLOWS[args.type], connection=args.connection, model=args.deployment)
    taken = [name for name in files if (folder / name).exists()]
    if taken and not out.confirm(f"{folder} holds {', '.join(taken)}. Overwrite?", args.yes):
        out.note("nothing written")
        return exits.ERROR
    write_files(folder, files, out)
    out.text(str(folder.resolve()))
    how = "--interactive" if args.type == "chat" else f"--inputs {folder / 'data.jsonl'}"
    out.hint(f"pf flow test --flow {folder} {'' if args.entry else how}".rstrip())
    return exits.OK


def _wrapped(folder: Path, args: Namespace) -> dict[str, str]:
    if not (args.entry and args.function):
        raise UsageError("--entry FILE and --function NAME go together", hint="--entry intent.py --function classify")
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", hint="--flow names the folder in which --entry lies")
    return wrap_function(folder, args.entry, args.function, args.prompt_template or {})


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--flow", required=True, metavar="FOLDER", help="The folder to make the flow in.")
    parser.add_argument("--type", choices=tuple(FLOWS), default="standard", help="What kind of flow (standard).")
    parser.add_argument("--entry", metavar="FILE", help="A Python file in the folder that holds your function.")
    parser.add_argument("--function", metavar="NAME", help="The function in that file.")
    parser.add_argument(
        "--prompt-template", action=KeyValues, nargs="+", metavar="PARAMETER=FILE",
        help="Templates in the folder whose rendered text goes to a parameter of the function.",
    )  # fmt: skip
    add_yes(parser)
    parser.add_argument("--connection", default=_CONNECTION, help=argparse.SUPPRESS)
    parser.add_argument("--deployment", default=_MODEL, help=argparse.SUPPRESS)


INIT = Command(
    init, "Make a new flow folder from a template, or a flow around a function of yours.", _arguments,
    (
        "pf flow init --flow my_flow",
        "pf flow init --flow my_chat --type chat",
        "pf flow init --flow . --entry intent.py --function classify --prompt-template prompt=intent.jinja2",
    ),
)  # fmt: skip
