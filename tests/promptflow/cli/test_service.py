from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator

import pytest

from tests.promptflow.cli.conftest import Pf


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def service(pf: Pf, port: int) -> Iterator[dict[str, str]]:
    code, out, err = pf("service", "start", "--port", str(port), "-o", "json")
    assert code == 0, err
    yield json.loads(out)
    pf("service", "stop")


def test_the_service_takes_traces_in(pf: Pf, service: dict[str, str], port: int) -> None:
    assert service["url"] == f"http://127.0.0.1:{port}"
    span = {"traceId": "a" * 32, "spanId": "b" * 16, "name": "theirs", "startTimeUnixNano": "1", "endTimeUnixNano": "2"}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    request = urllib.request.Request(service["traces"], body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        assert answer.status == 200
    assert [t["name"] for t in json.loads(pf("trace", "list", "-o", "json")[1])] == ["theirs"]
    assert json.loads(pf("service", "start", "-o", "json")[1])["pid"] == service["pid"]
    assert json.loads(pf("service", "status", "-o", "json")[1])["status"] == "running"


def test_a_service_that_does_not_run(pf: Pf) -> None:
    code, out, err = pf("service", "status", "-o", "json")
    assert (code, json.loads(out)) == (1, {"status": "not running"})
    assert pf("service", "stop")[0] == 0


def test_a_port_that_is_taken(pf: Pf) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, out, err = pf("service", "start", "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "Address already in use" in err and "--port" in err
