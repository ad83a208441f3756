"""The tool of one node in processes of its own: what it does to its process, or to the time, ends that process alone.

What goes in and comes out travels as plain values (see `wire`).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import logging
import os
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from promptflow.connections.models import _Connection as Connection
from promptflow.contracts.flow import Flow
from promptflow.exceptions import PromptflowException, ToolExecutionError
from promptflow.executor.idempotency import place
from promptflow.executor.node import timeout_error
from promptflow.executor.steps import Step
from promptflow.executor.worker_node import NodeSetup
from promptflow.executor.worker_process import WorkerProcess
from promptflow.llm import background
from promptflow.llm.pressure import more_time
from promptflow.tape.current import current
from promptflow.tracing.spans import context_attributes, current_span

_WAKE = 0.2  # seconds after which a thread that waits sees that its line was given up


class IsolatedTool:
    """``call(**arguments)`` and, for an async tool, ``call_async``. Processes start on demand, one per processor."""

    def __init__(self, step: Step, flow: Flow, connections: Mapping[str, Connection]) -> None:
        self._name, self._module, self._timeout = step.name, step.module, step.node.timeout
        self._flow = flow
        self._connections = connections
        self._literals = frozenset(step.literals)  # the process has its own
        self._numbers = itertools.count()
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._places: asyncio.Semaphore | None = None
        weakref.finalize(self, _kill, self._all)

    def call(self, **arguments: Any) -> Any:
        future = background.stream_loop().submit(self._run(arguments))
        try:
            while True:
                try:
                    return self._output(future.result(_WAKE))
                except concurrent.futures.TimeoutError:
                    if future.done():
                        raise
        except BaseException:
            future.cancel_task()  # type: ignore[attr-defined]
            raise

    async def call_async(self, **arguments: Any) -> Any:
        return self._output(await background.stream_loop().call(self._run(arguments)))

    def _output(self, reply: tuple[Any, ...]) -> Any:
        """What the tool returned; what it printed is printed here. Raises what it raised."""
        output, error, printed, tokens = reply
        if printed:
            print(printed, end="")
        if tokens and (at := current_span()) is not None:
            at.set_usage({f"{name}_tokens": count for name, count in tokens.items()})
        if isinstance(error, PromptflowException):
            raise error
        if error is not None:
            raised = ToolExecutionError(node_name=self._name, module=self._module, **error["arguments"])
            raised.info = error["info"]
            raise raised
        return output

    async def _run(self, arguments: dict[str, Any]) -> tuple[Any, ...]:
        self._places = self._places or asyncio.Semaphore(os.cpu_count() or 1)
        line = context_attributes().get("line_number")
        given = {name: value for name, value in arguments.items() if name not in self._literals}
        async with self._places:
            process = await self._process()
            try:
                async with asyncio.timeout(self._timeout):
                    number = next(self._numbers)
                    reply = await process.ask("call", number, given, line, place(), on_wait=more_time.get())
            except TimeoutError:
                process.kill()
                raise timeout_error(self._name, self._timeout or 0) from None
            except BaseException:
                process.kill()
                raise
            finally:
                if process.usable:
                    self._idle.append(process)
                else:
                    self._all.discard(process)
            return reply

    async def _process(self) -> WorkerProcess:
        while self._idle:
            process = self._idle.pop()
            if process.usable:
                return process
            self._all.discard(process)
        process = WorkerProcess(self._setup())
        self._all.add(process)
        try:
            await process.ready()
        except BaseException:
            process.kill()
            self._all.discard(process)
            raise
        return process

    def _setup(self) -> NodeSetup:
        tape = current()
        return NodeSetup(
            path=tuple(sys.path),
            environment=dict(os.environ),
            tape=None if tape is None else tape.handover(),
            log_level=logging.getLogger("promptflow").getEffectiveLevel(),
            flow=self._flow,
            node=self._name,
            connections=dict(self._connections),
        )


def _kill(processes: set[WorkerProcess]) -> None:
    for process in list(processes):
        process.kill()


def isolated(step: Step, flow: Flow, connections: Mapping[str, Connection]) -> Step:
    """The step with its tool in processes of its own, which end at its timeout. ``connections``: those it has found."""
    tool = IsolatedTool(step, flow, connections)
    call: Callable[..., Any] = tool.call_async if step.is_async else tool.call
    return replace(step, call=call, node=replace(step.node, timeout=None), stream_parameter=None)
