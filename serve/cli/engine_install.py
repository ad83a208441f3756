"""`pf engine install`: an engine into a Python environment of its own."""

from __future__ import annotations

import importlib.metadata
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptflow.cli import style
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.sizes import size_text
from serve.cli.engine import described, users
from serve.installs import Install, Installs, Recipe, cpu_recipe, cuda_of_driver, gpu_recipe, install
from serve.installs.build import Say, adopt

ENGINES = ("vllm",)
PLAIN_SECONDS = 10.0  # between two lines where there is no terminal


def run(args: Namespace, out: Output) -> None:
    workspace = Workspace.open()
    workspace.require_writable()
    installs = Installs.of(workspace)
    with _shown(out) as say:
        if args.environment is not None:
            made = adopt(installs, args.environment, say)
        else:
            made = _install(installs, workspace, args, out, say)
    out.result(described(made, users(workspace)))
    out.hint("pf model serve MODEL --engine vllm")


def _install(installs: Installs, workspace: Workspace, args: Namespace, out: Output, say: Say) -> Install:
    device = "cpu" if args.cpu else "gpu"
    there = [one for one in installs.list(args.engine) if one.device == device]
    if there and not args.upgrade and args.version in ("", there[0].version):
        say(f"{there[0].name} is installed")
        return there[0]
    recipe = _recipe(args)
    if recipe.note:
        out.warn(recipe.note)
    say(f"{recipe.engine} {recipe.version} for {'processors' if args.cpu else 'GPUs'}, up to {size_text(recipe.space)}")
    made = install(installs, recipe, say)
    if args.upgrade:
        _remove_older(installs, there, made, workspace, say)
    return made


def _recipe(args: Namespace) -> Recipe:
    python = sys.version_info[:2]
    if args.cpu:
        return cpu_recipe(python, args.version)
    return gpu_recipe(cuda_of_driver(), python, _torch(), args.version)


def _torch() -> str:
    """The torch beside us: where it runs on the GPU, the same one will."""
    try:
        found = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
    return "" if found.endswith("+cpu") else found


def _remove_older(installs: Installs, older: list[Install], made: Install, workspace: Workspace, say: Say) -> None:
    used = users(workspace)
    for one in older:
        if one.name == made.name:
            continue
        if one.name in used:
            say(f"{one.name} stays: {', '.join(used[one.name])} runs on it")
            continue
        try:
            with installs.locked(one.name):
                installs.remove(one.name)
            say(f"removed {one.name}")
        except UserErrorException as error:
            say(f"{one.name} stays: {error}")


@contextmanager
def _shown(out: Output) -> Iterator[Say]:
    """What is being done: on a terminal in one line that is written over, else a line now and then."""
    if out.no_progress or out.format == "quiet":
        yield lambda text: None
        return
    live = style.is_terminal(out.stderr)
    last = [0.0]

    def say(text: str) -> None:
        fetching = text.startswith("fetching ")
        if live:
            print(f"\r\x1b[K{text[:100]}", end="" if fetching else "\n", file=out.stderr, flush=True)
        elif not fetching or time.monotonic() - last[0] > PLAIN_SECONDS:
            last[0] = time.monotonic()
            out.note(text)

    try:
        yield say
    finally:
        if live:
            print("\r\x1b[K", end="", file=out.stderr, flush=True)


def _python(text: str) -> Path:
    """The interpreter of an environment that is named by its folder, or by the interpreter itself."""
    path = Path(text).expanduser()
    path = path / "bin" / "python" if path.is_dir() else path
    if not path.is_file():
        raise ValidationException(
            f"There is no Python at {path}.", hint="--environment FOLDER, as python -m venv made it"
        )
    return path


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("engine", choices=ENGINES, help="The engine.")
    parser.add_argument(
        "--version", default="", metavar="V", help="This release (the one that goes with the driver, torch and Python)."
    )
    parser.add_argument("--cpu", action="store_true", help="The build for processors: to try things, it is slow.")
    parser.add_argument("--upgrade", action="store_true", help="Install the release that is right now; the older goes.")
    parser.add_argument(
        "--environment",
        type=_python,
        metavar="FOLDER",
        help="Use the vLLM of this virtual environment; install nothing.",
    )


INSTALL = Command(
    run,
    "Install an engine into a Python environment of its own, in the workspace folder. pip is used as it is configured: "
    "PIP_INDEX_URL and PIP_FIND_LINKS name other places to get packages from.",
    _arguments,
    ("pf engine install vllm", "pf engine install vllm --cpu", "pf engine install vllm --environment /opt/vllm"),
    "json",
)
