"""Runs that are recorded, and run again from their tape."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from promptflow.client import PFClient
from promptflow.connections import CustomConnection, OpenAIConnection
from promptflow.entities.run import Run
from promptflow.exceptions import OverrideError, TapeError, ValidationException
from tests.fake_model import ModelServer, Reply, model_server
from tests.promptflow import flowkit
from tests.promptflow.tape.conftest import calls

__all__ = ["model_server"]

KEY = "sk-a-key-of-many-letters"
PASSWORD = "correct horse battery"
FLOW = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${shout.output}"}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  connection: mine
  api: chat
  inputs: {model: m, temperature: 0, x: "${inputs.x}"}
- name: shout
  type: python
  source: {type: code, path: shout.py}
  inputs: {text: "${ask.output}", times: 1}
"""
SHOUT = """
from promptflow.core import tool

@tool
def shout(text: str, times: int) -> str:
    return text.upper() + "!" * times
"""
ASK = "user:\n{{x}}\n"


@pytest.fixture
def flow(folder: Path) -> Path:
    flow = flowkit.dag(folder / "asking", FLOW, shout_py=SHOUT)
    (flow / "ask.jinja2").write_text(ASK)
    return flow


@pytest.fixture
def connected(client: PFClient, model_server: ModelServer) -> ModelServer:
    client.connections.create_or_update(OpenAIConnection(KEY, base_url=model_server.base_url, name="mine"))
    return model_server


@pytest.fixture
def recorded(client: PFClient, flow: Path, data: Any, connected: ModelServer) -> Run:
    run = client.run(flow, data=data("a", "b", "c"), column_mapping={"x": "${data.x}"}, record=True)
    connected.requests.clear()
    client.connections.delete("mine")
    return run


def outputs(run: Run) -> list[Any]:
    return [row["o"] for row in run.folder.outputs()]


def tape(run: Run) -> str:
    return (run.folder.path / "tape.jsonl").read_text()


def test_a_replay_makes_the_same_outputs_without_model_and_connection(
    client: PFClient, recorded: Run, connected: ModelServer
) -> None:
    again = client.runs.replay(recorded)
    assert outputs(again) == outputs(recorded) == ["A!", "B!", "C!"]
    assert again.name != recorded.name and again.properties["replay_of"] == recorded.name
    assert connected.requests == [] and client.runs.replay_misses(again) == []
    assert KEY not in tape(recorded)


def test_inputs_of_nodes_can_be_changed(client: PFClient, recorded: Run) -> None:
    assert outputs(client.runs.replay(recorded, overrides={"nodes[shout].inputs.times": 3})) == ["A!!!", "B!!!", "C!!!"]
    by_number = client.runs.replay(recorded, overrides={"nodes[1].inputs.times": 2})
    assert outputs(by_number) == ["A!!", "B!!", "C!!"]
    assert outputs(client.runs.replay(by_number, tape=recorded.folder.path / "tape.jsonl")) == ["A!!", "B!!", "C!!"]
    with pytest.raises(OverrideError, match="no node 'shot'") as raised:
        client.runs.replay(recorded, overrides={"nodes[shot].inputs.times": 3})
    assert raised.value.hint == "did you mean nodes[shout]?"
    with pytest.raises(OverrideError, match="has 2 nodes"):
        client.runs.replay(recorded, overrides={"nodes[2].inputs.times": 3})


def test_a_changed_prompt_is_a_miss_and_no_call(
    client: PFClient, flow: Path, recorded: Run, connected: ModelServer
) -> None:
    (flow / "ask.jinja2").write_text("user:\nplease: {{x}}\n")
    again = client.runs.replay(recorded)
    misses = client.runs.replay_misses(again)
    assert len(misses) == 3 and outputs(again) == [] and connected.requests == []
    first = next(miss for miss in misses if miss["location"].endswith("line 0"))
    assert first["location"] == "node 'ask' in line 0"
    assert "recorded 'a', now 'please: a'" in first["hint"]


def test_data_that_is_gone_comes_from_the_run(client: PFClient, folder: Path, recorded: Run) -> None:
    (folder / "data.jsonl").unlink()
    assert outputs(client.runs.replay(recorded)) == ["A!", "B!", "C!"]


def test_a_run_without_a_tape_says_so(client: PFClient, flow: Path, data: Any, connected: ModelServer) -> None:
    run = client.run(flow, data=data("a"), column_mapping={"x": "${data.x}"})
    with pytest.raises(TapeError, match="has no tape") as raised:
        client.runs.replay(run)
    assert "--record" in raised.value.hint


def test_a_name_that_is_taken_leaves_the_other_tape_alone(
    client: PFClient, flow: Path, data: Any, recorded: Run
) -> None:
    before = tape(recorded)
    client.connections.create_or_update(OpenAIConnection(KEY, base_url="http://127.0.0.1:1", name="mine"))
    with pytest.raises(Exception, match="already exists"):
        client.run(flow, data=data("a"), column_mapping={"x": "${data.x}"}, record=True, name=recorded.name)
    assert tape(recorded) == before


@pytest.mark.parametrize("options", [{"cache": "read"}, {"compute": "ray://there:10001"}])
def test_what_a_recording_cannot_go_with(client: PFClient, flow: Path, data: Any, options: dict[str, str]) -> None:
    with pytest.raises(ValidationException, match="record do not go together"):
        client.run(flow, data=data("a"), record=True, **options)


@pytest.mark.parametrize(("workers", "isolated"), [(0, False), (2, False), (0, True)])
def test_code_of_the_flow_is_recorded_in_workers_too(
    client: PFClient, folder: Path, data: Any, model_server: ModelServer, workers: int, isolated: bool
) -> None:
    client.connections.create_or_update(
        CustomConnection({"key": KEY, "password": PASSWORD}, {"url": model_server.base_url}, name="service")
    )
    isolation = "  isolation: process\n" if isolated else ""
    flow = flowkit.dag(folder / "coded", CODED_FLOW + isolation, fetch_py=FETCH)
    run = client.run(
        flow,
        data=data("a", "b", "c"),
        column_mapping={"x": "${data.x}"},
        record_http=[f"{model_server.url}/weather*"],
        workers=workers,
    )
    assert len(list(run.folder.outputs())) == 3
    client.connections.delete("service")
    model_server.requests.clear()
    again = client.runs.replay(run)
    assert outputs(again) == outputs(run)
    assert model_server.requests == [] and client.runs.replay_misses(again) == []
    assert {call["line"] for call in calls(run.folder.path / "tape.jsonl")} == {0, 1, 2}
    assert KEY not in tape(run) and PASSWORD not in tape(run) and "horse" not in tape(run)


def test_misses_of_workers_are_known(client: PFClient, folder: Path, data: Any, model_server: ModelServer) -> None:
    client.connections.create_or_update(
        CustomConnection({"key": KEY, "password": PASSWORD}, {"url": model_server.base_url}, name="service")
    )
    flow = flowkit.dag(folder / "coded", CODED_FLOW, fetch_py=FETCH)
    run = client.run(flow, data=data("a", "b"), column_mapping={"x": "${data.x}"}, record=True, workers=1)
    model_server.requests.clear()
    misses = client.runs.replay_misses(client.runs.replay(run))
    assert {miss["location"] for miss in misses} == {"node 'fetch' in line 0", "node 'fetch' in line 1"}
    assert "GET /weather" in misses[0]["message"] and model_server.requests == []


CODED_FLOW = """
inputs:
  x: {type: string}
outputs:
  o: {type: object, reference: "${fetch.output}"}
nodes:
- name: fetch
  type: python
  source: {type: code, path: fetch.py}
  inputs: {x: "${inputs.x}", service: service}
"""
FETCH = """
import json
from urllib.request import Request, urlopen

from promptflow.connections import CustomConnection
from promptflow.core import tool


@tool
def fetch(x: str, service: CustomConnection) -> dict:
    body = {"model": "m", "messages": [{"role": "user", "content": f"{x}: {service.password}"}]}
    headers = {"Authorization": "Bearer " + service.key}
    with urlopen(Request(service.url + "/chat/completions", json.dumps(body).encode(), headers)) as response:
        said = json.load(response)["choices"][0]["message"]["content"]
    with urlopen(service.url.removesuffix("/v1") + "/weather?city=" + x) as response:
        weather = json.load(response)
    return {"said": said[:1], "weather": weather["object"]}
"""


def test_an_exported_tape_holds_what_counts(client: PFClient, tmp_path: Path, recorded: Run) -> None:
    twice = tape(recorded)
    lines = twice.splitlines()
    again = [json.loads(line) for line in lines if '"answer"' in line]
    late = [json.dumps({**record, "by": "later"}) for record in again[:1]]
    (recorded.folder.path / "tape.jsonl").write_text("\n".join([*lines, '{"tape": 1, "by": "later"}', *late]) + "\n")
    assert client.runs.export_tape(recorded, tmp_path / "kept.jsonl") == 3
    assert (tmp_path / "kept.jsonl").read_text().count('"later"') == 2


def test_a_run_that_was_killed_and_resumed_has_a_whole_tape(
    client: PFClient, flow: Path, data: Any, connected: ModelServer
) -> None:
    connected.script(*[Reply(delay=0.05)] * 40)
    rows = data(*(f"row {number}" for number in range(40)))
    run = f"run({str(flow)!r}, data={str(rows)!r}, name='long', record=True)"
    child = subprocess.Popen([sys.executable, "-c", f"from promptflow.client import PFClient; PFClient().{run}"])
    while len(connected.requests) < 10:
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    client.runs.resume("long")
    connected.requests.clear()
    again = client.runs.replay("long")
    assert outputs(again) == [f"ROW {number}!" for number in range(40)]
    assert connected.requests == [] and client.runs.replay_misses(again) == []


def test_a_recording_that_is_killed_before_its_run_is_known_leaves_the_name_free(
    client: PFClient, flow: Path, data: Any, connected: ModelServer
) -> None:
    rows = data("a")
    code = (
        "import os\nfrom promptflow.client import PFClient\nfrom promptflow.storage.runs import RunStore\n"
        "RunStore.add = lambda store, record: os._exit(9)\n"
        f"PFClient().run({str(flow)!r}, data={str(rows)!r}, name='r', record=True)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert (Path(client.workspace.runs_folder) / "r").is_dir()
    run = client.run(flow, data=rows, name="r", record=True)
    assert (run.status, outputs(run), len(calls(run.folder.path / "tape.jsonl"))) == ("Completed", ["A!"], 1)
