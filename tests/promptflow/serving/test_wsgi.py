"""`promptflow.core._serving.app:create_app` under a WSGI server, as the start scripts of old images use it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest

from promptflow.core._serving.app import create_app
from promptflow.exceptions import ValidationException
from tests.promptflow.flowkit import write
from tests.promptflow.serving.test_streams import until

CODE = """
import asyncio, pathlib
async def words(log):
    try:
        for word in ("a", "b", "c") if not log else iter(lambda: "x", ""):
            yield word
            await asyncio.sleep(0.01)
    finally:
        if log:
            pathlib.Path(log).write_text("closed")
def run(log: str = ""):
    return {"answer": words(log), "size": 3}
"""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def client(tmp_path, monkeypatch) -> Iterator[httpx.Client]:
    monkeypatch.setenv(
        "PROMPTFLOW_PROJECT_PATH", str(write(tmp_path / "flow", flow_flex_yaml="entry: m:run\n", m_py=CODE))
    )
    monkeypatch.setenv("PF_DISABLE_TRACING", "true")
    server = make_server("127.0.0.1", 0, create_app(), _Server, _Silent)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", timeout=20) as found:
        yield found
    server.shutdown()
    server.server_close()
    thread.join()


def test_requests_are_answered_and_stream(client):
    assert client.get("/health").json()["status"] == "Healthy"
    assert client.get("/nope").status_code == 404
    assert client.post("/score", content=b"").json() == {"answer": "abc", "size": 3}
    answer = client.post("/score", json={}, headers={"accept": "text/event-stream", "x-request-id": "r"})
    assert answer.text.count("data: ") == 4 and answer.headers["x-request-id"] == "r"
    assert client.post("/feedback?flatten=true", json={"a": 1}).json() == {"status": "Feedback received."}


def test_a_client_that_hangs_up_ends_the_stream(client, tmp_path):
    log = tmp_path / "log"
    with client.stream("POST", "/score", json={"log": str(log)}, headers={"accept": "text/event-stream"}) as answer:
        assert any('"x"' in line for line in answer.iter_lines())

    assert until(log.exists)


def test_an_engine_that_is_none_is_refused():
    with pytest.raises(ValidationException, match="tornado"):
        create_app(engine="tornado")
