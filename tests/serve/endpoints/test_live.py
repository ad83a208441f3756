"""Who waits for a deployment is told what is wrong with the server, where it never comes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace, pids
from serve.cli.endpoint_client import ServerClient
from serve.cli.endpoint_live import DeploymentFailedError, wait_until_ready
from serve.cli.server import start_server, stop_server
from serve.endpoints.records import Deployment, Endpoint
from serve.endpoints.spec import Spec
from serve.endpoints.store import EndpointStore
from serve.supervisor.beacon import Beacon
from tests.serve.supervisor.world import says


@pytest.fixture
def server(opened: Workspace) -> Iterator[Beacon]:
    yield start_server(opened, port=0)
    stop_server(opened)


def wait(beacon: Beacon, timeout: float = 30, revision: int = 1) -> None:
    wait_until_ready(beacon, "shop", ["blue"], timeout, Output(), revision)


def test_another_server_at_its_address_is_told_at_once(server: Beacon) -> None:
    with pytest.raises(DeploymentFailedError, match="is not the server of this workspace"):
        wait(replace(server, key="of another workspace"))


def test_a_deployment_that_the_server_cannot_find_is_told_at_once(server: Beacon) -> None:
    with pytest.raises(DeploymentFailedError, match="finds no deployment shop/blue: it was deleted meanwhile"):
        wait(server)


def test_a_server_that_has_ended_is_told_at_once(server: Beacon) -> None:
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(DeploymentFailedError, match="has ended") as caught:
        wait(server)
    assert caught.value.hint == "pf server start starts it again"


def test_a_server_that_does_not_answer_is_named_when_time_is_up() -> None:
    own = os.getpid()
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("127.0.0.1", 0))
        silent = Beacon("127.0.0.1", bound.getsockname()[1], own, pids.identity(own) or "", "key")
        with pytest.raises(DeploymentFailedError, match=f"not ready yet: The server at {silent.url} does not answer"):
            wait(silent, timeout=0)


def test_what_keeps_the_server_from_following_is_told_and_gone_when_it_is_mended(
    server: Beacon, opened: Workspace, store: EndpointStore, tmp_path: Path
) -> None:
    (tmp_path / "score.py").write_text(says("one"))
    with opened.db.write():
        store.create(Endpoint("shop"))
        kept = opened.store.get("secrets", "endpoint:shop:primary")
        assert kept is not None
        opened.store.update("secrets", kept["name"], value="damaged")
        store.put(Deployment("shop", "blue", Spec("script", code=tmp_path, scoring_script="score.py")))
    with pytest.raises(UserErrorException, match=r"\(500\): A secret of this workspace cannot be read"):
        ServerClient(server).reload()
    with pytest.raises(DeploymentFailedError, match="not ready yet: The server said no .500.: A secret of this work"):
        wait(server, timeout=0)
    opened.store.update("secrets", kept["name"], value=kept["value"])
    wait(server)
    assert ServerClient(server).status("shop", "blue")["instances_ready"] == 1


def test_a_revision_that_the_server_has_not_taken_yet_is_waited_for(
    server: Beacon, opened: Workspace, store: EndpointStore, tmp_path: Path
) -> None:
    """Nobody tells the server here: who waits does."""
    (tmp_path / "score.py").write_text(says("one"))
    store.create(Endpoint("shop"))
    spec = Spec("script", code=tmp_path, scoring_script="score.py")
    first = store.put(Deployment("shop", "blue", spec))
    wait(server)
    second = store.put(replace(first, spec=replace(spec, variables={"A": "1"})))
    wait(server, revision=second.revision)
    assert ServerClient(server).status("shop", "blue")["revision"] == second.revision == 2
