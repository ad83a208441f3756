"""The REST API of a server, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serve.endpoints.records import Endpoint
from tests.serve.supervisor.world import World, says, world

Call = Callable[..., Awaitable[tuple[int, Any]]]


def caller(it: World) -> Call:
    async def call(method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key or it.app.key}"}
        url = f"http://127.0.0.1:{it.port}/api/{path}"
        async with it.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, json.loads(await answer.read())

    return call


def test_endpoints_are_made_changed_and_deleted(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            call = caller(it)
            assert await call("GET", "v1/endpoints") == (200, [])
            status, made = await call("PUT", "v1/endpoints/shop", {"description": "first"})
            assert (status, made["revision"], made["auth_mode"]) == (200, 1, "key")
            assert made["scoring_uri"].endswith("/endpoints/shop/score")
            assert (await call("PUT", "v1/endpoints/shop", {}))[0] == 409
            status, changed = await call("PUT", "v1/endpoints/shop", {"description": "second", "revision": 1})
            assert (status, changed["description"], changed["revision"]) == (200, "second", 2)
            assert (await call("PUT", "v1/endpoints/shop", {"revision": 1}))[0] == 409
            kept = it.app.store.update(replace(it.app.store.get("shop"), recorded={"identity": {"type": "none"}}))
            await call("PUT", "v1/endpoints/shop", {"description": "second", "revision": kept.revision})
            assert it.app.store.get("shop").recorded == kept.recorded  # what only the YAML says stays
            assert (await call("GET", "v1/endpoints/shop"))[1]["description"] == "second"
            assert await call("DELETE", "v1/endpoints/shop") == (200, {"deleted": "shop"})
            assert (await call("GET", "v1/endpoints/shop"))[0] == 404

    asyncio.run(play())


def test_a_change_of_traffic_is_in_force_when_the_answer_comes(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            call = caller(it)
            await it.endpoint()
            await it.deploy("blue", says("blue"))
            assert (await call("PUT", "v1/endpoints/shop/traffic", {"traffic": {"blue": 100}}))[0] == 200
            assert await it.ask() == (200, b'"blue"')
            assert (await call("PUT", "v1/endpoints/shop/traffic", {"traffic": {"blue": 101}}))[0] == 422
            assert (await call("PUT", "v1/endpoints/shop/traffic", {"traffic": {"blue": 50}}))[0] == 400
            status, error = await call("DELETE", "v1/endpoints/shop/deployments/blue")
            assert (status, "traffic" in error["error"]["message"]) == (409, True)

    asyncio.run(play())


def test_keys_are_shown_and_replaced(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            call = caller(it)
            await it.endpoint()
            await it.deploy("blue", says("blue"))
            await it.traffic({"blue": 100})
            _, keys = await call("GET", "v1/endpoints/shop/keys")
            _, after = await call("POST", "v1/endpoints/shop/keys/primary")
            assert after["primary"] != keys["primary"] and after["secondary"] == keys["secondary"]
            assert (await it.ask(Authorization=f"Bearer {keys['primary']}"))[0] == 401
            assert (await it.ask(Authorization=f"Bearer {after['primary']}"))[0] == 200
            assert (await call("POST", "v1/endpoints/shop/token"))[0] == 400
            assert (await call("POST", "v1/endpoints/shop/keys/other"))[0] == 422

    asyncio.run(play())


def test_deployments_are_shown_scaled_and_read(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            call, at = caller(it), "v1/endpoints/shop/deployments"
            await it.endpoint()
            await it.deploy("blue", says("blue", "print('hello from init')"), variables={"TOKEN": "secret"})
            assert [one["name"] for one in (await call("GET", at))[1]] == ["blue"]
            _, shown = await call("GET", f"{at}/blue")
            assert shown["spec"]["variables"] == {"TOKEN": "***"}
            _, status = await call("GET", f"{at}/blue/status")
            assert (status["state"], status["instances_ready"]) == ("Ready", 1)
            _, logs = await call("GET", f"{at}/blue/logs?lines=5")
            assert any("hello from init" in line for line in logs[0]["lines"])
            status_code, scaled = await call("PATCH", f"{at}/blue/scale", {"instance_count": 2})
            assert (status_code, scaled["spec"]["max_instances"]) == (200, 2)
            await it.until(lambda: it.status("blue")["instances_ready"] == 2, "two are ready")
            assert (await call("PATCH", f"{at}/blue/scale", {}))[0] == 400
            assert (await call("PATCH", f"{at}/blue/scale", {"min_instances": 9}))[0] == 400
            assert (await call("GET", f"{at}/none/status"))[0] == 404
            assert await call("DELETE", f"{at}/blue") == (200, {"deleted": "blue"})

    asyncio.run(play())


def test_openai_clients_list_the_endpoints_that_their_key_opens(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await asyncio.to_thread(it.store.create, Endpoint("other"))
            await it.app.reload()
            own = (await asyncio.to_thread(it.store.keys, "shop")).primary
            url = f"http://127.0.0.1:{it.port}/v1/models"
            async with it.session.get(url, headers={"Authorization": f"Bearer {own}"}) as answer:
                assert [one["id"] for one in (await answer.json())["data"]] == ["shop"]
            async with it.session.get(url) as answer:
                assert answer.status == 401

    asyncio.run(play())


@pytest.mark.parametrize("path", ["v1/endpoints", "v1/endpoints/shop", "v1/endpoints/shop/keys"])
def test_without_the_workspaces_key_nothing_is_shown(tmp_path: Path, path: str) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            assert (await caller(it)("GET", path))[0] == 200
            own = (await asyncio.to_thread(it.store.keys, "shop")).primary
            for key in ("wrong", own):
                assert (await caller(it)("GET", path, key=key))[0] == 401

    asyncio.run(play())


@pytest.mark.parametrize("name", ["..", "..%2F..%2Fetc", "a%00b", "%FF", "x" * 100, "a b"])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            for method, rest in (("GET", ""), ("PUT", ""), ("GET", "/keys"), ("GET", "/deployments/x/logs")):
                status, _ = await caller(it)(method, f"v1/endpoints/{name}{rest}", {} if method == "PUT" else None)
                assert 400 <= status < 500

    asyncio.run(play())


def test_bodies_of_strangers_are_not_read_and_others_have_an_end(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            for path, key, status in (
                ("api/v1/endpoints/shop", "wrong", 401),
                ("api/v1/endpoints/shop", it.app.key, 413),
                ("v1.0/Connections/bag", it.app.key, 413),
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
                head = f"PUT /{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
                writer.write(f"{head}content-type: application/json\r\ncontent-length: 68000000\r\n\r\n".encode())
                answer = await reader.read(1000)
                assert answer.split()[1] == str(status).encode()
                assert b"connection: close" in answer.lower()
                writer.close()

    asyncio.run(play())


def test_a_body_in_chunks_has_an_end_too(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            head = f"PUT /api/v1/endpoints/shop HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {it.app.key}\r\n"
            writer.write(f"{head}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".encode())
            chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
            with contextlib.suppress(ConnectionError):
                for _ in range(65):
                    writer.write(chunk)
                    await writer.drain()
            assert (await reader.read(1000)).split()[1] == b"413"
            writer.close()

    asyncio.run(play())
