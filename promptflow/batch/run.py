"""One batch run from data to run folder: lines, aggregation, records."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from promptflow.batch.aggregate import AggregationInputs, aggregate
from promptflow.batch.engine import run_lines
from promptflow.batch.in_flight import FILE as IN_FLIGHT
from promptflow.batch.lines import Lines, read_lines
from promptflow.batch.options import RunOptions
from promptflow.batch.result import BatchResult
from promptflow.batch.resume import Attempts
from promptflow.contracts.run import LineResult, RunInfo, Status
from promptflow.contracts.tool import ValueType
from promptflow.exceptions import ToolExecutionError, error_to_dict
from promptflow.llm.pressure import watching
from promptflow.storage.numbers import Numbers
from promptflow.storage.writer import RunWriter

if TYPE_CHECKING:
    from promptflow.executor.loader import Executor

_logger = logging.getLogger(__name__)
Progress = Callable[[BatchResult], None]


def flow_lines(executor: Executor, paths: Mapping[str, Path], mapping: Mapping[str, Any] | None) -> Lines:
    """The lines that this flow is to run, from files by source name (``data``, ``run.inputs``, ``run.outputs``)."""
    inputs = executor.flow.inputs
    # A null default is none in YAML, but one in Python: def flow(question, history=None)
    in_code = executor.flow.kind != "dag"
    defaults = [name for name, i in inputs.items() if i.default is not None or (in_code and i.has_default)]
    # "nan" in a prompt is a mistake that nobody sees
    compat = os.environ.get("PF_COMPAT", "").startswith("1.")
    texts = [name for name, i in inputs.items() if i.type is ValueType.STRING and not compat]
    return read_lines(paths, mapping, inputs, defaults, texts)


def run_batch(
    executor: Executor,
    lines: Lines,
    writer: RunWriter,
    *,
    run_id: str,
    options: RunOptions,
    previous: Iterable[LineResult] = (),
    attempts: Attempts | None = None,
    progress: Progress | None = None,
) -> BatchResult:
    """Run all lines, then the aggregation, writing records as they come.

    ``previous`` are completed lines of an earlier run: written as they are, not run again. ``attempts`` are those at
    this run: it goes on where they ended. What stopped the batch as a whole is the result's ``exception``; it is not
    raised.
    """
    result = BatchResult(lines.total, _now())
    writer.expect(lines.total)
    kept = AggregationInputs()
    lock = Lock()

    def count(line: LineResult) -> None:
        result.add(line)
        if executor.has_aggregation:
            kept.add(line)

        if progress is not None:
            progress(result)

    def throttled(retry_after: float | None, refused: bool) -> None:
        with lock:
            result.throttled_calls += refused

    def reuse(line: LineResult) -> None:
        result.reused_lines += 1
        count(line)

    def done(line: LineResult, row: Mapping[str, Any], printed: str = "") -> None:
        writer.add_line(line, row, printed)
        count(line)

    try:
        if progress is not None:
            progress(result)
        ended = Numbers()
        if attempts is None:
            writer.start(run_id)
        else:
            ended = _restore(attempts, writer, run_id, reuse)
        for line in previous:
            ended.add(line.run_info.index or 0)
            writer.add_line(line, {})
            reuse(line)
        with watching(throttled):
            finished = run_lines(
                executor,
                lines,
                done,
                run_id=run_id,
                options=options,
                skip=ended,
                known=attempts.known if attempts is not None else None,
                on_node=writer.add_node,
                in_flight=writer.path / IN_FLIGHT,
            )
        if finished and executor.has_aggregation:
            _aggregate(executor, kept, writer, result, run_id)
        result.status = Status.Completed if finished else Status.Canceled
        if not finished:
            _logger.warning("Interrupted: %d of %d lines have ended.", result.ended_lines, result.total_lines)
    except KeyboardInterrupt:
        result.status = Status.Canceled
    except Exception as error:
        result.status, result.exception = Status.Failed, error
    result.end_time = _now()
    return result


def _restore(attempts: Attempts, writer: RunWriter, run_id: str, count: Callable[[LineResult], None]) -> Numbers:
    """Make the files of a run again from its journal, and open that to go on; the lines that have ended."""
    for line in attempts.lines():
        writer.add_line(line, {}, is_journaled=True)
        count(line)
    writer.go_on(run_id, attempts.forgotten, attempts.known)
    return attempts.ended


def _aggregate(
    executor: Executor, kept: AggregationInputs, writer: RunWriter, result: BatchResult, run_id: str
) -> None:
    start = _now()
    try:
        outcome = aggregate(executor, kept, run_id)
    except Exception as error:  # the lines stand: the run is completed, its error says what failed
        name = error.node_name if isinstance(error, ToolExecutionError) else "aggregation"
        failure = error_to_dict(error, include_debug_info=True)
        result.aggregation_errors[name] = failure
        nodes = [_failed_node(name, failure, start, run_id)] if isinstance(error, ToolExecutionError) else []
    else:
        result.metrics = dict(outcome.metrics)
        nodes = list(outcome.node_run_infos.values())
    for node in nodes:
        writer.add_node(node)
        result.add_node(node)


def _failed_node(name: str, error: dict[str, Any], start: datetime, run_id: str) -> RunInfo:
    return RunInfo(
        node=name,
        flow_run_id=run_id,
        run_id=f"{run_id}_{name}_reduce",
        status=Status.Failed,
        inputs=None,
        output=None,
        metrics=None,
        error=error,
        parent_run_id=run_id,
        start_time=start,
        end_time=_now(),
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
