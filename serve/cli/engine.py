"""`pf engine list`, `show`, `logs` and `remove`."""

from __future__ import annotations

import importlib.metadata
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from promptflow.cli import exits
from promptflow.cli.args import add_yes, positive
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from promptflow.workspace.processes import Process
from promptflow.workspace.sizes import size_text
from serve.installs import Install, Installs

# Engines that run in this environment: the package that tells their version, and the extra that brings it.
HERE = {"onnx": ("onnxruntime", "cpu"), "transformers": ("transformers", "local")}
ENGINE = "engine"  # in the details of a process: the name of the install that it runs on
_COLUMNS = ("name", "version", "device", "state", "size", "running", "python")
_PRIORITY = ("name", "version", "state", "device", "size", "running")


def list_engines(args: Namespace, out: Output) -> None:
    workspace = Workspace.open()
    installs, used = Installs.of(workspace), users(workspace)
    rows = [_own(name, package, extra) for name, (package, extra) in HERE.items()]
    rows += [described(install, used) for install in installs.list()]
    rows += [{"name": name, "engine": "vllm", "state": "unfinished"} for name in installs.unfinished()]
    if out.format in ("table", "tsv"):
        flat = ({**row, "running": ", ".join(row.get("running", ()))} for row in rows)
        rows = [{**row, "size": size_text(row["size"]) if row.get("size") else ""} for row in flat]
    out.result(rows, columns=_COLUMNS if out.format in ("table", "tsv") else (), priority=_PRIORITY)
    if not installs.list("vllm"):
        out.hint("pf engine install vllm")


def show(args: Namespace, out: Output) -> None:
    workspace = Workspace.open()
    installs = Installs.of(workspace)
    install = installs.get(args.name)
    log = installs.log(install.name)
    more = {"packages": dict(install.packages), "log": str(log) if log.is_file() else ""}
    out.result(described(install, users(workspace)) | more)


def logs(args: Namespace, out: Output) -> None:
    workspace = Workspace.open()
    known = {process.name: process for process in running(workspace, ended=True)}
    if not args.model:
        out.result([_process(process) for process in known.values()])
        return
    found = [one for one in known.values() if args.model in (one.name, one.details.get("model"))]
    if not found:
        raise UserErrorException(f"No engine of its own runs '{args.model}'.", hint="pf engine logs lists them")
    newest = max(found, key=lambda one: (one.is_running, one.created))
    out.text(workspace.processes.tail(newest.name, args.lines))


def remove(args: Namespace, out: Output) -> int:
    workspace = Workspace.open()
    installs = Installs.of(workspace)
    installs.sweep()  # said again: the one before was cut off
    left = args.name in installs.unfinished()
    name = args.name if left else installs.get(args.name).name
    if busy := users(workspace).get(name):
        raise UserErrorException(f"{name} runs {', '.join(busy)}.", hint="stop what serves it first")
    if not out.confirm(f"Remove {name}?", args.yes):
        out.note("not removed")
        return exits.ERROR
    with installs.locked(name):
        installs.remove(name)
    out.note(f"removed {name}")
    return exits.OK


def described(install: Install, used: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "name": install.name,
        "engine": install.engine,
        "version": install.version,
        "device": install.device,
        "state": "ready",
        "size": install.size,
        "running": list(used.get(install.name, ())),
        "python": str(install.python),
        "python_version": install.python_version,
        "cuda": install.cuda,
        "installed": install.installed,
        "own": install.own,
    }


def running(workspace: Workspace, ended: bool = False) -> list[Process]:
    """The processes of engines that have one of their own; those that ended, too, where they are asked for."""
    every = workspace.processes.list()
    return [process for process in every if ENGINE in process.details and (ended or process.is_running)]


def users(workspace: Workspace) -> dict[str, list[str]]:
    """The models that run on each install now."""
    found: dict[str, list[str]] = defaultdict(list)
    for process in running(workspace):
        found[str(process.details[ENGINE])].append(str(process.details.get("model", process.name)))
    return dict(found)


def _own(name: str, package: str, extra: str) -> dict[str, Any]:
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return {"name": name, "engine": name, "state": f"not installed (pip install 'promptflow[{extra}]')"}
    return {"name": name, "engine": name, "version": version, "state": "ready"}


def _process(process: Process) -> dict[str, Any]:
    return {
        "model": process.details.get("model", ""),
        "status": process.status,
        "engine": process.details.get(ENGINE, ""),
        "pid": process.pid,
        "since": process.created,
        "log": str(process.log),
    }


def _name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="vllm, or the name that `pf engine list` shows.")


def _removed(parser: ArgumentParser) -> None:
    _name(parser)
    add_yes(parser)


def _logged(parser: ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="The model; without one, list what has a log.")
    parser.add_argument("-n", "--lines", type=positive, default=50, metavar="N", help="So many of the last lines (50).")


LIST = Command(list_engines, "List the engines that models can run on here.", None, ("pf engine list",), "table")
SHOW = Command(
    show, "Show an engine that was installed: versions, folder, what it runs.", _name,
    ("pf engine show vllm",), "json",
)  # fmt: skip
LOGS = Command(
    logs, "Print the last lines that the engine of a model wrote. Needs no running engine.", _logged,
    ("pf engine logs", "pf engine logs Qwen/Qwen3-0.6B -n 200"), "table",
)  # fmt: skip
REMOVE = Command(
    remove, "Remove an engine that was installed. Asks on a terminal, needs -y without one.", _removed,
    ("pf engine remove vllm -y",),
)  # fmt: skip
