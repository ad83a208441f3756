"""``/v1.0/LineRuns``: traces, each with what evaluated it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from promptflow.client import PFClient
from promptflow.service.answers import answered
from promptflow.service.moments import moment
from promptflow.service.search import Expression
from promptflow.tracing.otlp import EXPERIMENT
from promptflow.tracing.records import SpanRecord, TraceSummary
from promptflow.tracing.store import TraceStore

MOST = 1000
MOST_COLLECTIONS = 100
_PAGE = 500
_LINE, _RUN = "referenced.line_run_id", "referenced.batch_run_id"

LineRun = dict[str, Any]
Evaluated = Mapping[Any, Sequence[TraceSummary]]


def routes(client: PFClient) -> APIRouter:
    """The routes of line runs."""
    router = APIRouter(prefix="/v1.0/LineRuns", tags=["LineRuns"])
    store = client.traces.store

    @router.get("/list")
    def list_line_runs(
        collection: str | None = None,
        run: str | None = None,
        experiment: str | None = None,
        trace_ids: str | None = None,
        line_run_ids: str | None = None,
        session: str | None = None,
    ) -> Response:
        """Line runs, newest first, that fit the first of the arguments that is there. Several values of one are
        divided by commas."""
        if collection is not None:
            found = store.list(collection=collection, limit=MOST)
        elif run is not None:
            found = store.list(run=run.split(","), limit=None)
        elif experiment is not None:
            wanted = set(experiment.split(","))
            found = _found(store, lambda trace: trace.root.attributes.get(EXPERIMENT) in wanted)
        elif trace_ids is not None:
            found = store.list(trace_ids=_ids(trace_ids), limit=None)
        elif line_run_ids is not None:
            found = _of_lines(store, line_run_ids.split(","))
        else:
            found = store.list(session=session, limit=MOST)
        return answered(line_runs(store, found))

    @router.get("/search")
    def search_line_runs(
        expression: str, collection: str | None = None, run: str | None = None, session: str | None = None
    ) -> Response:
        """Line runs that an expression is true of, such as `name == "shout" and 100 < total <= 200`."""
        wanted = Expression.parse(expression)
        runs = run.split(",") if run is not None else None
        found = _found(
            store, lambda trace: wanted.fits(line_run(trace)), run=runs, collection=collection, session=session
        )
        return answered(line_runs(store, found))

    @router.get("/Collections/list")
    def list_collections(limit: int = MOST_COLLECTIONS) -> Response:
        """The collections of traces, newest first."""
        found = store.collections(max(0, min(limit, MOST)))
        return answered([{"name": name, "update_time": moment(start)} for name, start in found])

    return router


def line_runs(store: TraceStore, traces: Sequence[TraceSummary]) -> list[LineRun]:
    """Traces as line runs, with their evaluations."""
    if not traces:
        return []
    evaluated = _evaluated(store, traces)
    return [line_run(trace, evaluated) for trace in traces]


def line_run(trace: TraceSummary, evaluated: Evaluated | None = None) -> LineRun:
    """One trace as a line run."""
    root = trace.root
    ended = not root.parent_id  # until its first span has ended, others of the trace stand for it
    found: LineRun = {
        "line_run_id": line_run_id(root),
        "trace_id": f"0x{root.trace_id}",
        "root_span_id": f"0x{root.span_id}" if ended else None,
        "inputs": root.inputs if ended else None,
        "outputs": root.output if ended else None,
        "start_time": moment(trace.start_ns),
        "end_time": moment(trace.end_ns) if ended else None,
        "status": root.status if ended else "Running",
        "latency": f"{trace.duration:.6f}" if ended else None,
        "duration": trace.duration if ended else None,
        "name": root.name if ended else None,
        "kind": root.kind if ended else None,
        "collection": root.collection or "default",
        "run": root.run,
        "line_number": root.line_number,
        "session_id": root.session,
        "experiment": root.attributes.get(EXPERIMENT),
        "cumulative_token_count": root.tokens,
        "evaluations": None,
    }
    if evaluated is not None:
        by_name = {one.root.run or one.root.name: line_run(one) for one in _of(trace, evaluated)}
        found["evaluations"] = by_name or None
    return found


def line_run_id(span: SpanRecord) -> str:
    """What a line run is called: as its trace is where it has no name of its own."""
    return span.line_run_id or f"0x{span.trace_id}"


def _of(trace: TraceSummary, evaluated: Evaluated) -> Sequence[TraceSummary]:
    root = trace.root
    by_line = evaluated.get(line_run_id(root), ())
    by_run = evaluated.get((root.run, root.line_number), ()) if root.run else ()
    return [*by_line, *by_run]


def _evaluated(store: TraceStore, traces: Sequence[TraceSummary]) -> Evaluated:
    """Evaluations by the line run that they name, or by its run and its number in it."""
    found: dict[Any, list[TraceSummary]] = {}
    for trace in store.evaluations(traces):
        attributes = trace.root.attributes
        key: Any = attributes.get(_LINE)
        if key is None and trace.root.line_number is not None:
            key = attributes.get(_RUN), trace.root.line_number
        if isinstance(key, str | tuple):
            found.setdefault(key, []).append(trace)
    return found


def _found(store: TraceStore, fits: Any, **filters: Any) -> list[TraceSummary]:
    """The newest traces of which something is true that the store cannot say."""
    found: list[TraceSummary] = []
    offset = 0
    while len(found) < MOST:
        page = store.list(limit=_PAGE, offset=offset, **filters)
        found += [trace for trace in page if fits(trace)]
        if len(page) < _PAGE:
            break
        offset += _PAGE
    return found[:MOST]


def _of_lines(store: TraceStore, ids: list[str]) -> list[TraceSummary]:
    """A trace that says of no line is one of its own, by the trace's id."""
    named = {trace.trace_id: trace for trace in store.list(line_run_id=ids, limit=None)}
    for trace in store.list(trace_ids=[*map(_plain, ids)], limit=None):
        if not trace.root.line_run_id:
            named[trace.trace_id] = trace
    return sorted(named.values(), key=lambda trace: -trace.start_ns)


def _ids(text: str) -> list[str]:
    return [_plain(one) for one in text.split(",")]


def _plain(trace_id: str) -> str:
    """As the store has it, without the mark of a number."""
    return trace_id.removeprefix("0x").lower()
