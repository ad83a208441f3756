"""OpenTelemetry's protocol, both ways."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import uvicorn

from promptflow.exceptions import ValidationException
from promptflow.tracing import otlp
from promptflow.tracing.collector import make_app
from promptflow.tracing.exporters import export_to
from promptflow.tracing.otlp_out import OtlpExporter, exporter
from promptflow.tracing.spans import span
from promptflow.tracing.store import TraceStore
from promptflow.workspace import Workspace

ROW = {
    "trace_id": "ab" * 16,
    "span_id": "cd" * 8,
    "parent_id": "ef" * 8,
    "name": "chat",
    "kind": "LLM",
    "start_ns": 1_700_000_000_000_000_001,
    "end_ns": 1_700_000_000_000_000_002,
    "status": "Error",
    "collection": "c",
    "session": "s",
    "attributes": {
        "span_type": "LLM",
        "text": "é",
        "count": 3,
        "share": 0.5,
        "yes": True,
        "list": ["a", 1],
        "map": {"k": "v"},
        "otel.status_description": "went wrong",
    },
    "events": [{"name": "e", "time_ns": 1_700_000_000_000_000_001, "attributes": {"payload": "{}"}}],
}


@pytest.fixture
def here(home: Path) -> Workspace:
    return Workspace.open(home, "")


@pytest.fixture
def collecting(here: Workspace) -> Iterator[str]:
    """The url of a running collector of the workspace."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(here), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/traces"
    server.should_exit = True
    thread.join()
    listener.close()


def post(url: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    try:
        with urlopen(Request(url, body, named)) as response:
            return response.status, response.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def test_json_round_trip() -> None:
    request = json.loads(json.dumps(otlp.encode([ROW])))
    (span_json,) = request["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (span_json["traceId"], span_json["startTimeUnixNano"]) == ("ab" * 16, "1700000000000000001")
    assert span_json["status"] == {"code": 2, "message": "went wrong"}
    assert otlp.decode(request) == [ROW]


def test_protobuf_round_trip() -> None:
    pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    assert otlp.decode(otlp.from_protobuf(otlp.to_protobuf(otlp.encode([ROW])))) == [ROW]
    with pytest.raises(ValidationException, match="no OTLP"):
        otlp.from_protobuf(b"\xff\xff\xff")


@pytest.mark.parametrize(
    "request_json",
    [
        [],
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "no ids"}]}]}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz", "spanId": "", "startTimeUnixNano": 1}]}]}]},
        {"resourceSpans": 3},
    ],
)
def test_what_is_no_request_is_refused(request_json: Any) -> None:
    with pytest.raises(ValidationException):
        otlp.decode(request_json)


@pytest.mark.parametrize("packed", [False, True])
def test_the_collector_takes_json(collecting: str, here: Workspace, packed: bool) -> None:
    body = json.dumps(otlp.encode([ROW])).encode()
    encoding = {"content_encoding": "gzip"} if packed else {}
    sent = gzip.compress(body) if packed else body
    assert post(collecting, sent, content_type=otlp.JSON, **encoding) == (200, b"{}")
    (found,) = TraceStore(here).show("ab" * 16)
    assert (found.name, found.kind, found.collection, found.error) == ("chat", "LLM", "c", "went wrong")


def test_the_collector_takes_protobuf(collecting: str, here: Workspace) -> None:
    pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    body = otlp.to_protobuf(otlp.encode([ROW]))
    assert post(collecting, body, content_type=otlp.PROTOBUF) == (200, b"")
    assert len(TraceStore(here).show("ab" * 16)) == 1


@pytest.mark.parametrize(
    "headers, body, status",
    [
        ({"content_type": "text/plain"}, b"x", 415),
        ({"content_type": "application/json"}, b"{", 400),
        ({"content_type": "application/json"}, b"[]", 400),
        ({"content_type": "application/json", "content_encoding": "br"}, b"x", 415),
        ({"content_type": "application/json", "content_encoding": "gzip"}, b"x", 400),
    ],
)
def test_bad_requests_are_refused(collecting: str, headers: dict[str, str], body: bytes, status: int) -> None:
    assert post(collecting, body, **headers)[0] == status


class Collector(ThreadingHTTPServer):
    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def sender(url: str, **environ: str) -> OtlpExporter:
    found = exporter(url, environ)
    assert found is not None
    return found


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf"])
def test_traces_are_sent_to_a_collector(collector: Collector, protocol: str) -> None:
    if protocol == "http/protobuf":
        pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    out = sender(
        f"{collector.url}/v1/traces", OTEL_EXPORTER_OTLP_PROTOCOL=protocol, OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b"
    )
    with export_to(out.append), span("root", "Flow", inputs={"x": 1}) as root:
        root.set_output("y")
    out.flush()
    ((path, headers, body),) = collector.requests
    assert (path, headers["x-key"]) == ("/v1/traces", "a b")
    request = json.loads(body) if protocol == "http/json" else otlp.from_protobuf(body)
    (row,) = otlp.decode(request)
    assert (row["trace_id"], row["name"], row["attributes"]["output"]) == (root.trace_id, "root", '"y"')
    assert [event["name"] for event in row["events"]][:1] == ["promptflow.function.inputs"]


def test_a_busy_collector_is_asked_again(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptflow.tracing.otlp_out._RETRIES", (0.0,))
    collector.answers = [503]
    out = sender(f"{collector.url}/v1/traces")
    with export_to(out.append), span("s"):
        pass
    out.flush()
    assert len(collector.requests) == 2


def test_a_collector_that_is_away_is_mentioned_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptflow.tracing.otlp_out._RETRIES", ())
    out = sender("http://127.0.0.1:9/v1/traces")
    for _ in range(2):
        with export_to(out.append), span("s"):
            pass
        out.flush()
    assert caplog.text.count("could not be sent") == 1


def test_the_environment_names_the_collector(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, here: Workspace
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    with span("s"):
        pass
    deadline = threading.Event()
    for _ in range(500):
        if collector.requests:
            break
        deadline.wait(0.02)
    assert collector.requests[0][0] == "/v1/traces"
    assert len(TraceStore(here).list()) == 1


def test_grpc_is_refused_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    assert exporter("http://x/v1/traces", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) is None
    assert "grpc is not supported" in caplog.text


def test_a_body_that_is_too_large_is_refused(collecting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptflow.tracing.collector.MAX_BYTES", 10)
    assert post(collecting, b"x" * 11, content_type=otlp.JSON)[0] == 413
