"""The same on an event loop. Apart, because flows of plain Python start without importing one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from promptflow.contracts.run import LineResult
from promptflow.executor.guarded import failed_line, line_exit, line_timeout
from promptflow.executor.line import Attempt, now
from promptflow.llm.pressure import more_time

if TYPE_CHECKING:
    from promptflow.executor.loader import Executor


async def run_line_async(
    executor: Executor, number: int, row: Mapping[str, Any], run_id: str, attempt: Attempt, seconds: float
) -> LineResult:
    """Run one line on this loop, for at most ``seconds`` and what it waits for the limits of connections."""
    start = now()
    limit = asyncio.timeout(seconds)
    loop = asyncio.get_running_loop()
    around = more_time.get()  # of a process that waits for this one

    def give(more: float) -> None:
        loop.call_soon_threadsafe(extend, limit, more)
        if around is not None:
            around(more)

    token = more_time.set(give)
    try:
        async with limit:
            return await executor.run_line_async(row, index=number, run_id=run_id, attempt=attempt)
    except TimeoutError as error:
        failure: BaseException = line_timeout(number, seconds) if limit.expired() else error
    except SystemExit as error:
        failure = line_exit(error)
    except Exception as error:
        failure = error
    finally:
        more_time.reset(token)
    return failed_line(executor, row, number, run_id, failure, start)


def extend(limit: asyncio.Timeout, seconds: float) -> None:
    """So much longer, if it has not ended; on its loop."""
    until = limit.when()
    if until is not None and not limit.expired():
        with suppress(RuntimeError):  # the line has ended meanwhile
            limit.reschedule(until + seconds)
