"""Flows and language models as deployments."""

import json

import pytest

from serve.endpoints.spec import FLOW, LLM, SCRIPT, Spec
from serve.scorers.__main__ import NOT_LOADED
from tests.serve.scorers.workers import worker

DAG = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${node.output}"}
nodes:
- {name: node, type: python, source: {type: code, path: node.py}, inputs: {x: "${inputs.x}"}}
"""


def test_a_flow(tmp_path):
    code = tmp_path / "flow"
    code.mkdir()
    (code / "flow.dag.yaml").write_text(DAG)
    (code / "node.py").write_text(
        "from promptflow.core import tool\nimport serve\n@tool\ndef node(x: str):\n    return x.upper() + serve.OWN\n"
    )
    (code / "serve.py").write_text("OWN = ' by its own serve.py'")
    with worker(tmp_path / "w", Spec(FLOW, code=code, scoring_script="flow.dag.yaml")) as blue:
        assert blue.score({"x": "hi"}).json() == {"o": "HI by its own serve.py"}
        assert blue.score({}).json()["error"]["code"] == "UserError"
        assert blue.http.get("/ready").text == "Ready"
        assert blue.http.get("/swagger.json").json()["openapi"] == "3.0.0"


def test_a_language_model_answers_to_the_name_of_its_endpoint(tmp_path, monkeypatch):
    openai = pytest.importorskip("openai")
    monkeypatch.setenv("PF_ENDPOINT_NAME", "chatty")
    with worker(tmp_path / "w", Spec(LLM, model="fake/echo", options={"engine": "fake"})) as blue:
        client = openai.OpenAI(base_url="http://worker/v1", api_key="none", http_client=blue.http)
        said = client.chat.completions.create(model="chatty", messages=[{"role": "user", "content": "hello"}])
        assert "hello" in said.choices[0].message.content and said.model == "chatty"


def test_init_may_have_an_event_loop_of_its_own(tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    text = "import asyncio\ndef init(): asyncio.run(asyncio.sleep(0))\ndef run(raw): return 1"
    (code / "score.py").write_text(text)
    with worker(tmp_path / "w", Spec(SCRIPT, code=code, scoring_script="score.py")) as blue:
        assert blue.score(None).json() == 1


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (Spec(LLM, model="no-such-model"), "no-such-model"),
        (Spec("video"), "Deployments of the kind 'video' cannot be run"),
    ],
)
def test_what_cannot_be_served_ends_with_the_reason(tmp_path, spec, told, monkeypatch):
    monkeypatch.setenv("PF_HOME_DIRECTORY", str(tmp_path / "home"))
    with worker(tmp_path / "w", spec, ready=False) as found:
        assert found.process.wait(60) == NOT_LOADED
        assert told in json.dumps(found.log)
