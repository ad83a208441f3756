"""Run one node: its span, its record, its timeout, its retries, its loop."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from typing import TYPE_CHECKING, Any

from promptflow.contracts.flow import ForEach
from promptflow.contracts.reference import Reference
from promptflow.contracts.run import Status
from promptflow.exceptions import (
    NodeInputValidationError,
    NodeTimeoutError,
    PromptflowException,
    ToolExecutionError,
    error_to_dict,
)
from promptflow.executor.idempotency import ITEM
from promptflow.executor.inputs import step_into
from promptflow.executor.line import Line, now
from promptflow.executor.steps import Step
from promptflow.executor.stream import AsyncStream, Stream, recorded, unwrap, wrap
from promptflow.executor.threads import DaemonPool, pool
from promptflow.tracing.spans import Span, span

if TYPE_CHECKING:
    from promptflow.executor.cached import Lookup


def run_node(step: Step, line: Line) -> None:
    """Run a node whose tool is synchronous, on this thread. Raises the user error it ends with."""
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
            cached.wait()
        with node_span(step, arguments) as at:
            if cached is not None and cached.is_hit:
                output = cached.output
            else:
                output = wrap(_attempts(step, lambda: _call(step, line, arguments)))
            at.set_output(recorded(output))
    except BaseException as error:
        if cached is not None:
            cached.land()
        failure = failed(step, line, arguments, start, error)
        if failure is error:
            raise
        raise failure from error
    completed(step, line, arguments, start, output, at, cached)


def node_span(step: Step, arguments: Mapping[str, Any]) -> Span:
    attributes = {"node_name": step.name}
    if step.function:
        attributes["function"] = step.function
    return span(step.name, step.span_kind, inputs=arguments, attributes=attributes)


def make_arguments(step: Step, line: Line) -> dict[str, Any]:
    arguments = line.arguments(step)
    if line.streaming and step.stream_parameter:
        arguments[step.stream_parameter] = True
    return arguments


def completed(
    step: Step,
    line: Line,
    arguments: dict[str, Any],
    start: datetime,
    output: Any,
    at: Span,
    cached: Lookup | None,
) -> None:
    info = line.record(step, Status.Completed, arguments, recorded(output), start)
    if cached is not None:
        cached.note(info, output)
    if at.tokens and info.system_metrics is not None:
        info.system_metrics.update({f"{key}_tokens": count for key, count in at.tokens.items()})
    if isinstance(output, Stream | AsyncStream):
        info.output = info.result = output.items  # the same list: what is read later shows in the record
        line.run_infos[step.name] = info  # it has not ended yet: its record is complete with the line's
    else:
        line.ended(info)
    line.outputs[step.name] = output


def failed(step: Step, line: Line, arguments: dict[str, Any], start: datetime, error: BaseException) -> BaseException:
    """The error to raise: ours as they are, user code's as ToolExecutionError. The record is kept either way."""
    # A coroutine is closed by a GeneratorExit; a function only gets one by raising it.
    if isinstance(error, KeyboardInterrupt) or (step.is_async and isinstance(error, GeneratorExit)):
        return error
    raised: BaseException = error
    if not isinstance(error, PromptflowException):
        raised = ToolExecutionError(node_name=step.name, module=step.module, error=error)
    else:
        error.module = step.module if error.module is None else error.module
        error.location = error.location or f"node {step.name}"
    info = line.record(step, Status.Failed, arguments, None, start)
    info.error = error_to_dict(raised, include_debug_info=True)
    line.ended(info)
    return raised


# -- attempts: timeout and retries ------------------------------------------------------------------------------------
def _attempts(step: Step, attempt: Callable[[], Any]) -> Any:
    retry, timeout = step.node.retry, step.node.timeout
    if retry is None and timeout is None:
        return attempt()
    waits = delays(step)
    while True:
        try:
            return attempt() if timeout is None else _with_timeout(step, attempt, timeout)
        except Exception:
            delay = next(waits, None)
            if delay is None:
                raise
            time.sleep(delay)


def delays(step: Step) -> Iterator[float]:
    """Seconds to wait before each retry."""
    retry = step.node.retry
    return iter(retry.delay * retry.backoff**n for n in range(retry.max_retries)) if retry else iter(())


def _with_timeout(step: Step, attempt: Callable[[], Any], timeout: float) -> Any:
    """Run on a thread and stop waiting after ``timeout`` seconds. Python cannot end a thread: it is left behind."""
    future = pool.submit(attempt)
    try:
        return future.result(timeout)
    except FutureTimeout:
        if not future.done():
            raise timeout_error(step.name, timeout) from None
        raise


def timeout_error(name: str, timeout: float) -> NodeTimeoutError:
    return NodeTimeoutError(
        f"Node '{name}' did not end within {timeout:g} seconds.",
        hint="raise the node's timeout:, or find out what it waits for",
    )


# -- calls: once, or once per item ------------------------------------------------------------------------------------
def _call(step: Step, line: Line, arguments: dict[str, Any]) -> Any:
    if step.node.foreach is None:
        return step.call(**arguments)
    loop = step.node.foreach
    items = loop_items(step, line, loop)
    workers = DaemonPool(max_threads=min(loop.concurrency, max(len(items), 1)))
    futures = [workers.submit(_call_item, step, loop, arguments, item, number) for number, item in enumerate(items)]
    try:
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _call_item(step: Step, loop: ForEach, arguments: dict[str, Any], item: Any, number: int) -> Any:
    values = {**arguments, **item_arguments(step, loop, item)}
    with span(step.name, step.span_kind, inputs=values, attributes={ITEM: number}) as item_span:
        output = step.call(**values)
        output = "".join(map(str, output)) if inspect.isgenerator(output) else output
        item_span.set_output(output)
    return output


def loop_items(step: Step, line: Line, loop: ForEach) -> list[Any]:
    over = loop.over
    value: Any = over
    if isinstance(over, Reference):
        value = None if over.node in line.bypassed else unwrap(line.value(over))
    if not isinstance(value, list | tuple):
        raise NodeInputValidationError(
            f"foreach of node '{step.name}' needs a list, found {type(value).__name__}.",
            location=f"node {step.name} foreach",
        )
    return list(value)


def item_arguments(step: Step, loop: ForEach, item: Any) -> dict[str, Any]:
    """The arguments that read the loop's item: ``${item}`` is the item, ``${item.name}`` a part of it."""
    values: dict[str, Any] = {}
    for name, reference in step.references:
        if reference.node != loop.item:
            continue
        if reference.text == f"${{{loop.item}}}":
            values[name] = item
            continue
        path = (reference.section, *reference.path)
        values[name] = step_into(Reference(reference.text, loop.item, loop.item, "output", path), item)
    return values
