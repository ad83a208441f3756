"""A real browser for tests: Chromium, told what to do over its own debugging protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --disable-dev-shm-usage --remote-debugging-port=0 about:blank"
).split()


class Page:
    """One tab. ``complaints``: what it wrote on its console, and requests to other addresses than its own."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.complaints: list[str] = []
        self.requests: list[str] = []

    async def read(self) -> None:
        async for message in self._socket:
            data = message.json()
            if "id" in data:
                self._waiting.pop(data["id"]).set_result(data)
            elif data["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(str(data["params"]))
            elif data["method"] == "Network.requestWillBeSent":
                self.requests.append(data["params"]["request"]["url"])

    async def tell(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        return (await asyncio.wait_for(self._waiting[number], 20)).get("result")

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.tell(f"{domain}.enable")
        await self.tell("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        told = await self.tell("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, script: str, seconds: float = 20) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not await self.run(script):
            assert asyncio.get_running_loop().time() < end, (
                f"never: {script}\n{await self.run('document.body.innerText')}"
            )
            await asyncio.sleep(0.03)

    async def type(self, text: str, key: str = "") -> None:
        """Into what has the focus, with the keyboard; then ``key``."""
        if text:
            await self.tell("Input.insertText", text=text)
        if key:
            code = {"Enter": 13, "Escape": 27, "Tab": 9}[key]
            event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            await self.tell("Input.dispatchKeyEvent", type="keyDown", text="\r" if key == "Enter" else "", **event)
            await self.tell("Input.dispatchKeyEvent", type="keyUp", **event)

    async def picture(self, file: Path) -> None:
        shot = await self.tell("Page.captureScreenshot")
        import base64

        file.write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """A browser with a fresh profile in ``folder``."""
    process = subprocess.Popen(
        [str(CHROMIUM), *_FLAGS, f"--user-data-dir={folder}/profile"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )
    try:
        async with aiohttp.ClientSession() as session:
            port = await _port(folder / "profile" / "DevToolsActivePort")
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                tab = next(tab for tab in await answer.json() if tab["type"] == "page")
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                reader = asyncio.create_task(page.read())
                yield page
                reader.cancel()
    finally:
        process.kill()
        process.wait()


async def _port(file: Path) -> str:
    for _ in range(600):
        with contextlib.suppress(FileNotFoundError, IndexError):
            return file.read_text().split()[0]
        await asyncio.sleep(0.05)
    raise AssertionError("the browser did not start")
