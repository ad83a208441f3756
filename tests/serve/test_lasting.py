"""Work beside the answers survives its own errors."""

from __future__ import annotations

import asyncio

import pytest

from serve.lasting import lasting


def test_what_fails_is_logged_and_begins_anew_until_it_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    turns: list[int] = []

    async def play() -> None:
        goes_on = asyncio.Event()

        async def work() -> None:
            turns.append(len(turns))
            if len(turns) < 3:
                raise OSError(f"turn {turns[-1]}")
            goes_on.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(lasting("counting", work, pause=0))
        async with asyncio.timeout(10):
            await goes_on.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(play())
    assert turns == [0, 1, 2]
    assert caplog.text.count("counting failed; it begins anew") == 2 and "OSError: turn 1" in caplog.text
