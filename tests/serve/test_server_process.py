"""The server as a process of its own: started, found, stopped, killed, and what becomes of its instances."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace, pids
from promptflow.workspace.locks import file_lock
from serve.cli.endpoint_live import base_url
from serve.cli.server import DEFAULT_PORT, answers, ensure_server, start_server, stop_server
from serve.endpoints.records import Deployment, Endpoint
from serve.endpoints.spec import Spec
from serve.endpoints.store import EndpointStore
from serve.supervisor.beacon import Beacon, find, only_server
from tests.serve.supervisor.world import SECONDS, says

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.delenv("PF_DATABASE_URL", raising=False)
    with Workspace.open(tmp_path / "home", database_url="") as workspace:
        yield workspace
        stop_server(workspace)


def call(beacon: Beacon, path: str, key: str = "", data: bytes | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(beacon.url + path, data, {"Authorization": f"Bearer {key or beacon.key}"})
    try:
        with OPENER.open(request, timeout=SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def listener_at(port: int) -> socket.socket | None:
    """None as long as somebody else has the port."""
    with contextlib.suppress(OSError):
        return socket.create_server(("127.0.0.1", port))
    return None


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def deployed(workspace: Workspace, text: str, revision: int = 0) -> str:
    """An endpoint ``shop`` that says ``text``; its key."""
    store = EndpointStore(workspace)
    code = workspace.home.parent / f"code-{revision}"
    code.mkdir()
    (code / "score.py").write_text(says(text))
    if not revision:
        store.create(Endpoint("shop"))
    store.put(Deployment("shop", "blue", Spec("script", code=code, scoring_script="score.py"), revision=revision))
    store.set_traffic("shop", {"blue": 100})
    return store.keys("shop").primary


def test_a_server_that_is_killed_takes_its_instances_along_and_comes_back_as_the_store_says(
    workspace: Workspace,
) -> None:
    key = deployed(workspace, "one")
    first = start_server(workspace, port=0)
    assert call(first, "/endpoints/shop/score", key, b"{}") == (200, "one")
    status = call(first, "/api/v1/endpoints/shop/deployments/blue/status")[1]
    pid = status["instances"][0]["pid"]
    known = pids.identity(pid)
    assert known is not None
    deployed(workspace, "two", revision=1)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not pids.is_running(pid, known))
    assert find(workspace.home) is None
    second = start_server(workspace, port=0)
    assert call(second, "/endpoints/shop/score", key, b"{}") == (200, "two")
    assert len(call(second, "/api/v1/endpoints/shop/deployments/blue/status")[1]["instances"]) == 1


def test_a_server_that_was_killed_comes_back_with_its_grpc_one_that_was_stopped_without(workspace: Workspace) -> None:
    pytest.importorskip("grpc")
    first = start_server(workspace, port=0, grpc_port=0)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not pids.is_running(first.pid, first.identity))
    second = ensure_server(workspace, Output())
    assert (second.port, second.grpc) == (first.port, first.grpc)
    os.kill(second.pid, signal.SIGKILL)
    until(lambda: not pids.is_running(second.pid, second.identity))
    with until(lambda: listener_at(first.grpc)):
        assert ensure_server(workspace, Output()).grpc == 0
    stop_server(workspace)
    assert ensure_server(workspace, Output()).grpc == 0


def test_there_is_one_server_per_workspace_and_it_ends_in_order(workspace: Workspace) -> None:
    key = deployed(workspace, "one")
    beacon = start_server(workspace, port=0)
    assert call(beacon, "/endpoints/shop/score", key, b"{}") == (200, "one")
    assert oct((workspace.home / "endpoints" / "server.json").stat().st_mode)[-3:] == "600"
    with pytest.raises(UserErrorException, match="runs already|is running already"):
        start_server(workspace, port=0)
    assert find(workspace.home) == beacon
    status = call(beacon, "/api/v1/endpoints/shop/deployments/blue/status")[1]
    pid = status["instances"][0]["pid"]
    known = pids.identity(pid)
    stop_server(workspace)
    assert find(workspace.home) is None
    assert known is not None and not pids.is_running(pid, known)
    assert not (workspace.home / "endpoints" / "run").exists()
    log = (workspace.home / "endpoints" / "logs" / "access.log").read_text()
    assert json.loads(log.splitlines()[0])["endpoint"] == "shop"
    assert key not in log and beacon.key not in log


def test_commands_that_need_a_server_at_the_same_time_start_one(workspace: Workspace) -> None:
    opened = [Workspace.open(workspace.home, database_url="") for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda one: ensure_server(one, Output()), opened))
    assert len({beacon.pid for beacon in found}) == 1
    for one in opened:
        one.close()


def test_a_server_that_is_ending_is_waited_for_and_then_another_is_started(workspace: Workspace) -> None:
    store, code = EndpointStore(workspace), workspace.home.parent / "slow"
    code.mkdir()
    (code / "score.py").write_text(says("late").replace("    return", "    import time; time.sleep(1); return"))
    store.create(Endpoint("shop"))
    store.put(Deployment("shop", "blue", Spec("script", code=code, scoring_script="score.py")))
    store.set_traffic("shop", {"blue": 100})
    key, first = store.keys("shop").primary, start_server(workspace, port=0)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(call, first, "/endpoints/shop/score", key, b"{}")
        until(lambda: call(first, "/api/v1/endpoints/shop/deployments/blue/status")[1]["in_flight"] == 1)
        os.kill(first.pid, signal.SIGTERM)
        until(lambda: not answers(first))
        second = ensure_server(workspace, Output())
        assert asked.result() == (200, "late")
    assert second.pid != first.pid and second.url == first.url
    assert call(second, "/endpoints/shop/score", key, b"{}") == (200, "late")


def test_a_server_that_has_only_its_end_before_it_keeps_the_next_waiting(tmp_path: Path) -> None:
    """Its file is gone by then, and its lock is not."""
    held = threading.Event()

    def ending() -> None:
        with file_lock(tmp_path / "locks" / "server.lock"):
            held.set()
            time.sleep(0.3)

    with ThreadPoolExecutor() as pool:
        ended = pool.submit(ending)
        held.wait(SECONDS)
        with only_server(tmp_path):
            ended.result(SECONDS)


def test_servers_of_two_workspaces_that_start_at_the_same_moment_have_a_port_each(workspace: Workspace) -> None:
    with Workspace.open(workspace.home.parent / "other", database_url="") as other:
        try:
            with ThreadPoolExecutor() as pool:
                found = list(pool.map(lambda one: ensure_server(one, Output()), (workspace, other)))
            assert len({beacon.port for beacon in found}) == 2
            assert [call(beacon, "/api/v1/endpoints") for beacon in found] == [(200, []), (200, [])]
        finally:
            stop_server(other)


def test_a_port_that_is_taken_says_so_and_without_one_the_next_is_used(workspace: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserErrorException, match="in use"):
            start_server(workspace, port=port)
    assert find(workspace.home) is None


def test_its_port_stays_when_it_is_killed_or_stopped_and_started_again(workspace: Workspace) -> None:
    first = start_server(workspace, port=0)
    assert first.port != DEFAULT_PORT
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not pids.is_running(first.pid, first.identity))
    second = ensure_server(workspace, Output())
    assert second.url == first.url
    stop_server(workspace)
    assert base_url(workspace) == first.url
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", first.port))
        taken.listen()
        assert start_server(workspace).port not in (0, first.port)


def test_what_others_change_in_the_store_is_in_force_soon_and_nobody_else_may_ask(workspace: Workspace) -> None:
    beacon = start_server(workspace, port=0)
    key = deployed(workspace, "one")
    until(lambda: call(beacon, "/endpoints/shop/score", key, b"{}") == (200, "one"))
    assert call(beacon, "/api/reload", "wrong", b"")[0] == 401
    assert call(beacon, "/api/v1/endpoints", key)[0] == 401
    assert call(beacon, "/health", "wrong") == (200, {"status": "Healthy"})
    assert call(beacon, "/nothing")[0] == 404
    with OPENER.open(f"{beacon.url}/metrics") as answer:
        text = answer.read().decode()
    assert 'pf_endpoint_requests_total{endpoint="shop",deployment="blue",status="200"} 1' in text
    assert 'pf_endpoint_instances_ready{endpoint="shop",deployment="blue"} 1' in text
