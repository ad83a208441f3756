"""Lines as tasks of one event loop: for flows that wait for models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from promptflow.executor.guarded_async import run_line_async
from promptflow.executor.output import line_output
from promptflow.executor.threads import start_daemon
from promptflow.llm import background

if TYPE_CHECKING:
    from promptflow.batch.engine import Batch

START, MOST = 32, 256  # lines at once, where nobody has said
TURNS = 2  # of the event loop, in which a line sends its first request


def start_tasks(batch: Batch) -> Callable[[], float]:
    """Start the lines. There is nothing to watch: each line ends itself when it is out of time."""

    def run() -> None:
        try:
            background.run(_run_tasks(batch))
        except BaseException as error:  # handed to the calling thread
            batch.fail(error)
        finally:
            batch.ended.set()

    start_daemon("batch", run)
    return lambda: 3600.0


async def _run_tasks(batch: Batch) -> None:
    batch.adapt(START, MOST)
    tasks: set[asyncio.Task[None]] = set()
    all_ended = asyncio.Event()
    running = 0

    async def work() -> None:
        nonlocal running
        try:
            while running <= batch.at_once and (line := batch.next_line()) is not None:
                number, row = line
                attempt = batch.attempt(number)
                with line_output() as output:
                    result = await run_line_async(
                        batch.executor, number, row, batch.run_id, attempt, batch.options.line_timeout
                    )
                batch.hand_on(result, row, output.text)
                grow()
        finally:
            running -= 1

    def start_one() -> bool:
        nonlocal running
        if running >= batch.at_once or batch.exhausted:
            return False
        running += 1
        task = asyncio.ensure_future(work())
        tasks.add(task)
        task.add_done_callback(ended)
        return True

    def ended(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            batch.fail(error)
        if not tasks:
            all_ended.set()

    def grow() -> None:
        while start_one():
            pass

    loop = asyncio.get_running_loop()

    def cancel() -> None:
        for task in tuple(tasks):
            task.cancel()

    batch.cancel = lambda: _later(loop, cancel)
    # The first request leaves before the second line begins: lines that began together would wait for each other
    # before they send, their answers would come together, and so on to the end of the batch.
    while start_one():
        for _ in range(TURNS):
            await asyncio.sleep(0)
    # Each tells its end: to wait for the first of so many, again and again, takes the square of their number.
    while tasks:
        all_ended.clear()
        await all_ended.wait()


def _later(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(call)
