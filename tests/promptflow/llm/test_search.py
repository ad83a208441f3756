from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from promptflow.connections.models import SerpConnection
from promptflow.exceptions import SerpAPISystemError, SerpAPIUserError
from promptflow.llm.search import Engine, SafeMode, SerpAPI, search_parameters
from tests.fake_model import ModelServer, Reply


@pytest.fixture(autouse=True)
def serpapi(model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPAPI_URL", f"{model_server.url}/search")


def test_a_search_gives_what_the_service_says(model_server: ModelServer) -> None:
    model_server.script(Reply(body={"organic_results": [{"title": "x"}]}))
    result = SerpAPI(SerpConnection(api_key="k")).search("prompt flow", num=3)
    assert result == {"organic_results": [{"title": "x"}]}
    asked = parse_qs(urlparse(model_server.requests[0].path).query)
    assert (asked["q"], asked["num"], asked["engine"], asked["api_key"]) == (["prompt flow"], ["3"], ["google"], ["k"])


@pytest.mark.parametrize(("status", "error"), [(401, SerpAPIUserError), (501, SerpAPISystemError)])
def test_errors_are_the_users_or_the_services(model_server: ModelServer, status: int, error: type[Exception]) -> None:
    model_server.script(*[Reply(status, {"error": "Invalid API key secret-key"}, {"Retry-After": "0"})] * 3)
    with pytest.raises(error, match="SerpAPI search request failed.*Invalid API key") as caught:
        SerpAPI(SerpConnection(api_key="secret-key")).search("x")
    assert "secret-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "safe", "names"),
    [
        (Engine.GOOGLE, SafeMode.ACTIVE, {"safe": "Active", "num": 2}),
        (Engine.BING, SafeMode.ACTIVE, {"safeSearch": "Strict", "count": 2}),
        ("google", "off", {"num": 2}),
    ],
)
def test_each_engine_has_its_names(engine: str, safe: str, names: dict[str, Any]) -> None:
    parameters = search_parameters("q", None, safe, 2, engine)
    assert parameters == {"q": "q", "engine": str(engine), "output": "json", **names}
