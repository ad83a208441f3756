"""`pf flow serve` as people run it: a process, or several, told to end by signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.promptflow.flowkit import dag, write

YAML = """
environment_variables: {FROM_FLOW: flow, SHADOWED: flow, GIVEN: flow}
inputs: {x: {type: string, default: FROM_FLOW}}
outputs: {o: {type: string, reference: "${a.output}"}, pid: {type: int, reference: "${pid.output}"}}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}"}}
- {name: pid, type: python, source: {type: code, path: pid.py}, inputs: {x: "${inputs.x}"}}
"""
# a module of the flow's own is called as one of the packages of this project
A = "import os\nimport serve as mine\nfrom promptflow.core import tool\n@tool\ndef a(x): return os.environ.get(x, mine.NAME)\n"
PID = """
import os, sys, time
from promptflow.core import tool
@tool
def pid(x):
    if x == "die": os._exit(9)
    if x == "slow": time.sleep(1)
    return os.getpid() if x != "modules" else " ".join(m for m in sys.modules if m in ("catalog", "serve.router"))
"""


def flow(folder: Path) -> Path:
    return dag(folder, YAML, a_py=A, pid_py=PID, serve_py="NAME = 'the flow\\'s own'\n")


@contextmanager
def served(source: Path, *arguments: str, **environ: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The process and a client of it, once it answers."""
    command = [sys.executable, "-m", "promptflow", "flow", "serve", "--source", str(source), "--port", "0", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ})
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://\S+", line):
                break
        else:
            raise AssertionError(f"it ended with {process.wait()}")
        with httpx.Client(base_url=found[0], timeout=30) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


def test_variables_count_in_their_order_and_the_folder_comes_first(tmp_path):
    source = Path(os.path.relpath(flow(tmp_path)))  # from here, and not from the flow's folder, where it will be
    with served(source, "--engine", "flask", "--environment-variables", "GIVEN=flag", GIVEN="env", SHADOWED="env") as (
        process,
        client,
    ):
        answers = {
            x: client.post("/score", json={"x": x}).json()["o"] for x in ("FROM_FLOW", "SHADOWED", "GIVEN", "none")
        }
        assert answers == {"FROM_FLOW": "flow", "SHADOWED": "env", "GIVEN": "flag", "none": "the flow's own"}
        assert client.post("/score", json={"x": "modules"}).json()["pid"] == ""

        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_flow_can_be_tested_on_its_page(tmp_path):
    command = [sys.executable, "-m", "promptflow", "flow", "test", "--flow", str(flow(tmp_path)), "--ui"]
    process = subprocess.Popen([*command, "--skip-open-browser"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found and "<main" in httpx.get(found[0]).text
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_what_is_in_the_works_is_answered_before_the_end(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with served(flow(tmp_path)) as (process, client), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/score", json={"x": "slow"})
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)

        assert answer.result().json()["o"] == "the flow's own"
        assert process.wait(20) == 0


def test_workers_share_a_port_are_replaced_and_end_together(tmp_path):
    with served(flow(tmp_path), "--workers", "2") as (process, client):
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/score", json={"x": "die"})
        again = pids(client, 3)
        os.kill(again.pop(), signal.SIGKILL)
        seen = again | pids(client, 3)

        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert seen and process.pid not in seen
    assert not any(alive(pid) for pid in seen)


def test_workers_end_when_their_starter_is_killed(tmp_path):
    with served(flow(tmp_path), "--workers", "2") as (process, client):
        seen = pids(client, 1)
        process.kill()
        process.wait()
        end = time.monotonic() + 15
        while any(map(alive, seen)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(map(alive, seen))


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_a_flow_that_cannot_be_loaded_is_told_and_exits_1(tmp_path, workers):
    broken = write(tmp_path, flow_flex_yaml="entry: m:f\n", m_py="import nothing_of_this_name\n")
    command = [sys.executable, "-m", "promptflow", "flow", "serve", "--source", str(broken), "--port", "0", *workers]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 1 and ended.stdout == ""
    assert "nothing_of_this_name" in ended.stderr and "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_told_and_exits_1(tmp_path, capsys):
    from promptflow.cli.main import main
    from promptflow.serving.server import listen

    listener = listen("localhost", 0)
    try:
        port = str(listener.getsockname()[1])
        assert main(["flow", "serve", "--source", str(flow(tmp_path)), "--port", port]) == 1
    finally:
        listener.close()
    told = capsys.readouterr().err
    assert (
        f"Cannot listen on localhost:{port}: Address already in use." in told and "another program has the port" in told
    )


def test_a_port_that_is_none_is_not_said_to_be_taken(tmp_path, capsys):
    from promptflow.cli.main import main

    assert main(["flow", "serve", "--source", str(flow(tmp_path)), "--port", "99999"]) == 1
    told = capsys.readouterr().err
    assert "port must be 0-65535" in told and "another program" not in told


def pids(client: httpx.Client, times: int) -> set[int]:
    """Who answers. A connection of its own each time; one that a dying worker had may be cut."""
    found = set()
    while times:
        try:
            found.add(httpx.post(client.base_url.join("/score"), json={}).json()["pid"])
            times -= 1
        except httpx.TransportError:
            time.sleep(0.1)
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").exists() or ") Z " not in Path(f"/proc/{pid}/stat").read_text()
