"""What the path to a model loads: no SDK, no database, no server."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "openai",
    "httpx",
    "sqlalchemy",
    "alembic",
    "fastapi",
    "pydantic",
    "rich",
    "pandas",
    "cryptography",
    "tiktoken",
)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("promptflow.llm.node", HEAVY),
        ("promptflow.llm.prompt_node", (*HEAVY, "aiohttp", "asyncio", "orjson")),
        ("promptflow.llm.transport", (*HEAVY, "aiohttp")),
        ("promptflow.llm.builtin_tools", (*HEAVY, "aiohttp", "asyncio", "jinja2")),
        ("promptflow.executor.prompty", HEAVY),
    ],
)
def test_a_module_loads_only_what_it_needs(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sorted(set({absent!r}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
