"""schemathesis finds no 5xx: neither in the REST API nor in a deployment."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.fuzzing import find_no_5xx, needs_schemathesis
from tests.promptflow.service.conftest import fill
from tests.serve.api.test_batch import asked, data, deployment, ended
from tests.serve.api.test_rest import caller
from tests.serve.supervisor.world import World, says, world

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
            await batch(it, tmp_path)
            url, key = f"http://127.0.0.1:{it.port}", it.app.key
            # PATCH scales, and would start a thousand processes
            kept = ("--exclude-method", "DELETE", "--exclude-method", "PATCH")
            there = {"name": "shop", "deployment": "blue", "job": "done", "key": key}
            await asyncio.to_thread(find_no_5xx, tmp_path / "there", PUBLISHED, url, *kept, **there)
            assert it.status("blue")["state"] == "Ready"
            await asyncio.to_thread(find_no_5xx, tmp_path / "any", PUBLISHED, url, key=key)

    asyncio.run(play())


async def batch(it: World, folder: Path) -> None:
    """A batch endpoint of the same names, and a job that has ended."""
    call, at = caller(it), "v1/batch-endpoints/shop"
    assert (await call("PUT", at, {}))[0] == 200
    assert (await call("PUT", f"{at}/deployments/blue", deployment(folder / "batch")))[0] == 200
    assert (await call("POST", f"{at}/jobs", asked(data(folder), name="done")))[0] == 200
    assert (await ended(call, "done"))["status"] == "Completed"


def test_in_what_prompt_flows_service_answered(tmp_path: Path) -> None:
    """Of what is there, and of what is not."""

    async def play() -> None:
        async with world(tmp_path) as it:
            url, key = f"http://127.0.0.1:{it.port}", it.app.key
            async with it.session.get(f"{url}/v1.0/swagger.json") as answer:
                document = await answer.json()
            assert "/v1.0/LineRuns/list" in document["paths"]
            await asyncio.to_thread(fill, it.app.workspace, tmp_path / "flows")
            there = {"name": "said", "node": "shout", "key": key}
            await asyncio.to_thread(
                find_no_5xx, tmp_path / "there", document, url, "--exclude-method", "DELETE", **there
            )
            await asyncio.to_thread(find_no_5xx, tmp_path / "any", document, url, key=key)

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
