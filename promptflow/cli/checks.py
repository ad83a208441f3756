"""The checks of `pf doctor`. Each looks, changes nothing, and gives one or more `Check`s."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import promptflow
from promptflow._version import __version__
from promptflow.cli.overwritten import overwriting, told
from promptflow.exceptions import PromptflowException
from promptflow.workspace import Workspace
from promptflow.workspace.dberrors import mask_password
from promptflow.workspace.home import DATABASE_VARIABLE
from promptflow.workspace.secrets import KEY_VARIABLE

_OLDEST_PYTHON = (3, 11)
# extra -> (a module of it, what it is for)
_EXTRAS = {
    "cpu": ("onnxruntime", "the embedded model"),
    "pandas": ("pandas", "get_details as a DataFrame"),
    "parquet": ("pyarrow", "data in parquet files"),
    "postgres": ("psycopg", "a workspace in PostgreSQL"),
    "langchain": ("langchain_core", "LangChain runnables as flows"),
    "openai": ("openai", "code that uses the openai package"),
    "otel": ("opentelemetry.sdk", "OpenTelemetry in and out"),
    "tiktoken": ("tiktoken", "counting tokens before a call"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """``state``: ok, note (nothing is wrong), warning, or error (must be mended; ``fix`` says how)."""

    name: str
    state: str
    message: str
    fix: str = ""


def all_checks() -> list[Check]:
    workspace = Workspace.open()
    checks: list[Callable[[Workspace], Iterator[Check]]] = [
        python,
        packages,
        extras,
        folder,
        settings,
        key,
        database,
        processes,
        environment,
        predecessor,
    ]
    return [found for check in checks for found in _guarded(check, workspace)]


def _guarded(check: Callable[[Workspace], Iterator[Check]], workspace: Workspace) -> Iterator[Check]:
    """A check that breaks is a finding, not the end of the others."""
    try:
        yield from check(workspace)
    except PromptflowException as error:
        yield Check(check.__name__, "error", error.message, error.hint)
    except OSError as error:
        yield Check(check.__name__, "error", str(error), "")


def python(workspace: Workspace) -> Iterator[Check]:
    text = f"Python {platform.python_version()}, promptflow {__version__} in {Path(promptflow.__file__ or '').parent}"
    if sys.version_info[:2] < _OLDEST_PYTHON:
        yield Check("python", "error", text, f"promptflow needs Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer")
    else:
        yield Check("python", "ok", text)


def packages(workspace: Workspace) -> Iterator[Check]:
    """Packages of Microsoft that write over our files, and a promptflow that is not ours."""
    present = overwriting()
    if present:
        yield Check("packages", "error", *told(present))
    installed = _version("promptflow")
    if installed and installed.partition(".")[0] in ("0", "1"):
        message = f"promptflow {installed}, from Microsoft, is installed in the same environment"
        yield Check("packages", "error", message, "pip install --force-reinstall 'promptflow>=2'")
    elif not present:
        tools = _version("promptflow-tools")
        yield Check(
            "packages", "ok", f"no other promptflow is here{f'; promptflow-tools {tools} is fine' if tools else ''}"
        )


def extras(workspace: Workspace) -> Iterator[Check]:
    missing = [name for name, (module, _) in _EXTRAS.items() if not _has(module)]
    present = [name for name in _EXTRAS if name not in missing]
    yield Check("extras", "ok", f"installed: {', '.join(present) or 'none'}")
    for name in missing:
        module, purpose = _EXTRAS[name]
        needed = name == "postgres" and os.environ.get(DATABASE_VARIABLE, "").startswith("postgres")
        yield Check(
            "extras", "error" if needed else "note", f"{name} ({purpose}) is not installed",
            f"pip install 'promptflow[{name}]'",
        )  # fmt: skip


def folder(workspace: Workspace) -> Iterator[Check]:
    home = workspace.home
    if not home.exists():
        parent = next(p for p in home.parents if p.exists())
        if os.access(parent, os.W_OK):
            yield Check("folder", "ok", f"{home} (not there yet; the first run makes it)")
        else:
            yield Check("folder", "error", f"{home} cannot be made: {parent} is read-only", "set PF_HOME_DIRECTORY")
        return
    if not os.access(home, os.R_OK | os.X_OK):
        yield Check("folder", "error", f"{home} cannot be read", f"chmod u+rwx {home}, or set PF_HOME_DIRECTORY")
        return
    workspace.require_writable()
    free = os.statvfs(home)
    megabytes = free.f_bavail * free.f_frsize // 2**20
    if megabytes < 100:
        yield Check(
            "folder", "warning", f"{home}: only {megabytes} MB are free", "make room, or move PF_HOME_DIRECTORY"
        )
    else:
        yield Check("folder", "ok", f"{home}, writable")


def settings(workspace: Workspace) -> Iterator[Check]:
    found = workspace.settings.show()
    yield Check("settings", "ok", f"{len(found)} set: `pf config show --origin` shows them")
    provider = str(found.get("connection.provider") or "local")
    if provider.startswith("azureml"):
        message = "connection.provider names an Azure ML workspace, whose connections are not read"
        yield Check("settings", "warning", message, "pf config set connection.provider=local")


def key(workspace: Workspace) -> Iterator[Check]:
    file = workspace.paths.key
    given = bool(os.environ.get(KEY_VARIABLE, "").strip())
    if not given and not file.exists():
        yield Check("key", "ok", "no secrets yet; the first one makes a key file")
        return
    workspace.secrets.decrypt(workspace.secrets.encrypt("probe"))
    if given:
        yield Check("key", "ok", f"from {KEY_VARIABLE}")
    elif file.stat().st_mode & 0o077:
        yield Check("key", "error", f"{file} can be read by other users", f"chmod 600 {file}")
    else:
        yield Check("key", "ok", f"{file}, readable by you alone")


def database(workspace: Workspace) -> Iterator[Check]:
    url = os.environ.get(DATABASE_VARIABLE, "").strip()
    if not url and not workspace.paths.database.exists():
        yield Check("database", "ok", "not there yet; the first run makes it")
        return
    with workspace.db.read() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM runs").scalar()
    yield Check("database", "ok", mask_password(url) if url else str(workspace.paths.database))
    yield from _secrets_readable(workspace)


def _secrets_readable(workspace: Workspace) -> Iterator[Check]:
    """Connections whose secrets another key wrote."""
    for row in workspace.store.list("connections"):
        for value in row["config"]["secrets"].values():
            try:
                workspace.secrets.decrypt(value)
            except PromptflowException as error:
                message = f"connection {row['name']}: {error.message}"
                yield Check("secrets", "error", message, error.hint)
                break


def processes(workspace: Workspace) -> Iterator[Check]:
    found = workspace.processes.list() if workspace.paths.processes.is_dir() else []
    running = [process for process in found if process.is_running]
    failed = [process for process in found if process.status == "exited" and process.exit_code not in (0, None)]
    names = ", ".join(f"{process.name} (pid {process.pid})" for process in running)
    yield Check("processes", "ok", f"running: {names or 'none'}")
    for process in failed:
        message = f"{process.name} ended with exit code {process.exit_code}"
        yield Check("processes", "warning", message, f"look at {process.log}")
    for process in running:
        if not Path(process.argv[0]).exists():
            message = f"{process.name} (pid {process.pid}) runs in an environment that is gone: {process.argv[0]}"
            yield Check("processes", "warning", message, f"kill {process.pid}")


def environment(workspace: Workspace) -> Iterator[Check]:
    """Variables that change how everything behaves, and files that they name."""
    compat = os.environ.get("PF_COMPAT")
    if compat:
        yield Check("environment", "note", f"PF_COMPAT={compat}: exit codes are those of promptflow {compat}")
    file = os.environ.get("PROMPTFLOW_CONNECTIONS", "")
    if file and not Path(file).is_file():
        message = f"PROMPTFLOW_CONNECTIONS names {file}, which does not exist"
        yield Check("environment", "error", message, "unset it, or mend the path")


def predecessor(workspace: Workspace) -> Iterator[Check]:
    """Connections of promptflow 1.x: their secrets lie in a keyring, so they are made again rather than read."""
    file = workspace.home / "pf.sqlite"
    if not file.is_file():
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            names = [name for (name,) in connection.execute("SELECT connectionName FROM connection ORDER BY 1")]
    except sqlite3.Error:
        names = []
    known = {row["name"] for row in workspace.store.list("connections", columns=["name"])} if names else set()
    if missing := [name for name in names if name not in known]:
        message = f"promptflow 1.x keeps connections here that are not in this workspace: {', '.join(missing)}"
        yield Check("predecessor", "note", message, "create those you need again: pf connection create -f FILE")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
