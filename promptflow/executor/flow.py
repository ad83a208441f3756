"""One line through a DAG flow, and the aggregation over many."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

from promptflow.contracts.flow import Flow
from promptflow.contracts.graph import dependencies
from promptflow.contracts.reference import Reference
from promptflow.contracts.run import AggregationResult, LineResult, Status
from promptflow.contracts.tool import ValueType
from promptflow.exceptions import PromptflowException, UnexpectedError, error_to_dict
from promptflow.executor.activation import activated
from promptflow.executor.inputs import apply_inputs
from promptflow.executor.line import FIRST_ATTEMPT, Attempt, Line, flow_info, now
from promptflow.executor.multimedia import load_input_images
from promptflow.executor.node import run_node
from promptflow.executor.origin import Origin, Recorded
from promptflow.executor.scheduler import is_chain, run_chain, run_threads
from promptflow.executor.steps import Connections, Step, SubFlow, make_step, make_steps
from promptflow.executor.stream import AsyncStream, Stream
from promptflow.tracing.metrics import collect_metrics
from promptflow.tracing.spans import Span, run_context, span

NODE_CONCURRENCY = 16
_MULTIMEDIA = (ValueType.IMAGE, ValueType.LIST, ValueType.OBJECT)


class DagExecutor:
    """A loaded DAG flow. Thread-safe: each line keeps its state in a `Line`."""

    origin: Origin | None = None
    async_streams = False  # streams of models come as async iterators from `run_line_async`: no thread waits for one

    def __init__(
        self,
        flow: Flow,
        connections: Connections,
        sub_flow: SubFlow,
        environment: Mapping[str, str] | None = None,
        *,
        node_concurrency: int = NODE_CONCURRENCY,
    ) -> None:
        self.flow = flow
        self.environment = dict(environment or {})
        self.node_concurrency = node_concurrency
        self._connections = connections
        self._sub_flow = sub_flow
        steps = [self._isolated(step) for step in make_steps(flow, connections, sub_flow)]
        self.steps = [step for step in steps if not step.node.aggregation]
        self.aggregation_steps = [step for step in steps if step.node.aggregation]
        for step in self.steps:
            if not _streams_out(flow, step):
                step.stream_parameter = None
        self.prefers_async = any(step.is_async for step in self.steps)
        self._is_chain = is_chain(self.steps)
        self._has_images = any(i.type in _MULTIMEDIA for i in flow.inputs.values())
        self._aggregation_references = _line_references(self.aggregation_steps, self.steps)

    @property
    def has_aggregation(self) -> bool:
        return bool(self.aggregation_steps)

    def activated(self) -> AbstractContextManager[None]:
        """Working directory, sys.path and environment of the flow, for as long as the block runs."""
        return activated(self.flow.folder, self.environment)

    def apply_inputs(self, row: Mapping[str, Any], index: int | None = None) -> dict[str, Any]:
        """The flow's inputs from a row. Raises InputNotFound, InputTypeError, LoadMultimediaDataError."""
        values = apply_inputs(self.flow.inputs, row, index)
        if self._has_images:
            load_input_images(self.flow.inputs, values, self.flow.folder, self.flow.message_format)
        return values

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
        """Run one line. A line's failure is in the result (``exception``, ``run_info.error``), never raised.

        ``attempt`` holds what is known of the line's nodes already, and who is told of those that end.
        ``streaming`` leaves generators among the outputs for the caller to read; otherwise they are joined to text.
        Nodes that can stream are asked to where nothing but a flow output reads them.
        """
        if self.prefers_async:
            from promptflow.llm import background  # an event loop: flows of plain Python never pay for one

            result: LineResult = background.run(
                self.run_line_async(
                    inputs,
                    index=index,
                    run_id=run_id,
                    streaming=streaming,
                    node_concurrency=node_concurrency,
                    attempt=attempt,
                )
            )
            if streaming and isinstance(result.output, dict):
                result.output = {k: _readable(v) for k, v in result.output.items()}
            return result
        line, start = self._start(inputs, index, run_id, streaming, attempt)
        with self._context(line), self._span(inputs) as flow_span:
            try:
                line.inputs = self.apply_inputs(inputs, index)
                self._run(line, node_concurrency or self.node_concurrency)
                output = self._outputs(line)
                if not streaming:
                    output = {k: v.join() if isinstance(v, Stream) else v for k, v in output.items()}
                return self._completed(line, start, {k: _opened(v) for k, v in output.items()}, flow_span)
            except Exception as error:
                return self._failed(line, start, error, flow_span)

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
        from promptflow.executor.async_run import joined, run_async  # flows of plain Python never pay for asyncio

        line, start = self._start(inputs, index, run_id, streaming, attempt)
        with self._context(line), self._span(inputs) as flow_span:
            try:
                line.inputs = self.apply_inputs(inputs, index)
                await run_async(self.steps, line, node_concurrency or self.node_concurrency)
                output = self._outputs(line)
                if not streaming:
                    output = {k: await joined(v) for k, v in output.items()}
                elif self.async_streams:
                    output = {k: v.made_async() if isinstance(v, Stream) else v for k, v in output.items()}
                return self._completed(line, start, {k: _opened(v) for k, v in output.items()}, flow_span)
            except Exception as error:
                return self._failed(line, start, error, flow_span)

    def run_node(
        self, name: str, inputs: Mapping[str, Any], dependencies: Mapping[str, Any] | None = None
    ) -> LineResult:
        """Run one node alone, whatever its condition; ``dependencies`` are outputs of the nodes it references."""
        step = next((s for s in [*self.steps, *self.aggregation_steps] if s.name == name), None)
        if step is None:
            node = self.flow.node(name)
            assert node is not None, f"{name} is no node of the flow"
            step = self._isolated(make_step(self.flow, node, self._connections, self._sub_flow))
        step = replace(step, node=replace(step.node, activate=None))
        line, start = self._start(inputs, None, None, False)
        line.inputs = {**{k: i.default for k, i in self.flow.inputs.items()}, **inputs}
        line.outputs.update(dependencies or {})
        with self._context(line), self._span(inputs) as flow_span:
            try:
                _run_one(step, line)
                value = line.outputs[name]
                output = value.join() if isinstance(value, Stream) else value
                if isinstance(output, AsyncStream):
                    from promptflow.llm import background  # as in run_line

                    output = background.run(output.join())
                return self._completed(line, start, output, flow_span)
            except Exception as error:
                return self._failed(line, start, error, flow_span)

    def run_aggregation(
        self,
        inputs: Mapping[str, Sequence[Any]],
        aggregation_inputs: Mapping[str, Sequence[Any]],
        run_id: str | None = None,
    ) -> AggregationResult:
        """Run the aggregation nodes once: ``inputs`` and ``aggregation_inputs`` hold a list per key, one item per
        completed line. Raises the error a node ends with."""
        line = Line(inputs=dict(inputs), run_id=f"{run_id or uuid.uuid4()}_reduce")
        for name in self.flow.inputs.keys() - inputs.keys():
            line.inputs = {**line.inputs, name: []}
        for step in self.aggregation_steps:
            line.outputs.update({r.node: None for _, r in step.references if r.node is not None})
        values = dict(aggregation_inputs)
        with self._context(line), span(f"{self.flow.name}.aggregation", "Flow") as at, collect_metrics() as metrics:
            for step in self.aggregation_steps:
                _run_one(_given(step, values), line)
            output = {step.name: line.outputs[step.name] for step in self.aggregation_steps}
            at.set_output(output)
        return AggregationResult(output, metrics, line.run_infos)

    # -- parts -------------------------------------------------------------------------------------------------------
    def _start(
        self,
        inputs: Mapping[str, Any],
        index: int | None,
        run_id: str | None,
        streaming: bool,
        attempt: Attempt = FIRST_ATTEMPT,
    ) -> tuple[Line, datetime]:
        line = Line(
            inputs=inputs, run_id=run_id or str(uuid.uuid4()), index=index, streaming=streaming, attempt=attempt
        )
        return line, now()

    def _context(self, line: Line) -> AbstractContextManager[None]:
        run = line.run_id if line.index is not None else None
        return run_context(run=run, line_number=line.index, line_run_id=line.line_run_id, execution_target="dag")

    def _isolated(self, step: Step) -> Step:
        if not step.is_isolated:
            return step
        from promptflow.executor.isolated import isolated  # processes and an event loop: few flows need them

        found = self._connections.found if isinstance(self._connections, Recorded) else {}
        return isolated(step, self.flow, found)

    def _span(self, inputs: Mapping[str, Any]) -> Span:
        return span(self.flow.name, "Flow", inputs=inputs)

    def _run(self, line: Line, concurrency: int) -> None:
        if self._is_chain:
            run_chain(self.steps, line)
        else:
            run_threads(self.steps, line, concurrency)

    def _outputs(self, line: Line) -> dict[str, Any]:
        aggregations = {step.name for step in self.aggregation_steps}
        result = {}
        for name, output in self.flow.outputs.items():
            reference = output.reference
            if reference is None:
                result[name] = output.literal
            elif reference.node is None:
                result[name] = line.inputs[reference.name]
            elif reference.node in line.bypassed:
                result[name] = None
            elif reference.node in aggregations:
                continue
            elif reference.path or reference.section != "output":
                result[name] = line.value(reference)
            else:
                result[name] = line.outputs[reference.node]
        return result

    def _completed(self, line: Line, start: datetime, output: Any, flow_span: Span) -> LineResult:
        flow_span.set_output(
            {k: v for k, v in output.items() if not _is_open(v)} if isinstance(output, dict) else output
        )
        aggregation = {
            text: line.value(reference)
            for text, reference in self._aggregation_references.items()
            if reference.node not in line.bypassed
        }
        aggregation = {k: "".join(map(str, v)) if isinstance(v, Iterator) else v for k, v in aggregation.items()}
        info = flow_info(self.flow, line, start, Status.Completed, output, None, flow_span)
        return LineResult(output, aggregation, info, line.run_infos)

    def _failed(self, line: Line, start: datetime, error: Exception, flow_span: Span) -> LineResult:
        failure = error if isinstance(error, PromptflowException) else UnexpectedError(
            f"Unexpected error while the flow ran: ({type(error).__name__}) {error}", error=error
        )  # fmt: skip
        if failure is not error:
            failure.__cause__ = error
        flow_span.record_error(failure)
        info = flow_info(
            self.flow, line, start, Status.Failed, None, error_to_dict(failure, include_debug_info=True), flow_span
        )
        return LineResult({}, {}, info, line.run_infos, failure)


def _streams_out(flow: Flow, step: Step) -> bool:
    """Whether a stream of this node would reach the caller: a flow output reads it, and no other node does."""
    read = any(o.reference is not None and o.reference.node == step.name for o in flow.outputs.values())
    return read and not any(step.name in dependencies(node) for node in flow.nodes)


def _run_one(step: Step, line: Line) -> None:
    if step.is_async:
        from promptflow.executor.async_run import run_node_async  # as in run_line
        from promptflow.llm import background

        background.run(run_node_async(step, line))
    else:
        run_node(step, line)


def _line_references(aggregation: Sequence[Step], line_steps: Sequence[Step]) -> dict[str, Reference]:
    """What aggregation nodes read from line nodes, by the reference's text."""
    names = {step.name for step in line_steps}
    return {r.text: r for step in aggregation for _, r in step.references if r.node in names}


def _given(step: Step, values: Mapping[str, Any]) -> Step:
    """The step with its references to line nodes replaced by the lists collected for them."""
    given = {name: list(values[r.text]) for name, r in step.references if r.text in values}
    rest = tuple((name, r) for name, r in step.references if name not in given)
    return replace(step, literals={**step.literals, **given}, references=rest)


def _opened(value: Any) -> Any:
    return value.read() if isinstance(value, Stream | AsyncStream) else value


def _is_open(value: Any) -> bool:
    return hasattr(value, "__next__") or hasattr(value, "__anext__")


def _readable(value: Any) -> Any:
    """An async generator as a plain one, for callers without an event loop."""
    if not hasattr(value, "__anext__"):
        return value
    from promptflow.llm import background  # as in run_line

    return background.iterate(value)
