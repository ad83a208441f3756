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

    def grow() -> None:
        nonlocal running
        while running < batch.at_once and not batch.exhausted:
            running += 1
            tasks.add(asyncio.ensure_future(work()))

    loop = asyncio.get_running_loop()
    batch.cancel = lambda: loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
    grow()
    while tasks:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        tasks -= ended
        for task in ended:
            try:
                await task
            except Exception as error:
                batch.fail(error)
