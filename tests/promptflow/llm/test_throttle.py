"""Limits per minute that processes share."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from promptflow.connections import AzureOpenAIConnection, OpenAIConnection, ServerlessConnection
from promptflow.llm import background, transport
from promptflow.llm.chat import chat
from promptflow.llm.endpoints import Endpoint, endpoint
from promptflow.llm.throttle import Throttle, throttle_for
from tests.fake_model import ModelServer, Reply

SENDS = """
import sys, time
from pathlib import Path
from promptflow.llm.throttle import Throttle

throttle = Throttle(Path(sys.argv[1]), 600, 0)
for _ in range(200):
    print(throttle.reserve(0), flush=True)
"""


def waits(throttle: Throttle, times: int = 1) -> list[float]:
    """Seconds until as many requests may go, 0 for at once."""
    return [max(0.0, throttle.reserve(0) - time.monotonic()) for _ in range(times)]


def test_processes_share_a_limit(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SENDS, str(tmp_path / "throttle")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    times = sorted(float(line) for process in processes for line in process.communicate()[0].split())
    assert len(times) == 600
    assert all(later - earlier > 0.999999 for earlier, later in zip(times, times[10:], strict=False))
    assert times[-1] - times[0] < 62


def test_a_process_that_is_killed_leaves_the_file_whole(tmp_path: Path) -> None:
    endless = SENDS.replace("range(200)", "iter(int, 1)")
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", endless, str(tmp_path / "throttle")], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            for _ in range(100):
                process.stdout.readline()
            process.kill()
    first, *_, last = [Throttle(tmp_path / "throttle", 600, 0).reserve(0) for _ in range(11)]
    assert first - time.monotonic() > 20
    assert last - first == pytest.approx(1)


def test_threads_share_a_limit(tmp_path: Path) -> None:
    throttle = Throttle(tmp_path / "throttle", 600, 0)

    async def reserve() -> list[float]:
        return await asyncio.gather(*[asyncio.to_thread(throttle.reserve, 0) for _ in range(100)])

    times = sorted(background.run(reserve()))
    assert times[-1] - times[0] > 8.999999


def test_who_was_stopped_with_the_lock_in_hand_is_not_waited_for(tmp_path: Path) -> None:
    throttle = Throttle(tmp_path / "throttle", 60, 0)
    other = os.open(tmp_path / "throttle", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    throttle.reserve(0)
    os.close(other)


def test_times_of_before_the_machine_started_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "throttle"
    throttle = Throttle(file, 3, 0)
    for _ in range(30):
        throttle.reserve(0)
    assert waits(Throttle(file, 3, 0))[0] > 500
    data = file.read_bytes()
    file.write_bytes(struct.pack("<d", struct.unpack("<d", data[:8])[0] - 1000) + data[8:])
    assert waits(Throttle(file, 3, 0)) == [0]


@pytest.mark.parametrize("content", [b"", b"\x01", b"x" * 20])
def test_a_file_that_is_none_is_made_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "throttle").write_bytes(content)
    throttle = Throttle(tmp_path / "throttle", 60, 100)
    assert waits(throttle) == [0]


def test_a_workspace_that_cannot_be_written_to_leaves_the_limit_of_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    throttle = Throttle(tmp_path / "file" / "throttle", 3, 0)
    assert [wait > 0 for wait in waits(throttle, 5)] == [False] * 3 + [True] * 2
    assert "limits per minute hold for this process alone" in caplog.text


def test_tokens_are_estimated_as_they_were_before(tmp_path: Path) -> None:
    throttle = Throttle(tmp_path / "throttle", 0, 60_000)
    assert throttle.estimate(1000) == 300
    assert throttle.estimate(10_000_000) == 4000  # an image, most likely
    throttle.settle(10_000_000, 4000, 1000)
    assert throttle.estimate(10_000_000) == pytest.approx(1000)


@pytest.mark.parametrize(
    "connection",
    [
        OpenAIConnection("hidden-key", base_url="http://a/v1", requests_per_minute=5),
        AzureOpenAIConnection("http://a", "hidden-key", tokens_per_minute=5),
        ServerlessConnection("hidden-key", "http://a", requests_per_minute="5"),
    ],
)
def test_connections_with_limits_have_one_throttle(connection: OpenAIConnection, home: Path) -> None:
    targets = [background.run(endpoint(connection, "chat/completions", "m")) for _ in range(2)]
    assert targets[0].throttle is targets[1].throttle is not None
    (file,) = (home / "locks").iterdir()
    assert "hidden" not in file.name and b"hidden" not in file.read_bytes()


def test_connections_without_limits_have_none(home: Path) -> None:
    target = background.run(endpoint(OpenAIConnection("hidden-key", base_url="http://a/v1"), "embeddings", "m"))
    assert target.throttle is None
    assert not (home / "locks").exists()


def test_another_connection_has_another_throttle() -> None:
    one, two = (OpenAIConnection("hidden-key", name=name) for name in ("one", "two"))
    assert throttle_for(one, 60, 0) is not throttle_for(two, 60, 0)


def test_calls_wait_for_their_place(model_server: ModelServer) -> None:
    connection = OpenAIConnection("k", name="few", base_url=model_server.base_url, requests_per_minute=600)

    async def ask(count: int) -> None:
        await asyncio.gather(*[chat(connection, "user:\nhi", model="m") for _ in range(count)])

    started = time.monotonic()
    background.run(ask(11))
    assert time.monotonic() - started >= 1.0
    assert len(model_server.requests) == 11


def test_retries_are_requests_too(model_server: ModelServer, tmp_path: Path) -> None:
    throttle = Throttle(tmp_path / "throttle", 60, 0)
    target = Endpoint(f"{model_server.base_url}/chat/completions", {}, "", throttle)
    model_server.script(*[Reply.error(429, headers={"Retry-After": "0.01"})] * 3)
    background.run(transport.post(target, {}))
    assert [wait > 5 for wait in waits(throttle, 7)] == [False] * 6 + [True]


def test_the_tokens_of_an_answer_are_paid_for(model_server: ModelServer, tmp_path: Path) -> None:
    throttle = Throttle(tmp_path / "throttle", 0, 6300)
    target = Endpoint(f"{model_server.base_url}/chat/completions", {}, "", throttle)
    model_server.script(Reply(body={"choices": [], "usage": {"total_tokens": 6300}}))
    background.run(transport.post(target, {}))
    assert 40 < waits(throttle)[0] <= 60


def test_what_was_refused_costs_no_tokens(model_server: ModelServer, tmp_path: Path) -> None:
    throttle = Throttle(tmp_path / "throttle", 0, 60)
    target = Endpoint(f"{model_server.base_url}/chat/completions", {}, "", throttle)
    model_server.script(Reply.error(503, headers={"Retry-After": "0.01"}), Reply(body={"usage": {"total_tokens": 1}}))
    background.run(transport.post(target, {"prompt": "x" * 20}))
    assert waits(throttle) == [0]
