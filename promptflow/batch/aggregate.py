"""After the lines: aggregation nodes of a DAG flow, or ``__aggregate__`` of a flex flow, over all completed lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promptflow.contracts.run import AggregationResult, LineResult, Status
from promptflow.contracts.types import AttrDict

if TYPE_CHECKING:
    from promptflow.executor.loader import Executor

RESULTS = "__results__"  # what a flex flow's __aggregate__ gets


@dataclass
class AggregationInputs:
    """What aggregation needs of the completed lines; bypassed and failed ones are no part of it."""

    lines: dict[int, tuple[Mapping[str, Any], Mapping[str, Any], Any]] = field(default_factory=dict)

    def add(self, result: LineResult) -> None:
        info = result.run_info
        if info.status is Status.Completed:
            self.lines[info.index or 0] = (info.inputs or {}, result.aggregation_inputs, result.output)

    def collected(self, executor: Executor) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """``(flow inputs, references)``: for each, the values of all lines, in the order of their numbers."""
        lines = [self.lines[number] for number in sorted(self.lines)]
        if executor.flow.kind != "dag":
            outputs = [AttrDict(output) if isinstance(output, dict) else output for _, _, output in lines]
            return {}, {RESULTS: outputs}
        inputs = {name: [line[0].get(name) for line in lines] for name in executor.flow.inputs}
        references = {
            reference.text
            for node in executor.flow.nodes
            if node.aggregation
            for reference in node.references
            if (source := executor.flow.node(reference.node)) is not None and not source.aggregation
        }
        return inputs, {text: [line[1][text] for line in lines if text in line[1]] for text in references}


def aggregate(executor: Executor, lines: AggregationInputs, run_id: str) -> AggregationResult:
    """Run the aggregation once. Raises what it raises."""
    inputs, references = lines.collected(executor)
    return executor.run_aggregation(inputs, references, run_id=run_id)
