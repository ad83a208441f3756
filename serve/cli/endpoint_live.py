"""What the running server says of deployments, and how to wait for them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any

from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace, pids
from serve.cli.endpoint_client import (
    CRASH_LOOP,
    FAILED,
    NOT_FOUND,
    READY,
    SCALED_TO_ZERO,
    UNAUTHORIZED,
    ServerClient,
    ServerRefusedError,
)
from serve.cli.server import DEFAULT_PORT, HOST
from serve.supervisor.beacon import Beacon, find, last_port

NOT_RUNNING = "NotRunning"
_DONE = (READY, SCALED_TO_ZERO)
_BAD = (FAILED, CRASH_LOOP)
_POLL_SECONDS = 0.1
_TOLD_SECONDS = 10.0


class DeploymentFailedError(UserErrorException):
    """The instances of a deployment do not get ready."""


def tell_server(workspace: Workspace) -> None:
    """Have the running server look at the store at once; it would by itself within a second."""
    beacon = find(workspace.home)
    if beacon is not None:
        with contextlib.suppress(UserErrorException):
            ServerClient(beacon).reload()


def status(beacon: Beacon | None, endpoint: str, deployment: str) -> dict[str, Any]:
    """The ``state`` of a deployment and its instances."""
    if beacon is not None:
        with contextlib.suppress(UserErrorException):
            return ServerClient(beacon).status(endpoint, deployment)
    return {"state": NOT_RUNNING}


def provisioning_state(state: str) -> str:
    """The word of the cloud for it."""
    if state in _BAD:
        return "Failed"
    if state == NOT_RUNNING:
        return "Stopped"
    return "Succeeded" if state in _DONE else "Updating"


def wait_until_ready(
    beacon: Beacon, endpoint: str, deployments: Iterable[str], timeout: float, out: Output, revision: int = 0
) -> None:
    """Until all of them take requests. DeploymentFailedError with the end of the log as soon as one fails."""
    deadline = time.monotonic() + timeout
    for name in deployments:
        _wait(ServerClient(beacon), endpoint, name, deadline, out, revision)


def base_url(workspace: Workspace) -> str:
    """Where the server is, or would be."""
    beacon = find(workspace.home)
    return beacon.url if beacon is not None else f"http://{HOST}:{last_port(workspace.home) or DEFAULT_PORT}"


def _wait(client: ServerClient, endpoint: str, name: str, deadline: float, out: Output, revision: int) -> None:
    what, told = f"{endpoint}/{name}", time.monotonic() + _TOLD_SECONDS
    while True:
        found, trouble = _look(client, endpoint, name, revision)
        if found is not None and found["state"] in _DONE:
            return
        if found is not None and found["state"] in _BAD:
            log = "\n".join(found["log"])
            raise DeploymentFailedError(
                f"The deployment {what} failed. {found['message']}\n{log}".strip(), hint=_logs(endpoint, name)
            )
        now = time.monotonic()
        if now > deadline:
            raise DeploymentFailedError(
                f"The deployment {what} is not ready yet{trouble and f': {trouble}'}.", hint=_logs(endpoint, name)
            )
        if now > told:
            told = now + _TOLD_SECONDS
            ready = f"{found['instances_ready']} of {found['instances_wanted']} ready" if found is not None else trouble
            out.note(f"waiting for {what}: {ready}", "dim")
        time.sleep(_POLL_SECONDS)


def _look(client: ServerClient, endpoint: str, name: str, revision: int) -> tuple[dict[str, Any] | None, str]:
    """How the deployment is, or None and the reason why that is not known now; an error where it never will be."""
    try:
        found = client.status(endpoint, name)
        if found["revision"] >= revision:
            return found, ""
    except ServerRefusedError as error:
        if error.code == UNAUTHORIZED:
            raise DeploymentFailedError(
                f"What answers at {client.beacon.url} is not the server of this workspace.",
                hint="pf server start --force starts it anew",
            ) from error
        if error.code == NOT_FOUND:
            raise DeploymentFailedError(
                f"The server at {client.beacon.url} finds no deployment {endpoint}/{name}: it was deleted meanwhile, "
                "or the server was started with another PF_DATABASE_URL.",
                hint="pf server start --force starts it with the one of now",
            ) from error
    except UserErrorException as error:
        return None, _silent(client.beacon, error)
    return None, _put_in_force(client)


def _put_in_force(client: ServerClient) -> str:
    """Have the server look at the store again, which it did not do in time; what keeps it from that."""
    try:
        client.reload()
    except UserErrorException as error:
        return error.message.rstrip(".")
    return "the server has only just heard of it"


def _silent(beacon: Beacon, error: UserErrorException) -> str:
    if not pids.is_running(beacon.pid, beacon.identity):
        raise DeploymentFailedError(
            f"The server at {beacon.url} (pid {beacon.pid}) has ended.", hint="pf server start starts it again"
        ) from error
    return error.message.rstrip(".")


def _logs(endpoint: str, name: str) -> str:
    return f"pf deployment get-logs -n {name} -e {endpoint}"
