"""Deployments that are made, replaced and refused over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.serve.api.test_rest import caller
from tests.serve.supervisor.world import says, world

AT = "v1/endpoints/shop/deployments"


def code(folder: Path, text: str) -> dict[str, Any]:
    """The YAML of a deployment of a score.py, as JSON."""
    folder.mkdir()
    (folder / "score.py").write_text(says(text))
    return {"code_configuration": {"code": str(folder), "scoring_script": "score.py"}}


def test_a_deployment_is_made_and_replaced(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            call = caller(it)
            await it.endpoint()
            first = {**code(tmp_path / "a", "one"), "environment_variables": {"TOKEN": "secret"}, "compute": "cluster"}
            status, made = await call("PUT", f"{AT}/blue", first)
            assert (status, made["revision"], made["spec"]["variables"]) == (200, 1, {"TOKEN": "***"})
            assert any("compute" in note for note in made["notes"])
            await it.until(lambda: it.status("blue")["state"] == "Ready", "blue is ready")
            await call("PUT", "v1/endpoints/shop/traffic", {"traffic": {"blue": 100}})
            assert await it.ask() == (200, b'"one"')
            second = code(tmp_path / "b", "two")
            assert (await call("PUT", f"{AT}/blue", second))[0] == 409  # it is there already
            assert (await call("PUT", f"{AT}/blue", {**second, "revision": 7}))[0] == 409
            assert (await call("PUT", f"{AT}/green", {**second, "revision": 1}))[0] == 404
            status, changed = await call("PUT", f"{AT}/blue", {**second, "revision": 1})
            assert (status, changed["revision"], changed["spec"]["variables"]) == (200, 2, {})
            answers = {(await it.ask())[0]}
            await it.until(lambda: it.status("blue")["revision"] == 2 and it.status("blue")["state"] == "Ready", "two")
            answers.add((await it.ask())[0])
            assert answers == {200}
            assert (await it.ask())[1] == b'"two"'

    asyncio.run(play())


@pytest.mark.parametrize(
    "body, said",
    [
        ({"code_configuration": {"code": "code", "scoring_script": "score.py"}}, "a relative path"),
        ({"code_configuration": {"code": "/", "scoring_script": "score.py"}}, "all of the machine"),
        ({"flow": "~"}, "a relative path"),
        ({"model": "./model"}, "a relative path"),
        ({"model": {"path": "file:model"}}, "a relative path"),
        ({"model": "iris:3", "environment": {"conda_file": "conda.yml"}}, "a relative path"),
        ({"model": "iris:3", "adapters": {"a": ".."}}, "a relative path"),
        ({"flow": "/no/such/flow"}, "no file or folder"),
        ({"model": "none-of-this-name:1"}, "none-of-this-name"),
        ({}, "needs a model"),
        ({"model": "iris:3", "instance_count": "many"}, "instance_count"),
    ],
)
def test_a_deployment_that_is_none_is_refused(tmp_path: Path, body: dict[str, Any], said: str) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            status, error = await caller(it)("PUT", f"{AT}/blue", body)
            assert 400 <= status < 500 and said in error["error"]["message"], error
            assert await asyncio.to_thread(it.store.deployments, "shop") == []

    asyncio.run(play())


def test_a_deployment_of_no_endpoint_is_not_kept(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            assert (await caller(it)("PUT", f"{AT}/blue", code(tmp_path / "a", "one")))[0] == 404

    asyncio.run(play())
