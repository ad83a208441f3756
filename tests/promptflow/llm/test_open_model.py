from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import ConnectionNotFoundError, OpenModelLLMUserError
from promptflow.llm.open_model import OpenModelLLM
from tests.fake_model import ModelServer


@pytest.fixture(autouse=True)
def connections(model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(kind: str, **value: Any) -> dict[str, Any]:
        return {"type": kind, "value": value, "secret_keys": [key for key in value if key.endswith("key")]}

    file = tmp_path / "connections.json"
    custom = entry("CustomConnection", endpoint_url=model_server.url, endpoint_api_key="k", model_family="LLaMa")
    known = {
        "llama": custom,
        "serverless": entry("ServerlessConnection", api_base=model_server.url, api_key="k"),
        "empty": entry("CustomConnection", other="x"),
    }
    file.write_text(json.dumps(known))
    monkeypatch.setenv("PROMPTFLOW_CONNECTIONS", str(file))


@pytest.mark.parametrize("name", ["llama", "serverless"])
def test_a_model_behind_a_connection_answers(model_server: ModelServer, name: str) -> None:
    tool = OpenModelLLM()
    text = tool.call("user:\n{{q}}", "chat", f"connection/{name}", max_new_tokens=7, model_kwargs={"seed": 1}, q="hi")
    assert text == "hi"
    body = model_server.bodies[0]
    assert (body["max_tokens"], body["seed"]) == (7, 1)
    assert model_server.requests[0].headers["authorization"] == "Bearer k"


def test_completion_is_asked_for_by_name(model_server: ModelServer) -> None:
    assert OpenModelLLM().call("say {{q}}", "completion", "connection/serverless", q="hi") == "say hi …"


@pytest.mark.parametrize(
    ("endpoint", "error"),
    [
        ("onlineEndpoint/llama", OpenModelLLMUserError),
        ("", OpenModelLLMUserError),
        ("connection/empty", OpenModelLLMUserError),
        ("connection/nobody", ConnectionNotFoundError),
    ],
)
def test_other_endpoints_are_user_errors(endpoint: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        OpenModelLLM().call("user:\nx", "chat", endpoint)
