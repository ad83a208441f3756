"""`pf server`, and `pf service` as it was called before: the workspace's server, as a process of its own."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import sys
import time
import urllib.request
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any
from urllib.error import URLError

from promptflow.cli import exits
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException, WorkspaceError
from promptflow.workspace import Workspace, pids
from promptflow.workspace.http_server import listen
from promptflow.workspace.optional import need
from serve.supervisor.beacon import Beacon, find, last_port, left

NAME = "server"
HOST = "127.0.0.1"
DEFAULT_PORT = 23333
START_SECONDS = 30.0
GRPC_SECONDS = 1.0  # that a killed process's last thread may keep its port
MIB = 2**20


def start(args: Namespace, out: Output) -> int:
    workspace = Workspace.open()
    workspace.require_writable()
    if args.force:
        stop_server(workspace)
    running = _answering_one(workspace)
    if running is not None and args.port not in (None, 0, running.port):
        raise UserErrorException(
            f"The server of this workspace runs on port {running.port}.", hint="pf server start --force moves it"
        )
    elif running is not None and args.grpc_port is not None and not _answers_grpc(running, args.grpc_port):
        so_far = f"with gRPC at port {running.grpc}" if running.grpc else "without gRPC"
        raise UserErrorException(
            f"The server of this workspace runs {so_far}.", hint="pf server start --force starts it anew"
        )
    elif running is not None:
        out.result(describe(running, workspace))
        return exits.OK
    if args.foreground or args.debug:
        return _in_foreground(workspace, args, out)
    beacon = start_server(workspace, args.host, args.port, args.max_body, args.grpc_port)
    out.result(describe(beacon, workspace))
    out.hint("pf endpoint create -f endpoint.yml")
    return exits.OK


def stop(args: Namespace, out: Output) -> int:
    running = stop_server(Workspace.open())
    out.note(f"stopped the server (pid {running.pid})" if running else "the server is not running")
    return exits.OK


def status(args: Namespace, out: Output) -> int:
    workspace = Workspace.open()
    running = find(workspace.home)
    out.result(describe(running, workspace))
    return exits.OK if running is not None else exits.ERROR


def ensure_server(workspace: Workspace, out: Output) -> Beacon:
    """The running server; where there is none, it is started in the background, and said so."""
    running = _answering_one(workspace)
    if running is not None:
        return running
    try:
        running = start_server(workspace, grpc_port=_grpc_of_killed(workspace.home))
    except WorkspaceError:
        # There is its process already. Either another command has just started it, or it is about to end.
        with contextlib.suppress(UserErrorException):
            return _answering(workspace)
        running = start_server(workspace)
    out.note(f"started the server of this workspace at {running.url} (pf server stop ends it)")
    return running


def _grpc_of_killed(home: Path) -> int | None:
    """Where a server that was killed answered by gRPC, for its clients will come back there; None if it did not, or if
    the port is taken."""
    killed = left(home)
    deadline = time.monotonic() + GRPC_SECONDS
    while killed is not None and killed.grpc and time.monotonic() < deadline:
        with contextlib.suppress(UserErrorException):
            listen(HOST, killed.grpc).close()
            return killed.grpc
        time.sleep(0.05)
    return None


def _answering_one(workspace: Workspace) -> Beacon | None:
    """The server that runs, or None; one that is just ending is waited for, and is none."""
    deadline = time.monotonic() + START_SECONDS
    while (running := find(workspace.home)) is not None and not answers(running):
        if time.monotonic() > deadline:
            raise UserErrorException(
                f"The server of this workspace (pid {running.pid}) runs, but does not answer at {running.url}.",
                hint="pf server start --force starts it anew",
            )
        time.sleep(0.05)
    return running


def start_server(
    workspace: Workspace,
    host: str = HOST,
    port: int | None = None,
    max_body: int | None = None,
    grpc_port: int | None = None,
) -> Beacon:
    """Start it in the background, and wait until it answers. Without a ``port`` it takes that of the last time, the
    usual one, or the next that is free: by itself, for another workspace's server may start at the same moment."""
    if grpc_port is not None:
        need("grpc", extra="grpc")
    argv = [sys.executable, "-P", "-m", "promptflow", "server", "start", "--foreground", "--host", host]
    for flag, wanted in (("--port", port), ("--grpc-port", grpc_port)):
        listen(host, wanted or 0).close()  # says now, and here, what would be wrong with it
        argv += [flag, str(wanted)] if wanted is not None else []
    argv += ["--max-body", str(max_body)] if max_body is not None else []
    workspace.processes.start(NAME, argv, env={"PF_HOME_DIRECTORY": str(workspace.home)}, cwd=workspace.home)
    return _answering(workspace)


def _answering(workspace: Workspace) -> Beacon:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        process = workspace.processes.get(NAME)
        if process is None or not process.is_running:
            break
        beacon = find(workspace.home)
        if beacon is not None and answers(beacon):
            return beacon
        time.sleep(0.05)
    raise UserErrorException("The server did not start.", hint=workspace.processes.tail(NAME, 3))


def stop_server(workspace: Workspace) -> Beacon | None:
    """Stop it, however it was started; what it was, or None."""
    running = find(workspace.home)
    if running is None:
        return None
    process = workspace.processes.get(NAME)
    if process is not None and process.is_running and process.pid == running.pid:
        workspace.processes.stop(NAME, grace=20.0)
    else:
        _end(running)
    return running


def answers(beacon: Beacon) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{beacon.url}/health", timeout=2) as answer:
            return bool(json.load(answer).get("status") == "Healthy")
    except (URLError, OSError, ValueError):
        return False


def describe(beacon: Beacon | None, workspace: Workspace) -> dict[str, Any]:
    if beacon is None:
        return {"status": "not running"}
    return {
        "status": "running",
        "url": beacon.url,
        **({"grpc": beacon.grpc_address} if beacon.grpc else {}),
        "endpoints": f"{beacon.url}/endpoints",
        "api": f"{beacon.url}/api/v1",
        "traces": f"{beacon.url}/v1/traces",
        "pid": beacon.pid,
        "log": str(workspace.processes.log_path(NAME)),
    }


def _in_foreground(workspace: Workspace, args: Namespace, out: Output) -> int:
    from serve.app import serve  # brings uvicorn and the database, which the other verbs have no need of

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    listener = _listen_anywhere(args.host, workspace.home) if args.port is None else listen(args.host, args.port)
    max_body = {} if args.max_body is None else {"max_body": args.max_body}
    serve(workspace, listener, grpc_port=args.grpc_port, ready=lambda url: out.note(f"{url}, until Ctrl-C"), **max_body)
    return exits.OK


def _answers_grpc(running: Beacon, port: int) -> bool:
    return bool(running.grpc) and port in (0, running.grpc)


def _listen_anywhere(host: str, home: Path) -> socket.socket:
    """At the port of the last time, so that addresses stay; else the usual one, or the next that is free."""
    usual = range(DEFAULT_PORT, DEFAULT_PORT + 1000)
    for port in itertools.chain([last_port(home) or DEFAULT_PORT], usual):
        with contextlib.suppress(UserErrorException):
            return listen(host, port)
    raise UserErrorException(f"No port of {host} from {DEFAULT_PORT} on is free.")


def _end(running: Beacon) -> None:
    for number, seconds in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not pids.is_running(running.pid, running.identity):
                return
            time.sleep(0.05)


def _size(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _start_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--host", default=HOST, help=f"Address to listen on ({HOST}: this machine only).")
    parser.add_argument(
        "-p", "--port", type=int, help=f"Port (the last one, {DEFAULT_PORT}, or the next that is free); 0: a free one."
    )
    parser.add_argument(
        "--grpc-port", type=int, metavar="PORT", help="Answer the Open Inference Protocol's gRPC, too; 0: a free port."
    )
    parser.add_argument("--foreground", action="store_true", help="Stay in the foreground, until Ctrl-C.")
    parser.add_argument("--force", action="store_true", help="Stop the one that runs, and start it anew.")
    parser.add_argument("--max-body", type=_size, metavar="BYTES", help="Size of a request's body at most (64 MiB).")


START = Command(
    start,
    "Start the server of this workspace: its endpoints, their REST API, and the collector of traces. It runs in the "
    "background; with --foreground or --debug, here.",
    _start_arguments,
    ("pf server start", "pf server start --host 0.0.0.0 --port 8080", "pf server start --foreground"),
    "table",
)
STOP = Command(stop, "Stop the server. Requests in the works are answered first; instances end with it.")
STATUS = Command(status, "Say whether the server runs, and where. Exit code 1 when it does not.", None, (), "table")
