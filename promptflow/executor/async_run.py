"""The same on an event loop: steps as soon as they are ready, synchronous tools on threads.

Apart from `node` and `scheduler`, because flows of plain Python need no event loop and start without importing one.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from promptflow.contracts.run import Status
from promptflow.executor.idempotency import ITEM
from promptflow.executor.line import Line, now
from promptflow.executor.node import (
    completed,
    delays,
    failed,
    item_arguments,
    loop_items,
    make_arguments,
    node_span,
    timeout_error,
)
from promptflow.executor.scheduler import is_chain, is_ready
from promptflow.executor.steps import Step
from promptflow.executor.stream import AsyncStream, Stream, recorded, wrap
from promptflow.executor.threads import pool

if TYPE_CHECKING:
    from promptflow.executor.cached import Lookup


async def run_async(steps: Sequence[Step], line: Line, concurrency: int) -> None:
    """Run all steps of a line, at most ``concurrency`` at once; the first error cancels the rest and is raised."""
    if is_chain(steps):
        for step in steps:
            await run_node_async(step, line)
        return
    waiting = {step.name: step for step in steps}
    running: set[asyncio.Task[None]] = set()
    try:
        while waiting or running:
            for step in [s for s in waiting.values() if is_ready(s, line)]:
                if len(running) >= concurrency:
                    break
                del waiting[step.name]
                running.add(asyncio.create_task(run_node_async(step, line)))
            finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            # All of them are asked: an error that nobody asked for would be logged by asyncio.
            errors = [error for task in finished if (error := task.exception()) is not None]
            if errors:
                raise errors[0]
    except BaseException:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise


async def run_node_async(step: Step, line: Line) -> None:
    """Run one node. Raises the user error it ends with."""
    if line.restore(step):
        return
    if line.is_bypassed(step):
        line.bypass(step)
        return
    start = now()
    arguments: dict[str, Any] = {}
    cached: Lookup | None = None
    try:
        arguments = make_arguments(step, line)
        if step.cache is not None and (cached := step.cache.look_up(line, arguments)) is not None and cached.must_wait:
            await cached.wait_async()
        with node_span(step, arguments) as at:
            if cached is not None and cached.is_hit:
                output = cached.output
            else:
                output = wrap(await _attempts(step, lambda: _call(step, line, arguments)))
            at.set_output(recorded(output))
    except asyncio.CancelledError:
        if cached is not None:
            cached.land()
        line.run_infos[step.name] = line.record(step, Status.Canceled, arguments, None, start)
        raise
    except BaseException as error:
        if cached is not None:
            cached.land()
        failure = failed(step, line, arguments, start, error)
        if failure is error:
            raise
        raise failure from error
    completed(step, line, arguments, start, output, at, cached)


async def _attempts(step: Step, attempt: Callable[[], Awaitable[Any]]) -> Any:
    retry, timeout = step.node.retry, step.node.timeout
    if retry is None and timeout is None:
        return await attempt()
    waits = delays(step)
    while True:
        try:
            return await asyncio.wait_for(attempt(), timeout)
        except TimeoutError as error:
            failure: Exception = error if timeout is None else timeout_error(step.name, timeout)
        except Exception as error:
            failure = error
        delay = next(waits, None)
        if delay is None:
            raise failure
        await asyncio.sleep(delay)


async def _call(step: Step, line: Line, arguments: dict[str, Any]) -> Any:
    loop = step.node.foreach
    if loop is None:
        return await _invoke(step, arguments)
    gate = asyncio.Semaphore(loop.concurrency)

    async def one(item: Any, number: int) -> Any:
        async with gate:
            values = {**arguments, **item_arguments(step, loop, item)}
            at = node_span(step, values)
            at.attributes[ITEM] = number
            with at:
                output = await joined(wrap(await _invoke(step, values)))
                at.set_output(output)
            return output

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item, number)) for number, item in enumerate(loop_items(step, line, loop))]
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]


async def _invoke(step: Step, arguments: dict[str, Any]) -> Any:
    if step.is_async:
        output = step.call(**arguments)
        return await output if inspect.isawaitable(output) else output
    return await asyncio.wrap_future(pool.submit(lambda: step.call(**arguments)))


async def joined(output: Any) -> Any:
    if isinstance(output, AsyncStream):
        return await output.join()
    # on a thread: its source may wait for a model
    return await asyncio.wrap_future(pool.submit(output.join)) if isinstance(output, Stream) else output
