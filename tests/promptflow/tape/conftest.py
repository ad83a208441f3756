from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fake_model import model_server

__all__ = ["model_server"]


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "tape.jsonl"


def calls(tape: Path) -> list[dict[str, Any]]:
    """The calls that a tape holds."""
    return [record for record in map(json.loads, tape.read_text().splitlines()) if "answer" in record]
