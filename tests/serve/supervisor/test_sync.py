"""What runs follows the store, also after the store could not be read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serve.endpoints.records import Endpoint
from serve.endpoints.store import State
from serve.supervisor import sync
from tests.serve.supervisor.world import world


def test_a_store_that_cannot_be_read_is_told_once_and_followed_as_soon_as_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sync, "POLL_SECONDS", 0.01)
    tries: list[int] = []

    async def play() -> None:
        async with world(tmp_path) as it:
            read = it.app.store.state

            def counted() -> State:
                tries.append(1)
                return read()

            monkeypatch.setattr(it.app.store, "state", counted)
            rows = it.app.workspace.store
            with it.app.workspace.db.write():
                it.app.store.create(Endpoint("shop"))
                kept = rows.get("secrets", "endpoint:shop:primary")
                assert kept is not None
                rows.update("secrets", kept["name"], value="damaged")
            await it.until(lambda: len(tries) > 3, "it to try again")
            rows.update("secrets", kept["name"], value=kept["value"])
            await it.until(lambda: "shop" in it.app.gateway.routes, "it to follow")

    asyncio.run(play())
    assert caplog.text.count("the store cannot be read, all stays as it is: A secret of this workspace") == 1
