"""`pf tool`."""

from __future__ import annotations

import importlib
import inspect
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from promptflow.cli import exits
from promptflow.cli.args import KeyValues
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.cli.overrides import parse_value
from promptflow.cli.templates import TOOL, TOOL_PACKAGE, fill
from promptflow.cli.write_files import write_files
from promptflow.client.client import PFClient
from promptflow.exceptions import PromptflowException, UserErrorException
from promptflow.tooling.decorator import ToolProvider, is_tool
from promptflow.tooling.meta import describe_tool
from promptflow.tooling.script import find_tool, load_script
from promptflow.workspace.yamlfile import dump_yaml

_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def init(args: Namespace, out: Output) -> None:
    for flag in ("package", "tool"):
        value = getattr(args, flag)
        if value and not _IDENTIFIER.match(value):
            raise UsageError(f"--{flag} {value!r} is no Python name", hint="letters, digits and _ only")
    extra = {key: parse_value(value) for key, value in (args.extra_info or {}).items()}
    if extra and not args.package:
        raise UsageError("--set describes a tool of a package", hint="add --package NAME")
    folder = Path(args.package or ".")
    if args.package:
        lines = "".join(f"  {line}\n" for line in dump_yaml(extra).splitlines()) if extra else ""
        files = fill(TOOL_PACKAGE, package=args.package, name=args.tool, extra=lines)
    else:
        files = fill(TOOL, name=args.tool)
    taken = [str(folder / name) for name in files if (folder / name).exists()]
    if taken:
        raise UserErrorException(f"{taken[0]} exists", hint="choose another name, or move it away")
    write_files(folder, files, out)
    out.text(str((folder if args.package else folder / f"{args.tool}.py").resolve()))
    if args.package:
        out.hint(f"pip install -e {folder}, then: pf tool list")


def list_tools(args: Namespace, out: Output) -> None:
    found = PFClient().tools.list(args.flow)
    if out.format in ("json", "yaml"):
        out.result(found)
        return
    rows = [
        {"id": tool_id, "where": where, "type": meta.get("type"), "name": meta.get("name")}
        for where, tools in found.items()
        for tool_id, meta in tools.items()
    ]
    out.result(rows, name="id")


def validate(args: Namespace, out: Output) -> int:
    with out.stdout_kept():
        problems = check_source(args.source)
    out.result([{"tool": tool, "problem": problem} for tool, problem in problems.items()], name="tool")
    out.note(f"{len(problems)} problems" if problems else "no problems", "red" if problems else "green")
    return exits.ERROR if problems else exits.OK


def check_source(source: str) -> dict[str, str]:
    """Problems by tool: of the tools of a Python file, of one function, of a module or of a package."""
    path = Path(source)
    if path.suffix == ".py" or path.is_file():
        if not path.is_file():
            raise UserErrorException(f"there is no file {source}")
        try:
            function, _ = find_tool(load_script(path), path)
        except PromptflowException as error:
            return {source: error.message}
        return _check(source, function)
    tools = _tools_of(source)
    if not tools:
        raise UserErrorException(f"{source} holds no tools", hint="@tool marks a function as a tool")
    problems: dict[str, str] = {}
    for name, function in tools.items():
        problems.update(_check(name, function))
    return {**problems, **PFClient().tools.validate(source)}


def _tools_of(source: str) -> dict[str, Any]:
    """Tools by name in `package`, `package.module` or `package.module.function`."""
    head, _, tail = source.rpartition(".")
    try:
        module: Any = importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name != source or not head:
            raise UserErrorException(
                f"no module is called {source}", hint="pip install it, or give a .py file"
            ) from error
        found = getattr(importlib.import_module(head), tail, None)
        return {source: found} if found is not None and is_tool(found) else {}
    names = {f"{source}.{name}": value for name, value in vars(module).items()}
    tools = {name: value for name, value in names.items() if is_tool(value)}
    for name, value in names.items():
        if inspect.isclass(value) and issubclass(value, ToolProvider) and value is not ToolProvider:
            tools.update({f"{name}.{k}": v for k, v in vars(value).items() if is_tool(v)})
    return tools


def _check(name: str, function: Any) -> dict[str, str]:
    try:
        describe_tool(function)
    except PromptflowException as error:
        return {name: error.message}
    return {}


def _init_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--tool", required=True, metavar="NAME", help="Name of the tool.")
    parser.add_argument("--package", metavar="NAME", help="Make a package of tools, with this name.")
    parser.add_argument(
        "--set", dest="extra_info", action=KeyValues, nargs="+", metavar="KEY=VALUE",
        help="What else its description says: category=..., icon=..., tags={...}",
    )  # fmt: skip


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--flow", metavar="FOLDER", help="The tools in the files of this flow as well.")


def _validate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="A Python file, a module, a function in one, or a package.")


INIT = Command(
    init, "Make a tool file here, or with --package a package of tools that pip can install.", _init_arguments,
    ("pf tool init --tool shout", "pf tool init --package my_tools --tool shout --set category=text"),
)  # fmt: skip
LIST = Command(
    list_tools, "List the package tools of this environment, and those in the files of a flow.", _list_arguments,
    ("pf tool list -o table", "pf tool list --flow my_flow"), "json",
)  # fmt: skip
VALIDATE = Command(
    validate, "Check tools: that they can be loaded and described.", _validate_arguments,
    ("pf tool validate --source my_flow/shout.py", "pf tool validate --source my_tools"), "table",
)  # fmt: skip
