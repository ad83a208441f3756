"""``pf server start --grpc-port``: the port beside the server's own."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptflow.cli.main import main
from promptflow.workspace import Workspace
from promptflow.workspace.http_server import listen
from serve.cli.server import stop_server
from serve.supervisor.beacon import Beacon, find


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PF_HOME_DIRECTORY", str(tmp_path / "home"))
    monkeypatch.delenv("PF_DATABASE_URL", raising=False)
    with Workspace.open(tmp_path / "home", database_url="") as workspace:
        yield workspace.home
        stop_server(workspace)


def start(*words: str) -> int:
    return main(["server", "start", "--port", "0", *words])


def running(home: Path) -> Beacon:
    beacon = find(home)
    assert beacon is not None
    return beacon


def test_a_server_answers_grpc_when_it_is_told_to(home: Path, capfd: Any) -> None:
    grpc = pytest.importorskip("grpc")
    from serve.rpc.messages import SERVICE, message

    assert start() == 0
    assert running(home).grpc == 0
    assert start("--grpc-port", "0") == 1
    assert "runs without gRPC" in (said := capfd.readouterr().err) and "--force" in said
    assert start("--grpc-port", "0", "--force") == 0
    beacon = running(home)
    capfd.readouterr()
    assert main(["server", "status", "-o", "json"]) == 0
    assert json.loads(capfd.readouterr().out)["grpc"] == f"127.0.0.1:{beacon.grpc}"
    assert start("--grpc-port", str(beacon.grpc)) == 0 and running(home) == beacon
    assert start("--grpc-port", str(beacon.grpc + 1)) == 1
    assert f"with gRPC at port {beacon.grpc}" in capfd.readouterr().err
    with grpc.insecure_channel(beacon.grpc_address) as channel:
        ask = channel.unary_unary(f"/{SERVICE}/ServerLive", None, message("ServerLiveResponse").FromString)
        assert ask(b"", timeout=30).live
    assert main(["server", "stop"]) == 0
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", beacon.grpc)):
        pass


def test_a_port_that_is_taken_is_an_error_that_names_it(home: Path, capfd: Any) -> None:
    pytest.importorskip("grpc")
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert start("--grpc-port", str(port)) == 1
        assert f"127.0.0.1:{port}" in capfd.readouterr().err
        words = ["server", "start", "--foreground", "--port", "0", "--grpc-port", str(port)]
        done = subprocess.run([sys.executable, "-m", "promptflow", *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert f"error: Cannot listen on 127.0.0.1:{port}." in done.stderr and "--grpc-port" in done.stderr
    assert find(home) is None


def test_without_the_extra_it_says_which_one(home: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    assert start("--grpc-port", "0") == 1
    assert "pip install 'promptflow[grpc]'" in capfd.readouterr().err
    assert find(home) is None
