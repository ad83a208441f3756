"""What a run tells the workspace while it goes on: ``run.started``, ``run.progress`` now and then, ``run.ended``.

The payload of ``run.progress`` and ``run.ended``::

    {"status": "Running", "total": 1000, "completed": 340, "failed": 2, "reused": 0, "cached_nodes": 12,
     "throttled_calls": 3, "tokens": 9000, "seconds": 27.9, "lines_per_second": 12.3, "tokens_per_second": 410.0,
     "seconds_left": 53.5,
     "nodes": {"ask": {"completed": 340, "failed": 2, "bypassed": 0, "cached": 12, "seconds": 402.1}}}
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from promptflow.batch.pace import PaceMeter
from promptflow.batch.result import BatchResult
from promptflow.batch.ticker import Ticker
from promptflow.entities.run import Run
from promptflow.exceptions import PromptflowException
from promptflow.workspace import Workspace

STARTED, PROGRESS, ENDED = "run.started", "run.progress", "run.ended"
_LEAST_SECONDS, _MOST_SECONDS = 1.0, 10.0
_logger = logging.getLogger(__name__)
Progress = Callable[[BatchResult], None]


@contextmanager
def announced(workspace: Workspace, run: Run, progress: Progress | None) -> Iterator[Progress]:
    """While ``run`` runs in the block; what it yields is to be called with the result so far, as ``progress`` is then.

    A run that is refused leaves no events.
    """
    events = RunEvents(workspace, run.name)

    def noted(result: BatchResult) -> None:
        events(result)
        if progress is not None:
            progress(result)

    before = run.status
    try:
        yield noted
    finally:
        if run.status != before:
            events.end(run.status)


class RunEvents:
    """The events of one run. Called with the result so far, it only takes note: a thread of its own writes.

    Between two events of progress there is a hundredth of the time that the run has taken, but 1 s to 10 s: the log of
    events is kept for ever.
    """

    def __init__(self, workspace: Workspace, run: str) -> None:
        self._workspace = workspace
        self._run = run
        self._result: BatchResult | None = None
        self._meter = PaceMeter()
        self._told: tuple[int, int] | None = None
        self._failed = False
        self._ticker: Ticker | None = None

    def __call__(self, result: BatchResult) -> None:
        if self._result is not result:
            self._result = result
            self._tell(STARTED, {"total": result.total_lines})
            self._ticker = self._ticker or Ticker("events", self._look)

    def end(self, status: str) -> None:
        """The run has ended so; it may never have begun with a line."""
        if self._ticker is not None:
            self._ticker.stop()
        self._tell(ENDED, {"status": status, **(self._measured(self._result) if self._result is not None else {})})

    def _look(self) -> float:
        result = self._result
        assert result is not None
        if result.duration < _LEAST_SECONDS:
            return _LEAST_SECONDS - result.duration
        told = (result.ended_lines, result.cached_nodes)
        if told != self._told:
            self._told = told
            self._tell(PROGRESS, {"status": "Running", **self._measured(result)})
        return min(_MOST_SECONDS, max(_LEAST_SECONDS, result.duration / 100))

    def _measured(self, result: BatchResult) -> dict[str, Any]:
        pace = self._meter.measure(result)
        return {
            "total": result.total_lines,
            "completed": result.completed_lines,
            "failed": result.failed_lines,
            "reused": result.reused_lines,
            "cached_nodes": result.cached_nodes,
            "throttled_calls": result.throttled_calls,
            "tokens": result.tokens["total_tokens"],
            "seconds": result.duration,
            "lines_per_second": pace.lines,
            "tokens_per_second": pace.tokens,
            "seconds_left": pace.seconds_left,
            "nodes": {name: asdict(totals) for name, totals in tuple(result.nodes.items())},
        }

    def _tell(self, kind: str, payload: dict[str, Any]) -> None:
        if self._failed:
            return
        try:
            self._workspace.events.append(kind, self._run, payload)
        except PromptflowException as error:  # a run does not fail for want of news about it
            self._failed = True
            _logger.info("events of the run cannot be kept: %s", error)
