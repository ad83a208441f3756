"""`pf config`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from promptflow.cli.args import KeyValues
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.cli.overrides import parse_value
from promptflow.workspace import Workspace
from promptflow.workspace.settings import KNOWN, KNOWN_GROUPS, Settings


def set_values(args: Namespace, out: Output) -> None:
    settings = Workspace.open().settings
    if args.path:
        folder = Path(args.path)
        if not folder.is_dir():
            raise UsageError(f"--path {args.path}: there is no such folder")
        settings = Settings(folder)
    for key, text in args.values.items():
        settings.set(key, parse_value(text))
        if key not in KNOWN and not key.startswith(KNOWN_GROUPS):
            out.warn(f"{key} is no setting that promptflow reads; known: {', '.join(KNOWN)}")
    out.note(f"set {', '.join(args.values)} in {settings.file}")


def show(args: Namespace, out: Output) -> None:
    found = Workspace.open().settings.show(origin=args.origin)
    if args.origin:
        out.result([{"key": key, **value} for key, value in found.items()], name="key")
    else:
        out.result(nested(found))


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": 1}}, as pf.yaml has it."""
    result: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return result


def _set_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("values", action=KeyValues, nargs="+", metavar="KEY=VALUE", help="Settings, by dotted key.")
    parser.add_argument("--path", metavar="FOLDER", help="Write the pf.yaml of this folder, for work in it and below.")


def _show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--origin", action="store_true", help="Where each value comes from: a file or a variable.")


SET = Command(
    set_values, "Change settings of the workspace, or of a project with --path.", _set_arguments,
    (
        "pf config set trace.destination=none",
        "pf config set run.output_path='${flow_directory}/.runs' --path my_project",
    ),
)  # fmt: skip
SHOW = Command(
    show, "Show the settings in force: the environment wins over the project's pf.yaml, that over the workspace's.",
    _show_arguments, ("pf config show --origin -o table",), "json",
)  # fmt: skip
