"""What became of a batch: counts, errors, tokens, metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from promptflow.contracts.run import LineResult, RunInfo, Status

MAX_ERRORS = 1000  # kept with their details; the records of the lines hold all of them
TOKENS = ("total_tokens", "prompt_tokens", "completion_tokens")


@dataclass(slots=True)
class NodeTotals:
    """One node over all lines: how often it ended how, how often its output came from the cache, its seconds."""

    completed: int = 0
    failed: int = 0
    bypassed: int = 0
    cached: int = 0
    seconds: float = 0.0

    @property
    def mean_seconds(self) -> float:
        """Of one call that was no cached one."""
        return self.seconds / max(1, self.completed + self.failed - self.cached)


@dataclass
class BatchResult:
    """Counts grow while the batch runs; ``status`` and ``end_time`` are set at its end.

    ``errors`` holds ``(line number, error)`` of failed lines, in order of failure; ``aggregation_errors`` the
    error by node; ``exception`` what stopped the batch as a whole.
    """

    total_lines: int
    start_time: datetime
    completed_lines: int = 0
    failed_lines: int = 0
    reused_lines: int = 0
    throttled_calls: int = 0  # of models whose server had too much to do
    status: Status = Status.Running
    end_time: datetime | None = None
    nodes: dict[str, NodeTotals] = field(default_factory=dict)
    tokens: Counter[str] = field(default_factory=Counter)
    errors: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    aggregation_errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    exception: BaseException | None = None

    def add(self, result: LineResult) -> None:
        info = result.run_info
        if info.status is Status.Completed:
            self.completed_lines += 1
        else:
            self.failed_lines += 1
            if len(self.errors) < MAX_ERRORS:
                self.errors.append((info.index or 0, info.error or {}))
        for name in TOKENS:
            self.tokens[name] += (info.system_metrics or {}).get(name) or 0
        for node in result.node_run_infos.values():
            self.add_node(node)

    def add_node(self, node: RunInfo) -> None:
        totals = self.nodes.get(node.node)
        if totals is None:
            totals = self.nodes[node.node] = NodeTotals()
        if node.status is Status.Completed:
            totals.completed += 1
        elif node.status is Status.Bypassed:
            totals.bypassed += 1
            return
        else:
            totals.failed += 1
        if node.cached_run_id is not None:
            totals.cached += 1
        elif node.start_time is not None and node.end_time is not None:
            totals.seconds += (node.end_time - node.start_time).total_seconds()

    @property
    def cached_nodes(self) -> int:
        return sum(totals.cached for totals in tuple(self.nodes.values()))

    @property
    def slowest_node(self) -> tuple[str, float] | None:
        """Name and mean seconds of the node whose calls take longest."""
        means = {name: totals.mean_seconds for name, totals in tuple(self.nodes.items())}
        return max(means.items(), key=lambda item: item[1]) if any(means.values()) else None

    @property
    def ended_lines(self) -> int:
        return self.completed_lines + self.failed_lines

    @property
    def duration(self) -> float:
        """Seconds, so far or in all."""
        return ((self.end_time or datetime.now(UTC).replace(tzinfo=None)) - self.start_time).total_seconds()

    def system_metrics(self) -> dict[str, Any]:
        """As run records keep them: tokens, seconds, and ``__pf__.`` counts of lines and nodes."""
        return {
            **{name: self.tokens[name] for name in TOKENS},
            "duration": self.duration,
            **self._node_counts(),
            "__pf__.lines.completed": self.completed_lines,
            "__pf__.lines.failed": self.failed_lines,
        }

    def _node_counts(self) -> dict[str, int]:
        counts = (
            (f"__pf__.nodes.{name}.{what}", getattr(totals, what))
            for name, totals in self.nodes.items()
            for what in ("completed", "failed", "bypassed", "cached")
        )
        return {name: count for name, count in sorted(counts) if count}

    def first_error(self) -> Mapping[str, Any] | None:
        """The error of the failed line with the lowest number, else of an aggregation node."""
        if self.errors:
            return min(self.errors, key=lambda e: e[0])[1]
        return next(iter(self.aggregation_errors.values()), None)
