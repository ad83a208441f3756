"""One line through a flex flow: a function, or an instance of a class, called with the row's inputs."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import is_dataclass, replace
from datetime import datetime
from typing import Any

from promptflow.connections.models import _Connection as Connection
from promptflow.contracts.flex import FlexFlow
from promptflow.contracts.flow import FlowInput
from promptflow.contracts.run import AggregationResult, LineResult, Status
from promptflow.exceptions import FlexFlowExecutionError, PromptflowException, error_to_dict
from promptflow.executor.activation import activated
from promptflow.executor.entry import Entry, aggregate_function, make_instance, output_dict
from promptflow.executor.inputs import apply_inputs
from promptflow.executor.line import FIRST_ATTEMPT, Attempt, Line, flow_info, now
from promptflow.executor.origin import Origin
from promptflow.executor.threads import pool
from promptflow.tooling.decorator import original
from promptflow.tracing.metrics import collect_metrics, log_metric
from promptflow.tracing.spans import Span, run_context, span


class FlexExecutor:
    """A loaded flex flow. The class is instantiated once, with ``init``, and called for every line."""

    aggregation_reference = "__results__"
    origin: Origin | None = None

    def __init__(
        self,
        flow: FlexFlow,
        entry: Entry,
        connections: Callable[[str], Connection],
        init: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # the YAML may name fewer inputs than the code takes, and may give defaults of its own
        self.flow = replace(
            flow,
            inputs=_merge(entry.inputs, flow.inputs),
            outputs=flow.outputs or entry.outputs,
            init=_merge(entry.init, flow.init),
        )
        self.environment = dict(environment or {})
        self.name = entry.name
        self._declared = flow.inputs
        if entry.cls is not None:
            values = {k: i.default for k, i in flow.init.items() if i.has_default}
            values.update(init or flow.sample_init or {})
            instance = make_instance(entry.cls, entry.name, values, connections)
            self._function = instance.__call__
            self._aggregate = aggregate_function(instance)
        else:
            self._function = entry.function
            self._aggregate = aggregate_function(getattr(entry.function, "__self__", None))
        self._call = _below_trace(self._function)
        inner = original(self._function)
        self.prefers_async = inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)

    @property
    def has_aggregation(self) -> bool:
        return self._aggregate is not None

    def activated(self) -> AbstractContextManager[None]:
        return activated(self.flow.folder, self.environment)

    def apply_inputs(self, row: Mapping[str, Any], index: int | None = None) -> dict[str, Any]:
        """The inputs the function takes, from a row; one whose default is None is left to the function."""
        if not row and self.flow.sample_inputs:
            row = self.flow.sample_inputs
        known = {k: i for k, i in self.flow.inputs.items() if k in row or not i.has_default or i.default is not None}
        return apply_inputs(known, row, index)

    def run_line(
        self,
        inputs: Mapping[str, Any],
        *,
        index: int | None = None,
        run_id: str | None = None,
        streaming: bool = False,
        node_concurrency: int | None = None,
        attempt: Attempt = FIRST_ATTEMPT,
    ) -> LineResult:
        """Run one line; ``output`` is what the function returned, ``run_info.output`` the same as a dict."""
        if self.prefers_async:
            from promptflow.llm import background  # an event loop: plain functions never pay for one

            result: LineResult = background.run(
                self.run_line_async(inputs, index=index, run_id=run_id, streaming=streaming)
            )
            if streaming and isinstance(result.output, AsyncIterator):
                result.output = background.iterate(result.output)
            return result
        line, start = self._start(inputs, index, run_id)
        with self._context(line), self._span(inputs) as at:
            try:
                line.inputs = self.apply_inputs(inputs, index)
                output = self._call(**line.inputs)
                if not streaming:
                    output = _map_streams(output, _join)
                return self._completed(line, start, output, at)
            except (Exception, SystemExit) as error:
                return self._failed(line, start, error, at)

    async def run_line_async(
        self,
        inputs: Mapping[str, Any],
        *,
        index: int | None = None,
        run_id: str | None = None,
        streaming: bool = False,
        node_concurrency: int | None = None,
        attempt: Attempt = FIRST_ATTEMPT,
    ) -> LineResult:
        """As `run_line`, on the running event loop."""
        line, start = self._start(inputs, index, run_id)
        with self._context(line), self._span(inputs) as at:
            try:
                line.inputs = self.apply_inputs(inputs, index)
                if self.prefers_async:
                    output = self._call(**line.inputs)
                    output = await output if inspect.isawaitable(output) else output
                else:
                    import asyncio  # only here: plain functions start without it

                    output = await asyncio.wrap_future(pool.submit(lambda: self._call(**line.inputs)))
                if not streaming:
                    output = await _join_async(output)
                return self._completed(line, start, output, at)
            except (Exception, SystemExit) as error:
                return self._failed(line, start, error, at)

    def run_aggregation(
        self,
        inputs: Mapping[str, Sequence[Any]],
        aggregation_inputs: Mapping[str, Sequence[Any]],
        run_id: str | None = None,
    ) -> AggregationResult:
        """Call ``__aggregate__`` with the results of the completed lines; the items of its dict become metrics."""
        if self._aggregate is None:
            return AggregationResult({}, {}, {})
        results = list(aggregation_inputs.get(self.aggregation_reference, ()))
        run_id = f"{run_id or uuid.uuid4()}_reduce"
        with (
            collect_metrics() as metrics,
            run_context(run=run_id),
            span(f"{self.name}.__aggregate__", "Function") as at,
        ):
            try:
                output = self._aggregate(results)
                if inspect.isawaitable(output):
                    from promptflow.llm import background  # as in run_line

                    output = background.run(_await(output))
            except Exception as error:
                raise FlexFlowExecutionError(flow_name="__aggregate__", error=error) from error
            at.set_output(output)
            if isinstance(output, dict):
                for key, value in output.items():
                    log_metric(key, value)
        return AggregationResult(output if isinstance(output, dict) else {"output": output}, metrics, {})

    # -- parts -------------------------------------------------------------------------------------------------------
    def _start(self, inputs: Mapping[str, Any], index: int | None, run_id: str | None) -> tuple[Line, datetime]:
        return Line(inputs=inputs, run_id=run_id or str(uuid.uuid4()), index=index), now()

    def _context(self, line: Line) -> AbstractContextManager[None]:
        run = line.run_id if line.index is not None else None
        return run_context(run=run, line_number=line.index, line_run_id=line.line_run_id, execution_target="flex")

    def _span(self, inputs: Mapping[str, Any]) -> Span:
        return span(self.name, "Flow", inputs=inputs, attributes={"function": self.name})

    def _completed(self, line: Line, start: datetime, output: Any, at: Span) -> LineResult:
        at.set_output(None if isinstance(output, Iterator | AsyncIterator) else output)
        record = output_dict(output)
        return LineResult(
            output,
            {self.aggregation_reference: output},
            flow_info(self.flow, line, start, Status.Completed, record, None, at),
            {},
        )

    def _failed(self, line: Line, start: datetime, error: BaseException, at: Span) -> LineResult:
        failure: PromptflowException
        if isinstance(error, PromptflowException):
            failure = error
        else:
            failure = FlexFlowExecutionError(flow_name=self.name, error=error)
            failure.__cause__ = error
        at.record_error(failure)
        info = flow_info(
            self.flow, line, start, Status.Failed, None, error_to_dict(failure, include_debug_info=True), at
        )
        return LineResult({}, {}, info, {}, failure)


def _merge(code: Mapping[str, FlowInput], declared: Mapping[str, FlowInput]) -> dict[str, FlowInput]:
    """The code's inputs with what the YAML says of them on top."""
    merged = dict(code)
    for name, port in declared.items():
        if name not in code and code:
            continue
        below = code.get(name)
        if below is not None and not port.has_default and below.has_default:
            port = replace(port, default=below.default, has_default=True)
        merged[name] = port
    return merged


def _below_trace(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without its own ``@trace``: the flow's span stands for it."""
    inner = original(function)
    owner = getattr(function, "__self__", None)
    return inner.__get__(owner) if owner is not None and not hasattr(inner, "__self__") else inner  # type: ignore[no-any-return]


def _map_streams(value: Any, join: Callable[[Any], Any]) -> Any:
    """``value``, or the generators among its items, joined to text."""
    if isinstance(value, Iterator):
        return join(value)
    if isinstance(value, dict):
        return {k: join(v) if isinstance(v, Iterator) else v for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        streams = {k: join(v) for k, v in vars(value).items() if isinstance(v, Iterator)}
        return replace(value, **streams) if streams else value
    return value


def _join(value: Iterator[Any]) -> str:
    return "".join(str(item) for item in value)


async def _join_async(value: Any) -> Any:
    if isinstance(value, AsyncIterator):
        return "".join([str(item) async for item in value])
    if isinstance(value, dict):
        return {k: await _join_async(v) if isinstance(v, AsyncIterator | Iterator) else v for k, v in value.items()}
    return _map_streams(value, _join)


async def _await(value: Any) -> Any:
    return await value
