"""`pf service`: the local collector of traces, as a process of the workspace."""

from __future__ import annotations

import json
import socket
import sys
import time
import urllib.request
from argparse import ArgumentParser, Namespace
from typing import Any
from urllib.error import URLError

from promptflow.cli import exits
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from promptflow.workspace.processes import Process

NAME = "collector"
HOST = "127.0.0.1"
DEFAULT_PORT = 23333
_START_SECONDS = 30.0
_PROGRAM = (
    "import sys\n"
    "from promptflow.tracing.collector import run_collector\n"
    "from promptflow.workspace import Workspace\n"
    "run_collector(Workspace.open(), port=int(sys.argv[1]))\n"
)


def start(args: Namespace, out: Output) -> int:
    workspace = Workspace.open()
    workspace.require_writable()
    running = workspace.processes.get(NAME)
    if running is not None and running.is_running:
        if not args.force and args.port in (None, running.details.get("port")):
            out.result(describe(running))
            return exits.OK
        if not args.force:
            raise UserErrorException(
                f"the service runs on port {running.details.get('port')}", hint="pf service start --force moves it"
            )
        workspace.processes.stop(NAME)
    port = _port(args.port)
    if args.debug:
        out.note(f"http://{HOST}:{port}, until Ctrl-C")
        return _in_foreground(workspace, port)
    argv = [sys.executable, "-c", _PROGRAM, str(port)]
    workspace.processes.start(NAME, argv, env={"PF_HOME_DIRECTORY": str(workspace.home)}, details={"port": port})
    out.result(describe(_wait_until_up(workspace, port)))
    out.hint(f"send traces to it: OTEL_EXPORTER_OTLP_ENDPOINT=http://{HOST}:{port}")
    return exits.OK


def stop(args: Namespace, out: Output) -> int:
    workspace = Workspace.open()
    running = workspace.processes.get(NAME)
    if running is None or not running.is_running:
        out.note("the service is not running")
        return exits.OK
    workspace.processes.stop(NAME)
    out.note(f"stopped the service (pid {running.pid})")
    return exits.OK


def status(args: Namespace, out: Output) -> int:
    running = Workspace.open().processes.get(NAME)
    out.result(describe(running))
    return exits.OK if running is not None and running.is_running else exits.ERROR


def describe(process: Process | None) -> dict[str, Any]:
    if process is None or not process.is_running:
        return {"status": "not running"}
    port = process.details.get("port")
    return {
        "status": "running",
        "url": f"http://{HOST}:{port}",
        "traces": f"http://{HOST}:{port}/v1/traces",
        "pid": process.pid,
        "started": process.created,
        "log": str(process.log),
    }


def _port(wanted: int | None) -> int:
    """The port that was asked for, else the first free one from the usual one on."""
    if wanted is not None:
        if not _is_free(wanted):
            raise UserErrorException(f"port {wanted} is taken by another program", hint="choose another one")
        return wanted
    return next(port for port in range(DEFAULT_PORT, DEFAULT_PORT + 1000) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _in_foreground(workspace: Workspace, port: int) -> int:
    from promptflow.tracing.collector import run_collector  # brings FastAPI

    run_collector(workspace, host=HOST, port=port)
    return exits.OK


def _wait_until_up(workspace: Workspace, port: int) -> Process:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        process = workspace.processes.get(NAME)
        if process is None or not process.is_running:
            break
        try:
            with opener.open(f"http://{HOST}:{port}/health", timeout=2) as answer:
                if json.load(answer).get("status") == "Healthy":
                    return process
        except (URLError, OSError, ValueError):
            pass
        time.sleep(0.05)
    raise UserErrorException("the service did not start", hint=workspace.processes.tail(NAME, 3))


def _start_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-p", "--port", type=int, help=f"Port to listen on (the first free one from {DEFAULT_PORT} on)."
    )
    parser.add_argument("--force", action="store_true", help="Stop the one that runs, and start it anew.")


START = Command(
    start, "Start the collector of traces on this machine; --debug keeps it in the foreground.", _start_arguments,
    ("pf service start", "pf service start --port 4318"), "table",
)  # fmt: skip
STOP = Command(stop, "Stop the collector.")
STATUS = Command(status, "Say whether the collector runs, and where. Exit code 1 when it does not.", None, (), "table")
