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

DEFAULT_CONCURRENCY = 64


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
    async def work() -> None:
        while (line := batch.next_line()) is not None:
            number, row = line
            with line_output() as output:
                attempt = batch.attempt(number)
                result = await run_line_async(
                    batch.executor, number, row, batch.run_id, attempt, batch.options.line_timeout
                )
            batch.hand_on(result, row, output.text)

    loop = asyncio.get_running_loop()
    tasks = [asyncio.ensure_future(work()) for _ in range(batch.options.concurrency or DEFAULT_CONCURRENCY)]

    def cancel() -> None:
        for task in tasks:
            loop.call_soon_threadsafe(task.cancel)

    batch.cancel = cancel
    for ended in asyncio.as_completed(tasks):
        try:
            await ended
        except Exception as error:
            batch.fail(error)
