"""A whole server on the test's event loop, with instances that are real processes of ``score.py`` files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from promptflow.workspace import Workspace
from promptflow.workspace.http_server import listen
from serve.app import ServerApp
from serve.endpoints.records import Deployment, Endpoint
from serve.endpoints.spec import RequestSettings, Spec
from serve.gateway.protocol import Protocol
from tests.serve.gateway.stage import serving

SECONDS = 30.0  # that anything may take; far more than it does


class World:
    def __init__(self, folder: Path, app: ServerApp, session: aiohttp.ClientSession, port: int) -> None:
        self.folder, self.app, self.session, self.port = folder, app, session, port
        self.store = app.store

    async def endpoint(self, traffic: dict[str, int] | None = None, **values: Any) -> None:
        await asyncio.to_thread(self.store.create, Endpoint("shop", **values))
        if traffic:
            await self.traffic(traffic)

    async def traffic(self, traffic: dict[str, int]) -> None:
        await asyncio.to_thread(self.store.set_traffic, "shop", traffic)
        await self.app.reload()

    async def deploy(self, name: str, script: str, wait: bool = True, **values: Any) -> Deployment:
        """A deployment of these lines of a score.py, new or changed."""
        known = await asyncio.to_thread(self.store.find_deployment, "shop", name)
        code = self.folder / f"{name}-{known.revision if known else 0}"
        code.mkdir()
        (code / "score.py").write_text(script)
        request = RequestSettings(concurrency=values.pop("concurrency", 4), timeout=values.pop("timeout", 10.0))
        count = values.pop("instances", 1)
        spec = Spec("script", code=code, scoring_script="score.py", request=request)
        spec = replace(spec, **{"min_instances": count, "max_instances": count, **values})
        record = Deployment("shop", name, spec, revision=known.revision if known else 0)
        kept = await asyncio.to_thread(self.store.put, record)
        await self.app.reload()
        if wait:
            await self.until(lambda: self.status(name)["state"] == "Ready", f"{name} is ready")
        return kept

    def status(self, name: str) -> dict[str, Any]:
        found = self.app.deployment_status("shop", name)
        assert found is not None
        return found

    def kill(self, name: str, instance: int = 0) -> None:
        os.kill(self.status(name)["instances"][instance]["pid"], signal.SIGKILL)

    async def ask(self, data: bytes = b"{}", **headers: str) -> tuple[int, bytes]:
        key = (await asyncio.to_thread(self.store.keys, "shop")).primary
        every = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        url = f"http://127.0.0.1:{self.port}/endpoints/shop/score"
        async with self.session.post(url, data=data, headers=every) as answer:
            return answer.status, await answer.read()

    async def until(self, true: Callable[[], bool], what: str) -> None:
        async with asyncio.timeout(SECONDS):
            while not true():
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    with Workspace.open(folder / "home", database_url="") as workspace:
        app = ServerApp(workspace)
        listener = listen("127.0.0.1", 0)
        async with aiohttp.ClientSession() as session, serving(app, listener, http=Protocol):
            await app.open()
            try:
                yield World(folder, app, session, listener.getsockname()[1])
            finally:
                await app.close()


def says(text: str, more: str = "") -> str:
    return f"{more}\ndef init():\n    pass\n\ndef run(raw):\n    return {text!r}\n"
