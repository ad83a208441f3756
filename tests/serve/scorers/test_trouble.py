"""Scripts that hang, leak and shout, behind a whole server; callers that do not wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from pathlib import Path

import pytest

from serve.endpoints.spec import SCRIPT, Probe, Spec
from tests.serve.scorers.workers import worker
from tests.serve.supervisor.world import world

HANGS = """
import time
def run(raw):
    if raw == "hang":
        time.sleep(3600)
    return raw
"""
LEAKS = """
held = []
def run(raw):
    if raw == "leak":
        held.append(bytearray(b"x" * 400_000_000))
    return len(held)
"""
SLOW = """
import time
def run(raw):
    print(f"scored {raw}")
    time.sleep(1.0 if raw == "slow" else 0)
    return raw
"""
SHOUTS = """
import os, sys
def run(raw):
    os.write(1, b"HTTP/1.1 500 Nothing\\r\\n\\r\\n")
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return "quiet"
"""


def script(folder: Path, text: str) -> Spec:
    (folder / "code").mkdir()
    (folder / "code" / "score.py").write_text(text)
    return Spec(SCRIPT, code=folder / "code", scoring_script="score.py")


def test_a_run_that_hangs_is_408_and_its_instance_is_replaced(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", HANGS, concurrency=1, timeout=0.3)
            await it.traffic({"blue": 100})
            before = it.status("blue")["instances"][0]["pid"]
            status, body = await it.ask(b"hang")
            assert (status, json.loads(body)["error"]["code"]) == (408, "RequestTimeout")
            async with asyncio.timeout(60):
                while (await it.ask(b"fine"))[0] != 200:
                    pass
            assert before not in [one["pid"] for one in it.status("blue")["instances"]]

    asyncio.run(play())


def test_an_init_that_hangs_does_not_get_ready_and_says_so(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            probe = Probe(initial_delay=0.0, period=0.5, failure=2)
            text = "import time\ndef init():\n    time.sleep(3600)\ndef run(raw): pass"
            await it.deploy("blue", text, wait=False, readiness=probe)
            await it.until(lambda: it.status("blue")["failures"] >= 1, "it has failed")
            assert "was not ready within 1 s (readiness_probe)" in it.status("blue")["message"]

    asyncio.run(play())


def test_a_run_that_leaks_is_ended_at_its_limit_and_others_are_answered(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", LEAKS, memory_limit=350_000_000)
            await it.traffic({"blue": 100})
            await it.ask(b"leak")
            await it.until(lambda: it.app.gateway.figures.restarts["shop", "blue"] >= 1, "it was ended")
            assert "more than its limit of 350 MB" in it.status("blue")["message"]
            async with asyncio.timeout(60):
                while (await it.ask(b"")) != (200, b"0"):
                    await asyncio.sleep(0.1)

    asyncio.run(play())


def test_who_hangs_up_while_waiting_is_not_scored(tmp_path: Path) -> None:
    with worker(tmp_path / "w", script(tmp_path, SLOW)) as blue:
        with contextlib.ExitStack() as stack:
            for text in (b"slow", b"gone"):
                one = stack.enter_context(socket.socket(socket.AF_UNIX))
                one.connect(str(blue.socket))
                one.sendall(b"POST /score HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n" + text)
                deadline = time.monotonic() + 20
                while b"slow" in text and "scored slow" not in blue.log and time.monotonic() < deadline:
                    time.sleep(0.01)
        assert blue.http.post("/score", content=b"next").json() == "next"
        assert "scored gone" not in blue.log and "scored slow" in blue.log


def test_what_a_script_prints_never_gets_into_an_answer(tmp_path: Path) -> None:
    with worker(tmp_path / "w", script(tmp_path, SHOUTS)) as blue:
        answer = blue.http.post("/score", content=b"")
        assert (answer.status_code, answer.content) == (200, b'"quiet"')
        assert all(line in blue.log for line in ("HTTP/1.1 500 Nothing", "to stdout", "to stderr"))


def test_what_a_script_logs_is_in_the_log(tmp_path: Path) -> None:
    text = "import logging\ndef init(): logging.info('init complete')\ndef run(raw): return 1"
    with worker(tmp_path / "w", script(tmp_path, text)) as blue:
        assert "init complete" in blue.log


def test_large_requests_and_answers(tmp_path: Path) -> None:
    text = "import json\ndef run(raw): return json.loads(raw)"
    with worker(tmp_path / "w", script(tmp_path, text)) as blue:
        rows = [[float(at), 1.5, -2.0] for at in range(200_000)]
        assert blue.score(rows).json() == rows


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000])
def test_bodies_that_a_script_cannot_read_are_its_own_error(tmp_path: Path, body: bytes) -> None:
    text = "import json\ndef run(raw): return json.loads(raw)"
    with worker(tmp_path / "w", script(tmp_path, text)) as blue:
        answer = blue.http.post("/score", content=body)
        assert answer.status_code == 500 and "score.py:2" in answer.text
        assert blue.score(1).json() == 1
