"""Batch endpoints over HTTP: made, asked as Azure's clients ask, and their jobs followed to the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serve.api.test_rest import caller
from tests.serve.supervisor.world import World, world

AT = "v1/batch-endpoints/sums"
DRIVER = """
import os
from pathlib import Path

def init():
    print("began with", os.environ["LEVEL"])

def run(mini_batch):
    return [f"{Path(file).name} {len(open(file).read())}" for file in mini_batch]
"""
SLOW = "import time\n\ndef run(mini_batch):\n    time.sleep(30)\n    return list(mini_batch)\n"
Call = Callable[..., Awaitable[tuple[int, Any]]]


def deployment(folder: Path, driver: str = DRIVER, **keys: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    (folder / "driver.py").write_text(driver)
    return {
        "code_configuration": {"code": str(folder), "scoring_script": "driver.py"},
        "environment_variables": {"LEVEL": "high"}, "settings": {"mini_batch_size": 2}, **keys,
    }  # fmt: skip


def data(folder: Path) -> str:
    (folder / "data").mkdir()
    for at in range(3):
        (folder / "data" / f"{at}.txt").write_text("x" * at)
    return str(folder / "data")


def asked(uri: str, **more: Any) -> dict[str, Any]:
    return {"properties": {"InputData": {"files": {"JobInputType": "UriFolder", "Uri": uri}}, **more}}


async def made(call: Call, folder: Path, driver: str = DRIVER) -> None:
    assert (await call("PUT", AT, {"description": "sums"}))[0] == 200
    assert (await call("PUT", f"{AT}/deployments/first", deployment(folder / "code", driver)))[0] == 200


async def ended(call: Call, name: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (job := (await call("GET", f"v1/jobs/{name}"))[1])["status"] in ("NotStarted", "Running"):
            await asyncio.sleep(0.1)
    found: dict[str, Any] = job
    return found


async def log_of(it: World, name: str) -> str:
    url = f"http://127.0.0.1:{it.port}/api/v1/jobs/{name}/log?follow=true"
    async with it.session.get(url, headers={"Authorization": f"Bearer {it.app.key}"}) as answer:
        assert answer.content_type == "text/plain"
        return await answer.text()


def test_a_job_from_its_request_to_its_end(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            call, target = caller(it), tmp_path / "out"
            await made(call, tmp_path)
            output = {"score": {"JobOutputType": "UriFile", "Uri": f"{target}/sizes.csv"}}
            status, job = await call("POST", f"{AT}/jobs", asked(data(tmp_path), OutputData=output, tags={"a": 1}))
            assert (status, job["endpoint_name"], job["deployment_name"]) == (200, "sums", "first")
            assert job["id"] == f"/jobs/{job['name']}" and job["properties"]["status"] == job["status"]
            log = await log_of(it, job["name"])  # until the job has ended
            done = await ended(call, job["name"])
            assert (done["status"], done["tags"]) == ("Completed", {"a": "1"})
            assert (target / "sizes.csv").read_text() == "0.txt 0\n1.txt 1\n2.txt 2\n"
            assert done["outputs"] == {"score": {"type": "uri_file", "path": f"{target}/sizes.csv"}}
            assert "Completed" in log
            for at in (f"{AT}/jobs", "v1/jobs"):
                assert [one["name"] for one in (await call("GET", at))[1]] == [job["name"]]
            assert (await call("GET", f"{AT}/jobs/{job['name']}"))[1]["status"] == "Completed"
            assert (await call("GET", f"v1/batch-endpoints/other/jobs/{job['name']}"))[0] == 404
            assert (await call("POST", f"v1/jobs/{job['name']}/cancel"))[0] == 409
            assert (await call("POST", f"v1/jobs/{job['name']}/resume"))[0] == 409

    asyncio.run(play())


def test_a_job_is_canceled_and_resumed(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            call = caller(it)
            await made(call, tmp_path, SLOW)
            _, job = await call("POST", f"{AT}/jobs", asked(data(tmp_path), MiniBatchSize=1))
            status, canceled = await call("POST", f"v1/jobs/{job['name']}/cancel")
            assert (status, canceled["status"]) == (200, "Canceled")
            status, again = await call("POST", f"v1/jobs/{job['name']}/resume")
            assert (status, again["status"] in ("NotStarted", "Running")) == (200, True)
            assert (await call("POST", f"v1/jobs/{job['name']}/cancel"))[1]["status"] == "Canceled"
            await log_of(it, job["name"])  # ends, for the job has

    asyncio.run(play())


def test_endpoints_and_deployments_are_made_changed_and_deleted(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            call = caller(it)
            await made(call, tmp_path)
            assert (await call("PUT", AT, {}))[0] == 409
            _, endpoint = await call("GET", AT)
            assert (endpoint["defaults"], endpoint["deployments"]) == ({"deployment_name": "first"}, ["first"])
            assert endpoint["scoring_uri"].endswith("/batch-endpoints/sums/jobs")
            second = deployment(tmp_path / "more", settings={"error_threshold": 5})
            status, put = await call("PUT", f"{AT}/deployments/second?default=true", second)
            assert (status, put["default"], put["settings"]["error_threshold"]) == (200, True, 5)
            assert put["spec"]["variables"] == {"LEVEL": "***"}
            assert (await call("PUT", f"{AT}/deployments/second", second))[0] == 409
            status, put = await call("PUT", f"{AT}/deployments/second", {**second, "revision": 1, "description": "b"})
            assert (status, put["revision"], put["description"]) == (200, 2, "b")
            assert [one["default"] for one in (await call("GET", f"{AT}/deployments"))[1]] == [False, True]
            revision = (await call("GET", AT))[1]["revision"]
            body = {"defaults": {"deployment_name": "first"}, "description": "c", "revision": revision}
            assert (await call("PUT", AT, body))[1]["defaults"] == {"deployment_name": "first"}
            assert (await call("PUT", AT, body))[0] == 409
            assert (await call("DELETE", f"{AT}/deployments/first"))[0] == 409  # the default one
            assert await call("DELETE", f"{AT}/deployments/second") == (200, {"deleted": "second"})
            assert (await call("GET", f"{AT}/deployments/second"))[0] == 404
            assert await call("DELETE", AT) == (200, {"deleted": "sums"})
            assert await call("GET", "v1/batch-endpoints") == (200, [])

    asyncio.run(play())


BAD = [
    ({"properties": {}}, "one input"),
    ({"properties": {"InputData": {"a": {"JobInputType": "UriFolder", "Uri": "data"}}}}, "relative"),
    ({"properties": {"InputData": {"a": {"JobInputType": "UriFolder", "Uri": "/no/such/data"}}}}, "no file or folder"),
    ({"properties": {"InputData": {"a": {"JobInputType": "UriFolder"}}}}, "no Uri"),
    ({"properties": {"InputData": {"a": {"JobInputType": "Folder", "Uri": "/tmp"}}}}, "of type 'Folder'"),
    ({"properties": {"InputData": {"a": {"JobInputType": "Literal", "Value": 1}}}}, "one input"),
    ({"properties": {"InputData": ["a"]}}, "a mapping"),
    ({"properties": {"InputDatum": {}}}, "InputDatum is not known"),
    (asked("/tmp", OutputData={"other": {}}), "one output"),
    (asked("/tmp", OutputData={"score": {"Uri": "out"}}), "relative"),
    (asked("/tmp", MiniBatchSize="many"), "mini_batch_size"),
    (asked("/tmp", RetrySettings={"timeout": "PTX"}), "timeout"),
    (asked("/tmp", name="a/b"), "no name of a job"),
    (asked("/tmp", name=5), "a text"),
]


@pytest.mark.parametrize("body, said", BAD, ids=[said for _, said in BAD])
def test_a_request_that_is_none_starts_nothing(tmp_path: Path, body: dict[str, Any], said: str) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            call = caller(it)
            await made(call, tmp_path)
            status, error = await call("POST", f"{AT}/jobs", body)
            assert status == 400 and said in error["error"]["message"], error
            assert (await call("GET", "v1/jobs"))[1] == []

    asyncio.run(play())


def test_the_header_names_the_deployment(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            call = caller(it)
            await made(call, tmp_path)
            await call("PUT", f"{AT}/deployments/second", deployment(tmp_path / "more"))
            url, uri = f"http://127.0.0.1:{it.port}/api/{AT}/jobs", data(tmp_path)
            for name, status in (("second", 200), ("none", 404)):
                headers = {"Authorization": f"Bearer {it.app.key}", "azureml-model-deployment": name}
                async with it.session.post(url, json=asked(uri), headers=headers) as answer:
                    assert answer.status == status
                    job = await answer.json()
                if status == 200:
                    assert job["deployment_name"] == name
                    assert (await ended(call, job["name"]))["status"] == "Completed"

    asyncio.run(play())
