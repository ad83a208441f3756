"""Azure AI Content Safety: is a text acceptable?"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from promptflow.connections.models import AzureContentSafetyConnection
from promptflow.exceptions import AzureContentSafetyInputValueError, AzureContentSafetySystemError
from promptflow.llm import transport
from promptflow.llm.endpoints import USER_AGENT, Endpoint
from promptflow.llm.failures import Failure

OLD_API_VERSION = "2023-04-30-preview"


class TextCategorySensitivity(StrEnum):
    DISABLE = "disable"
    LOW_SENSITIVITY = "low_sensitivity"
    MEDIUM_SENSITIVITY = "medium_sensitivity"
    HIGH_SENSITIVITY = "high_sensitivity"


# The severity from which a text is rejected; None never.
_THRESHOLDS = {"disable": None, "low_sensitivity": 6, "medium_sensitivity": 4, "high_sensitivity": 2}
_MEDIUM = TextCategorySensitivity.MEDIUM_SENSITIVITY


async def analyze_text(
    connection: AzureContentSafetyConnection,
    text: str,
    hate_category: TextCategorySensitivity = _MEDIUM,
    sexual_category: TextCategorySensitivity = _MEDIUM,
    self_harm_category: TextCategorySensitivity = _MEDIUM,
    violence_category: TextCategorySensitivity = _MEDIUM,
) -> dict[str, Any]:
    """``{"suggested_action": Accept|Reject, "action_by_category": {category: …}}``."""
    wishes = {
        "Hate": hate_category,
        "SelfHarm": self_harm_category,
        "Sexual": sexual_category,
        "Violence": violence_category,
    }
    thresholds = {category: _threshold(wish) for category, wish in wishes.items()}
    url = f"{connection.endpoint.rstrip('/')}/contentsafety/text:analyze?api-version={connection.api_version}"
    key = connection.api_key or ""
    headers = {"Ocp-Apim-Subscription-Key": key, "Content-Type": "application/json", "User-Agent": USER_AGENT}
    answer = await transport.post(
        Endpoint(url, headers, key), {"text": text, "blocklistNames": []}, to_error=_service_error
    )
    return decide(answer, thresholds)


def decide(answer: dict[str, Any], thresholds: dict[str, int | None]) -> dict[str, Any]:
    """Accept or reject, by the severities that the service found."""
    severities = _severities(answer)
    actions = {}
    for category, threshold in thresholds.items():
        if category not in severities:
            raise AzureContentSafetySystemError(f"Can not find detection result for {category}")
        rejected = threshold is not None and severities[category] >= threshold
        actions[category] = "Reject" if rejected else "Accept"
    blocked = bool(answer.get("blocklistsMatch") or answer.get("blocklistsMatchResults"))
    worst = "Reject" if blocked or "Reject" in actions.values() else "Accept"
    return {"suggested_action": worst, "action_by_category": actions}


def _severities(answer: dict[str, Any]) -> dict[str, int]:
    """By category; the API's first version had one field each, later ones a list."""
    if isinstance(answer.get("categoriesAnalysis"), list):
        return {item.get("category"): item.get("severity", 0) for item in answer["categoriesAnalysis"]}
    fields = {
        "Hate": "hateResult",
        "SelfHarm": "selfHarmResult",
        "Sexual": "sexualResult",
        "Violence": "violenceResult",
    }
    return {name: answer[key]["severity"] for name, key in fields.items() if "severity" in (answer.get(key) or {})}


def _threshold(wish: str) -> int | None:
    if str(wish) not in _THRESHOLDS:
        raise AzureContentSafetyInputValueError(
            f"Non-supported sensitivity: {wish}", hint=f"one of {', '.join(_THRESHOLDS)}"
        )
    return _THRESHOLDS[str(wish)]


def _service_error(failure: Failure, retries: int) -> Exception:
    return AzureContentSafetySystemError(f"Error in detecting content: {failure.message}")
