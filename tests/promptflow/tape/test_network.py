"""While a tape is replayed nothing leaves the process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from promptflow.exceptions import ReplayMiss
from promptflow.tape import record, replay
from promptflow.tracing import otlp_out
from tests.fake_model import ModelServer


def connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 5).close()


def connect_ex(port: int) -> None:
    with socket.socket() as own:
        own.connect_ex(("127.0.0.1", port))


def send_datagram(port: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as own:
        own.sendto(b"x", ("127.0.0.1", port))


def look_up(port: int) -> None:
    socket.getaddrinfo("example.com", port)


def on_a_loop(port: int) -> None:
    async def call() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    asyncio.run(call())


def on_a_thread(port: int) -> None:
    errors: list[BaseException] = []

    def call() -> None:
        try:
            connect(port)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)  # which carries no context
    thread.start()
    thread.join()
    raise errors[0]


@pytest.fixture
def empty(tape: Path) -> Path:
    with record(tape):
        pass
    return tape


@pytest.mark.parametrize("call", [connect, connect_ex, send_datagram, look_up, on_a_loop, on_a_thread])
def test_a_connection_is_refused(call: Callable[[int], None], model_server: ModelServer, empty: Path) -> None:
    port = int(model_server.url.rpartition(":")[2])
    with pytest.raises(ReplayMiss, match="was refused") as raised, replay(empty):
        call(port)
    assert "--record-http" in raised.value.hint
    connect(port)  # and is not, afterwards


def test_a_connection_that_the_flow_gives_up_is_told_at_the_end(model_server: ModelServer, empty: Path) -> None:
    with pytest.raises(ReplayMiss, match="was refused"), replay(empty):
        try:
            connect(1)
        except Exception:
            return


def test_sockets_of_this_machine_stay_open(tmp_path: Path, empty: Path) -> None:
    with replay(empty), socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))
        socket.getaddrinfo("localhost", 80)
        asyncio.run(asyncio.sleep(0))


def test_traces_go_to_their_collector_all_the_same(model_server: ModelServer, empty: Path) -> None:
    with replay(empty):
        assert otlp_out._post(f"{model_server.url}/v1/traces", b"{}", {}) == ""
    assert [request.path for request in model_server.requests] == ["/v1/traces"]


def test_the_database_stays_open(model_server: ModelServer, empty: Path) -> None:
    with replay(empty, allow="postgresql://me:pw@127.0.0.1:5432/db"):
        connect(int(model_server.url.rpartition(":")[2]))
