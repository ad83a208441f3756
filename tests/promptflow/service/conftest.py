"""A service on a real port, over a workspace with two runs and their traces."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import uvicorn

from promptflow.client import PFClient
from promptflow.connections import CustomConnection, OpenAIConnection
from promptflow.service.app import make_app
from promptflow.workspace import Workspace

KEY = "the-key-of-the-workspace"
SECRET = "sk-never-to-be-seen"
FILES = {
    "shout/flow.dag.yaml": """
inputs: {text: {type: string}}
outputs: {answer: {type: string, reference: "${shout.output}"}}
nodes:
- {name: shout, type: python, source: {type: code, path: shout.py}, inputs: {text: "${inputs.text}"}}
""",
    "shout/shout.py": """
from promptflow.core import tool

@tool
def shout(text: str) -> str:
    if text == "bad":
        raise ValueError("bad text")
    return text.upper()
""",
    "grade/flow.dag.yaml": """
inputs: {answer: {type: string}}
outputs: {score: {type: int, reference: "${grade.output}"}}
nodes:
- {name: grade, type: python, source: {type: code, path: grade.py}, inputs: {answer: "${inputs.answer}"}}
- name: total
  type: python
  source: {type: code, path: total.py}
  inputs: {scores: "${grade.output}"}
  aggregation: true
""",
    "grade/grade.py": "from promptflow.core import tool\n@tool\ndef grade(answer: str) -> int:\n    return len(answer)\n",
    "grade/total.py": """
from promptflow.core import log_metric, tool

@tool
def total(scores: list) -> int:
    log_metric("mean", sum(scores) / len(scores))
    return sum(scores)
""",
    "data.jsonl": '{"text": "hello"}\n{"text": "bad"}\n{"text": "you"}\n',
}


@dataclass
class Service:
    port: int
    folder: Path
    main: str = "said"
    graded: str = "graded"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON, or the text, of an answer."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(f"http://127.0.0.1:{self.port}/v1.0/{path}", data, named, method=method)
        if data is not None:
            request.add_unredirected_header("content-type", headers.get("content_type", "application/json"))
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, _read(answer)
        except HTTPError as error:
            with error:
                return error.code, _read(error)

    def get(self, path: str) -> Any:
        status, found = self.ask("GET", path)
        assert status == 200, found
        return found


def _read(answer: Any) -> Any:
    text = answer.read().decode()
    return json.loads(text) if answer.headers.get_content_type() == "application/json" else text


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch, Workspace.open(folder / "home", "") as workspace:
        patch.setenv("PF_HOME_DIRECTORY", str(workspace.home))
        patch.setenv("PF_DISABLE_TRACING", "false")
        fill(workspace, folder)
        app = make_app(workspace, KEY, "2")
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield Service(listener.getsockname()[1], folder)
        server.should_exit = True
        thread.join()


def fill(workspace: Workspace, folder: Path) -> None:
    """Two runs, ``said`` and ``graded``, whose flows are in ``folder``, and two connections."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    client = PFClient(workspace=workspace)
    client.connections.create_or_update(CustomConnection(name="bag", configs={"url": "x"}, secrets={"key": SECRET}))
    client.connections.create_or_update(OpenAIConnection(name="model", api_key=SECRET))
    run = client.run(folder / "shout", data=folder / "data.jsonl", name="said", tags={"of": "tests"})
    client.run(folder / "grade", run=run, name="graded", column_mapping={"answer": "${run.outputs.answer}"})
