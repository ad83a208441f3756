"""schemathesis finds no 5xx: neither in the REST API nor in a deployment."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.fuzzing import find_no_5xx, needs_schemathesis
from tests.serve.supervisor.world import says, world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_schemathesis]
PUBLISHED = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())
SCRIPT = """
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

@input_schema("data", StandardPythonParameterType({"n": 1, "words": ["a"]}))
@output_schema(StandardPythonParameterType([1.5]))
def run(data):
    return data
"""


def test_in_the_rest_api(tmp_path: Path) -> None:
    """Of what is there, and of what is not; only the first search leaves it there."""

    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", says("blue"))
            url, key = f"http://127.0.0.1:{it.port}", it.app.key
            # PATCH scales, and would start a thousand processes
            kept = ("--exclude-method", "DELETE", "--exclude-method", "PATCH")
            there = {"name": "shop", "deployment": "blue", "key": key}
            await asyncio.to_thread(find_no_5xx, tmp_path / "there", PUBLISHED, url, *kept, **there)
            assert it.status("blue")["state"] == "Ready"
            await asyncio.to_thread(find_no_5xx, tmp_path / "any", PUBLISHED, url, key=key)

    asyncio.run(play())


def test_in_a_deployment_that_says_what_it_takes(tmp_path: Path) -> None:
    pytest.importorskip("inference_schema")

    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", SCRIPT)
            await it.traffic({"blue": 100})
            key = it.store.keys("shop").primary
            url = f"http://127.0.0.1:{it.port}/endpoints/shop"
            async with it.session.get(f"{url}/swagger.json", headers={"Authorization": f"Bearer {key}"}) as answer:
                document = await answer.json(content_type=None)
            assert "/score" in document["paths"]
            await asyncio.to_thread(find_no_5xx, tmp_path / "score", document, url, key=key)
            assert (await it.ask(b'{"data": {"n": 2, "words": []}}'))[0] == 200

    asyncio.run(play())
