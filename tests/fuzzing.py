"""Requests that schemathesis makes of an OpenAPI document, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

needs_schemathesis = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="needs schemathesis, which `.[dev]` brings"
)
PROGRAM = "from schemathesis.cli import schemathesis; schemathesis()"


def find_no_5xx(folder: Path, document: Any, url: str, *options: str, key: str = "", **parameters: str) -> None:
    """Fails, with the request that did it, where an answer is a 5xx or none. ``parameters`` stand in every path."""
    folder.mkdir()
    (folder / "openapi.json").write_text(json.dumps(document))
    pinned = "".join(f"{name} = {json.dumps(value)}\n" for name, value in parameters.items())
    (folder / "schemathesis.toml").write_text(f"[parameters]\n{pinned}")
    header = ("-H", f"Authorization: Bearer {key}") if key else ()
    told = ("--checks", "not_a_server_error", "--max-examples", "25", "--seed", "1", "--generation-database", "none")
    words = [sys.executable, "-c", PROGRAM, "run", "openapi.json", "--url", url, *told, *header, *options]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
