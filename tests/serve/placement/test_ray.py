"""Instances on a real Ray cluster: two nodes on this machine, of which one is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from promptflow.connections.custom import CustomConnection
from promptflow.connections.store import ConnectionStore
from serve.endpoints.records import Deployment
from serve.endpoints.spec import RequestSettings, Spec
from tests.promptflow.batch.test_ray import Cluster, shown
from tests.promptflow.flowkit import write
from tests.serve.supervisor.world import World, world

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("ray") is None, reason="promptflow[ray] is not installed")]

SECRET = "sk-of-nobodys-business-here"
SCORE = """
import os
import sys


def init():
    print("the model is loaded", flush=True)


def run(raw):
    secret = os.environ.get("BACKEND_KEY", "")
    hidden = [name for name in os.environ if name.startswith("RAY_AUTH") or name == "PF_INSTANCE_KEY"]
    return {"pid": os.getpid(), "secret": secret[::-1], "cwd": os.getcwd(), "hidden": hidden, "says": "hello"}
"""
FLOW = """
environment_variables: {FROM: "${backend.url}"}
inputs: {x: {type: string}}
outputs: {o: {type: string, reference: "${a.output}"}}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}", c: backend}}
"""
TOOL = """
import os
from promptflow.core import tool
from promptflow.connections import CustomConnection

@tool
def a(x: str, c: CustomConnection):
    return f"{x} {len(c.token)} {os.environ['FROM']}"
"""
ON_RAY = {"recorded": {"instance_type": "ray:cpu=1"}}


@pytest.fixture(scope="module")
def nodes():
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(nodes.token))
    return nodes


async def told(it: World) -> dict[str, Any]:
    status, body = await it.ask()
    assert status == 200, body
    return json.loads(body)


def log(it: World, name: str = "blue", slot: int = 0) -> str:
    return (it.folder / "home" / "endpoints" / "logs" / "shop" / name / f"{slot}.log").read_text()


def left() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("pf-instance-*"))


def test_an_instance_on_a_node_answers_and_is_started_again_and_ended(cluster: Cluster, tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            connection = CustomConnection(name="backend", secrets={"token": SECRET})
            await asyncio.to_thread(ConnectionStore(it.store.workspace).create_or_update, connection)
            await it.endpoint()
            await it.deploy("blue", SCORE, variables={"BACKEND_KEY": "${backend.token}"}, timeout=60.0, **ON_RAY)
            await it.traffic({"blue": 100})
            first = await told(it)
            assert (first["secret"], first["hidden"], first["says"]) == (SECRET[::-1], [], "hello")
            assert "pf-instance-" in first["cwd"]
            # Others of this user see variables of processes; command lines are seen by all.
            for pid in shown(SECRET):
                assert SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert "the model is loaded" in log(it)

            instance = it.app.supervisor.fleets["shop", "blue"].children[0].instance
            async with aiohttp.ClientSession() as session:
                url = f"http://{instance.socket.host}:{instance.socket.port}/score"
                for headers in ({}, {"Authorization": "Bearer wrong"}):
                    async with session.post(url, data=b"{}", headers=headers) as answer:
                        assert answer.status == 401

            os.kill(first["pid"], signal.SIGKILL)
            again = await told(it)  # the request is held until another one is there
            assert again["pid"] != first["pid"] and again["cwd"] != first["cwd"]
            assert it.app.gateway.figures.restarts["shop", "blue"] == 1

            await it.deploy("blue", SCORE.replace("hello", "bye"), timeout=60.0, **ON_RAY)
            assert (await told(it))["says"] == "bye"
            await it.until(lambda: len(it.status("blue")["instances"]) == 1, "the old one is gone")
        assert left() == []

    asyncio.run(play())


def test_a_server_that_is_killed_leaves_nothing_on_a_node(cluster: Cluster, tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", SCORE, timeout=60.0, **ON_RAY)
            await it.traffic({"blue": 100})
            pid = (await told(it))["pid"]
            it.kill("blue")  # as the lifeline does when the server is gone
            await it.until(lambda: not Path(f"/proc/{pid}").exists(), "the instance has ended, too")
            assert (await told(it))["pid"] != pid

    asyncio.run(play())


def test_a_flow_on_a_node_has_its_connections(cluster: Cluster, tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            connection = CustomConnection(name="backend", configs={"url": "http://here"}, secrets={"token": SECRET})
            await asyncio.to_thread(ConnectionStore(it.store.workspace).create_or_update, connection)
            await it.endpoint()
            code = write(tmp_path / "flow", flow_dag_yaml=FLOW, a_py=TOOL)
            spec = Spec("flow", code=code, scoring_script="flow.dag.yaml", request=RequestSettings(60.0), **ON_RAY)
            await asyncio.to_thread(it.store.put, Deployment("shop", "blue", spec))
            await it.traffic({"blue": 100})
            await it.until(lambda: it.status("blue")["state"] == "Ready", "it is ready")
            status, body = await it.ask(b'{"x": "s"}', content_type="application/json")
            assert (status, json.loads(body)) == (200, {"o": f"s {len(SECRET)} http://here"})

    asyncio.run(play())


def test_the_memory_limit_holds_on_a_node(cluster: Cluster, tmp_path: Path) -> None:
    script = "def init():\n    global held\n    held = bytearray(400_000_000)\n\ndef run(raw):\n    return 1\n"

    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", script, wait=False, memory_limit=300_000_000, **ON_RAY)
            await it.until(lambda: it.status("blue")["state"] == "Failed", "it has failed")
            assert "more than its limit of 300 MB" in "\n".join(it.status("blue")["log"])

    asyncio.run(play())


def test_what_fails_on_a_node_says_why_here(cluster: Cluster, tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy(
                "blue",
                "def init():\n    raise ValueError('no such thing')\n\ndef run(raw):\n    pass\n",
                wait=False,
                timeout=60.0,
                **ON_RAY,
            )
            await it.until(lambda: it.status("blue")["state"] == "Failed", "it has failed")
            assert "no such thing" in "\n".join(it.status("blue")["log"])

    asyncio.run(play())


def test_of_two_nodes_one_is_killed_and_the_other_answers(cluster: Cluster, tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", SCORE, instances=2, timeout=60.0, **ON_RAY)
            await it.traffic({"blue": 100})
            await asyncio.to_thread(cluster.do, "kill")
            for _ in range(50):
                assert (await told(it))["says"] == "hello"
            await it.until(lambda: it.app.gateway.figures.restarts["shop", "blue"] >= 1, "one is lost")
            assert it.status("blue")["failures"] == 0  # it is not the deployment's
            assert (await told(it))["says"] == "hello"

    asyncio.run(play())
