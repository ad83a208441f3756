"""The state of one line while it runs: what is known, what is ready, what is bypassed. No I/O, no threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from promptflow.contracts.reference import Reference
from promptflow.contracts.run import FlowRunInfo, RunInfo, Status
from promptflow.exceptions import ExpressionError
from promptflow.executor.inputs import step_into
from promptflow.executor.steps import Step
from promptflow.executor.stream import unwrap
from promptflow.tracing.spans import Span


def now() -> datetime:
    """Naive UTC, as run records have always held it."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a batch adds to one line.

    ``known``: records of nodes that ended in an attempt that was interrupted; they do not run again. ``ended`` is told
    of every other node's record as it ends, before anything reads the output.
    """

    known: Mapping[str, RunInfo] = field(default_factory=dict)
    ended: Callable[[RunInfo], None] | None = None


FIRST_ATTEMPT = Attempt()


@dataclass(slots=True)
class Line:
    """``outputs``: node outputs by name, None for bypassed nodes. ``run_infos``: their records."""

    inputs: Mapping[str, Any]
    run_id: str
    index: int | None = None
    streaming: bool = False
    outputs: dict[str, Any] = field(default_factory=dict)
    bypassed: set[str] = field(default_factory=set)
    run_infos: dict[str, RunInfo] = field(default_factory=dict)
    attempt: Attempt = FIRST_ATTEMPT

    @property
    def line_run_id(self) -> str:
        return self.run_id if self.index is None else f"{self.run_id}_{self.index}"

    def value(self, reference: Reference) -> Any:
        """What a reference stands for now. Raises a user error where it cannot be followed."""
        if reference.node is None:
            return self.inputs[reference.name]
        value = unwrap(self.outputs[reference.node])
        if reference.path or reference.section != "output":
            return step_into(reference, value)
        return value

    def is_bypassed(self, step: Step) -> bool:
        """Whether the node does not run: its condition is not met, or all it depends on was bypassed.

        The order of these rules is Prompt flow's: a node with a condition asks only its condition.
        """
        activate = step.node.activate
        if activate is None:
            sources = [r.node for _, r in step.references if r.node is not None]
            return bool(sources) and bool(self.bypassed) and all(node in self.bypassed for node in sources)
        if activate.condition is not None:
            values = {r.text: self._or_none(r) for r in activate.condition.references}
            try:
                return activate.condition.evaluate(values) != bool(activate.equals)
            except ExpressionError as error:
                error.location = error.location or f"node {step.name} activate.when"
                raise
        when = activate.when
        if not isinstance(when, Reference):
            return bool(when != activate.equals)
        if when.node in self.bypassed:
            return True
        return bool(self.value(when) != activate.equals)

    def _or_none(self, reference: Reference) -> Any:
        return None if reference.node in self.bypassed else self.value(reference)

    def arguments(self, step: Step) -> dict[str, Any]:
        """Keyword arguments of the node's tool; those of its loop item are left to the loop."""
        arguments = dict(step.literals)
        item = step.node.foreach.item if step.node.foreach else None
        for name, reference in step.references:
            if item is not None and reference.node == item:
                continue
            if reference.node in self.bypassed:
                if name not in step.defaults:
                    arguments[name] = None
            else:
                arguments[name] = self.value(reference)
        return arguments

    def bypass(self, step: Step) -> None:
        self.ended(self.record(step, Status.Bypassed, None, None, now()))
        self.bypassed.add(step.name)
        self.outputs[step.name] = None

    def restore(self, step: Step) -> bool:
        """Take the node's result from the attempt before, if it ended there."""
        info = self.attempt.known.get(step.name)
        if info is None:
            return False
        if info.status is Status.Bypassed:
            self.bypassed.add(step.name)
        self.outputs[step.name] = info.output
        self.run_infos[step.name] = info
        return True

    def ended(self, info: RunInfo) -> None:
        """Keep the record of a node that has ended. Its output is set after this, so that it counts only once kept."""
        self.run_infos[info.node] = info
        if self.attempt.ended is not None:
            self.attempt.ended(info)

    def record(self, step: Step, status: Status, inputs: Any, output: Any, start: datetime) -> RunInfo:
        """The record of a node that has just ended."""
        end = now()
        return RunInfo(
            node=step.name,
            flow_run_id=self.run_id,
            run_id=f"{self.run_id}_{step.name}_{self.index if self.index is not None else 0}",
            status=status,
            inputs=inputs,
            output=output,
            metrics=None,
            error=None,
            parent_run_id=self.line_run_id,
            start_time=start,
            end_time=end,
            index=self.index,
            system_metrics={"duration": (end - start).total_seconds()},
            result=output,
        )


def flow_info(
    flow: Any,
    line: Line,
    start: datetime,
    status: Status,
    output: Any,
    error: dict[str, Any] | None,
    at: Span,
) -> FlowRunInfo:
    """The record of a line that has just ended; ``at`` is its span, which has summed up the tokens."""
    end = now()
    tokens = at.tokens or {}
    return FlowRunInfo(
        run_id=line.line_run_id,
        status=status,
        error=error,
        inputs=line.inputs,
        output=output,
        metrics=None,
        request=None,
        parent_run_id=line.run_id,
        root_run_id=line.run_id,
        source_run_id=None,
        flow_id=flow.id,
        start_time=start,
        end_time=end,
        index=line.index,
        result=output,
        system_metrics={
            "duration": (end - start).total_seconds(),
            "prompt_tokens": tokens.get("prompt", 0),
            "completion_tokens": tokens.get("completion", 0),
            "total_tokens": tokens.get("total", 0),
        },
        otel_trace_id=f"0x{at.trace_id}",
        message_format=getattr(flow, "message_format", "basic"),
    )
