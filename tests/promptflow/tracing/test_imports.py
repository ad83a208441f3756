"""What importing costs: user code pays for it in every process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "aiohttp",
    "alembic",
    "asyncio",
    "cryptography",
    "fastapi",
    "httpx",
    "jinja2",
    "openai",
    "opentelemetry",
    "orjson",
    "rich",
    "sqlalchemy",
    "yaml",
}


@pytest.mark.parametrize(
    "statement",
    [
        "import promptflow.tracing",
        "from promptflow.tracing import trace",
        "from promptflow.tracing.spans import span",
        "from promptflow.tracing.metrics import log_metric",
        "import promptflow.tracing.contracts.trace",
        "from promptflow.connections import CustomConnection",
        "import promptflow.connections.model_config",
    ],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    code = f"{statement}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    loaded = {name.partition(".")[0] for name in json.loads(out)}
    assert not loaded & HEAVY
