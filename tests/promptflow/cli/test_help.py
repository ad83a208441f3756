from __future__ import annotations

from pathlib import Path

from promptflow.cli.reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_reference_page_is_the_help() -> None:
    """When this fails: python -m promptflow.cli.reference > docs/cli.md"""
    assert PAGE.read_text(encoding="utf-8") == reference()
