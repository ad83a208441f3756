from __future__ import annotations

from typing import Any

import pytest

from promptflow.connections.models import AzureContentSafetyConnection
from promptflow.exceptions import AzureContentSafetyInputValueError, AzureContentSafetySystemError
from promptflow.llm import background
from promptflow.llm.content_safety import analyze_text, decide
from tests.fake_model import ModelServer, Reply

CATEGORIES = ("Hate", "SelfHarm", "Sexual", "Violence")


def found(**severities: int) -> dict[str, Any]:
    return {"categoriesAnalysis": [{"category": c, "severity": severities.get(c, 0)} for c in CATEGORIES]}


def analyze(server: ModelServer, **wishes: Any) -> dict[str, Any]:
    connection = AzureContentSafetyConnection(api_key="k", endpoint=server.url)
    return background.run(analyze_text(connection, "text", **wishes))


def test_a_harmless_text_is_accepted(model_server: ModelServer) -> None:
    model_server.script(Reply(body=found()))
    assert analyze(model_server) == {
        "suggested_action": "Accept",
        "action_by_category": dict.fromkeys(CATEGORIES, "Accept"),
    }
    (request,) = model_server.requests
    assert request.path == "/contentsafety/text:analyze?api-version=2023-10-01"
    assert request.headers["ocp-apim-subscription-key"] == "k"


@pytest.mark.parametrize(
    ("severity", "wish", "action"),
    [
        (4, "medium_sensitivity", "Reject"),
        (2, "medium_sensitivity", "Accept"),
        (2, "high_sensitivity", "Reject"),
        (4, "low_sensitivity", "Accept"),
        (6, "disable", "Accept"),
    ],
)
def test_severity_and_sensitivity_decide(model_server: ModelServer, severity: int, wish: str, action: str) -> None:
    model_server.script(Reply(body=found(Violence=severity)))
    result = analyze(model_server, violence_category=wish)
    assert result["suggested_action"] == result["action_by_category"]["Violence"] == action


def test_the_first_version_of_the_api_is_understood() -> None:
    assert decide({"hateResult": {"severity": 6}}, {"Hate": 4})["suggested_action"] == "Reject"


def test_a_blocklist_rejects() -> None:
    assert decide({**found(), "blocklistsMatch": [1]}, {"Hate": 4})["suggested_action"] == "Reject"


def test_a_category_without_a_result_is_an_error() -> None:
    with pytest.raises(AzureContentSafetySystemError, match="Hate"):
        decide({"categoriesAnalysis": []}, {"Hate": 4})


def test_an_unknown_sensitivity_is_an_error(model_server: ModelServer) -> None:
    with pytest.raises(AzureContentSafetyInputValueError, match="extreme"):
        analyze(model_server, hate_category="extreme")


def test_what_the_service_refuses_is_an_error(model_server: ModelServer) -> None:
    model_server.script(Reply.error(401, "who are you"))
    with pytest.raises(AzureContentSafetySystemError, match="who are you"):
        analyze(model_server)
