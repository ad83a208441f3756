"""`pf catalog mirror` and its tokens, as they are typed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from promptflow.cli.main import main
from tests.catalog.mirror_server import pulled

pytest.importorskip("huggingface_hub")
httpx = pytest.importorskip("httpx")


@pytest.fixture
def pf(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main(["catalog", *words]) == code, capsys.readouterr().err
        out, err = capsys.readouterr()
        return json.loads(out) if out else err

    return run


def start(*words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A mirror in a process of its own, and what it prints when it answers."""
    command = [sys.executable, "-m", "promptflow", "catalog", "mirror", "--port", "0", "-o", "jsonl", *words]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()
    return process, json.loads(line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    pulled(tmp_path, "org/small", {"config.json": b"{}"})
    process, said = start()
    try:
        assert said["pulled"] == 1 and said["registered"] == 0 and said["tokens"] == 0
        assert httpx.get(f"{said['url']}/org/small/resolve/main/config.json").content == b"{}"
    finally:
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and out == "" and "Traceback" not in err


def test_tokens_are_made_listed_and_withdrawn(pf: Any) -> None:
    made = pf("mirror-token", "ci", "--write", "-o", "json")
    assert made["name"] == "ci" and made["role"] == "write" and made["token"].startswith("hf_")
    assert pf("mirror-token", "ci", "-o", "json")["token"] != made["token"]
    assert pf("mirror-token", "-o", "json") == [{"name": "ci", "role": "read"}]
    assert "deleted" in pf("mirror-token", "ci", "--delete")
    assert pf("mirror-token", "-o", "json") == []
    assert "no token called ci" in pf("mirror-token", "ci", "--delete", code=1)
    assert "--write" in pf("mirror-token", "ci", "--delete", "--write", code=2)
    assert "no name" in pf("mirror-token", "a b", code=1)


def test_others_are_not_served_without_tokens_unless_asked_to(pf: Any) -> None:
    said = pf("mirror", "--host", "0.0.0.0", "--port", "0", code=1)
    assert "mirror-token" in said and "--open" in said


def test_a_port_that_is_taken(pf: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = pf("mirror", "--port", str(taken.getsockname()[1]), code=1)
    assert "Cannot listen" in said
    assert "Cannot listen" in pf("mirror", "--port", "99999", code=1)
