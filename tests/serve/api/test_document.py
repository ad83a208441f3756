"""The published OpenAPI document is that of the code."""

from __future__ import annotations

import json
from pathlib import Path

from serve.api.document import document

PUBLISHED = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_the_published_document_is_up_to_date() -> None:
    found, expected = json.loads(document()), json.loads(PUBLISHED.read_text())
    assert found == expected, "python -m serve.api.document > docs/openapi.json"


def test_every_operation_says_what_it_is_for_and_what_it_answers() -> None:
    for path, operations in json.loads(document())["paths"].items():
        for method, operation in operations.items():
            assert operation["description"].endswith("."), (method, path)
            content = operation["responses"]["200"]["content"]
            assert "text/plain" in content or content["application/json"]["schema"], (method, path)
            assert "401" in operation["responses"], (method, path)
