from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import AsyncIterator

import pytest

from promptflow.llm import background

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


async def double(value: int) -> int:
    await asyncio.sleep(0)
    return value * 2


def test_plain_code_gets_the_result() -> None:
    assert background.run(double(4)) == 8


def test_errors_come_through() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        background.run(fail())


def test_context_variables_are_carried_over() -> None:
    async def read() -> str:
        return name.get()

    name.set("me")
    assert background.run(read()) == "me"


def test_a_sync_call_inside_async_code_waits_for_another_thread() -> None:
    async def outer(depth: int) -> int:
        return background.run(outer(depth - 1)) + 1 if depth else background.run(double(0))

    assert background.run(outer(3)) == 3


def test_many_threads_share_one_loop() -> None:
    async def thread() -> int:
        return threading.get_ident()

    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(background.run(thread()))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 8 and len(set(seen)) == 1


def test_async_iterators_become_plain_ones() -> None:
    async def numbers() -> AsyncIterator[int]:
        for n in range(3):
            yield n

    assert list(background.iterate(numbers())) == [0, 1, 2]


def test_the_stream_loop_answers_from_within_another_loop() -> None:
    async def main() -> int:
        return await background.stream_loop().call(double(5))

    assert background.run(main()) == 10


def test_cancelling_the_caller_cancels_the_work() -> None:
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def main() -> None:
        task = asyncio.create_task(background.stream_loop().call(work()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended.wait(5)


def test_a_forked_child_starts_its_own_loop() -> None:
    background.run(double(1))
    child = os.fork()
    if child == 0:
        os._exit(background.run(double(21)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
