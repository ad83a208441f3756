"""Door: Azure AI Content Safety."""

from typing import Any

from promptflow.connections.models import AzureContentSafetyConnection
from promptflow.llm import background
from promptflow.llm.content_safety import TextCategorySensitivity
from promptflow.llm.content_safety import analyze_text as _analyze_text
from promptflow.tooling.decorator import tool

__all__ = ["TextCategorySensitivity", "analyze_text"]

_MEDIUM = TextCategorySensitivity.MEDIUM_SENSITIVITY


@tool
def analyze_text(
    connection: AzureContentSafetyConnection,
    text: str,
    hate_category: TextCategorySensitivity = _MEDIUM,
    sexual_category: TextCategorySensitivity = _MEDIUM,
    self_harm_category: TextCategorySensitivity = _MEDIUM,
    violence_category: TextCategorySensitivity = _MEDIUM,
) -> dict[str, Any]:
    return background.run(
        _analyze_text(connection, text, hate_category, sexual_category, self_harm_category, violence_category)
    )
