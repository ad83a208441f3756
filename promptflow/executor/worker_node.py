"""One node's tool in a worker process."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from promptflow.connections.models import _Connection as Connection
from promptflow.connections.provider import get_connection
from promptflow.contracts.flow import Flow
from promptflow.exceptions import PromptflowException, ToolExecutionError
from promptflow.executor.activation import activated
from promptflow.executor.idempotency import placed
from promptflow.executor.output import line_output
from promptflow.executor.steps import Step, make_step
from promptflow.executor.threads import pool
from promptflow.executor.worker import Channel, Service, Setup
from promptflow.llm.pressure import more_time
from promptflow.tracing.exporters import export_to
from promptflow.tracing.spans import run_context, span
from promptflow.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class NodeSetup(Setup):
    """A worker that calls the tool of one node, again and again."""

    flow: Flow
    node: str
    connections: Mapping[str, Connection] = field(repr=False)

    def load(self, stack: ExitStack, channel: Channel) -> Service:
        stack.enter_context(activated(self.flow.folder))
        node = self.flow.node(self.node)
        assert node is not None
        return _Calls(make_step(self.flow, node, self._connection, _no_flow), channel)

    def _connection(self, name: str) -> Connection:
        found = self.connections.get(name)
        return found if found is not None else get_connection(name, Workspace.open())


class _Calls(Service):
    """Calls on threads, so that the process sees it when its parent is gone."""

    def __init__(self, step: Step, channel: Channel) -> None:
        self._step = step
        self._channel = channel

    def take(self, message: tuple[Any, ...]) -> None:
        _, number, arguments, line, where = message
        pool.submit(self._run, number, arguments, line, where)

    def _run(self, number: int, arguments: Mapping[str, Any], line: int | None, where: str) -> None:
        output: Any = None
        failure: Any = None
        more_time.set(self._channel.waits(number))
        at = span(self._step.name, "Function", attributes={"node_name": self._step.name})
        with line_output() as printed, export_to(), run_context(line_number=line), placed(where), at:
            try:
                output = self._call({**self._step.literals, **arguments})
            except BaseException as error:
                failure = self._sendable(error)
        self._channel.send("reply", number, output, failure, printed.text, at.tokens)

    def _call(self, arguments: dict[str, Any]) -> Any:
        output = self._step.call(**arguments)
        if inspect.isawaitable(output) or inspect.isasyncgen(output):
            from promptflow.llm import background  # few tools need an event loop

            output = background.run(_awaited(output))
        return "".join(map(str, output)) if isinstance(output, Iterator) else output

    def _sendable(self, error: BaseException) -> Any:
        """The error, or what its parent makes one of: it has neither the user's classes nor the traceback."""
        if isinstance(error, PromptflowException):
            return error
        told = ToolExecutionError(node_name=self._step.name, error=error)
        return {"arguments": {"message": told.message, "location": told.location}, "info": told.info}


async def _awaited(value: Any) -> Any:
    return "".join([str(item) async for item in value]) if inspect.isasyncgen(value) else await value


def _no_flow(path: Any) -> Any:
    raise AssertionError("only nodes of Python are isolated")
