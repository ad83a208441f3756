"""Spans: what ran, inside what, with which inputs, output, error and tokens.

A span is current inside its ``with`` block; spans opened there are its children, in other threads and tasks too as
long as they carry the context. A finished trace goes to the exporters in one piece.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from time import time_ns
from types import TracebackType
from typing import Any

from promptflow.tracing import bridge, exporters
from promptflow.tracing.payload import dumps

FLUSH_SPANS = 512  # a trace that grows beyond this is exported in parts, so that an endless one cannot fill the memory

_current: ContextVar[Span | None] = ContextVar("promptflow_span", default=None)
_context: ContextVar[Mapping[str, Any]] = ContextVar("promptflow_span_context", default={})  # noqa: B039 (never written)
_sinks: ContextVar[tuple[list[Span], ...]] = ContextVar("promptflow_span_sinks", default=())
_remote: ContextVar[tuple[str, str] | None] = ContextVar("promptflow_span_remote", default=None)
# The ids of traces, and where those of their spans begin: steps from a random start, by an odd number, so that none
# comes twice. To ask the system for each would let go of the interpreter's lock in the middle of a request.
_ID_BITS = 192
_ID_STEP = 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251
_first_id = int.from_bytes(os.urandom(_ID_BITS // 8), "big")
_next_trace = count().__next__
_fork_salt = 0


class _Trace:
    """What the spans of one trace share in this process."""

    __slots__ = ("base", "closed", "exporters", "next", "recorded", "spans", "trace_id")

    def __init__(self) -> None:
        ids = (_first_id + _next_trace() * _ID_STEP) & ((1 << _ID_BITS) - 1)
        self.trace_id = f"{ids >> 64:032x}"
        self.base = ids & 0xFFFFFFFFFFFFFFFF
        self.next = count(1).__next__
        self.exporters = () if disabled() else exporters.active()
        self.recorded = bool(self.exporters) or (bridge.active() and not disabled())
        self.spans: list[Span] = []
        self.closed = False


class Span:
    """One thing that ran. Times are nanoseconds since 1970; ``status`` is Unset, Ok or Error.

    ``attributes`` hold JSON values only; ``inputs``, ``output`` and ``error`` are the live objects.
    ``tokens`` are summed up the tree: its own and its children's.
    """

    __slots__ = (
        "_children_tokens",
        "_mirror",
        "_open",
        "_parent",
        "_sinks",
        "_trace",
        "attributes",
        "end_ns",
        "error",
        "events",
        "inputs",
        "kind",
        "message",
        "name",
        "output",
        "parent_id",
        "span_id",
        "start_ns",
        "status",
        "tokens",
        "trace_id",
    )
    parent_id: str
    span_id: str
    start_ns: int
    trace_id: str

    def __init__(
        self, name: str, kind: str, inputs: Mapping[str, Any] | None = None, attributes: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self.kind = kind
        self.inputs = inputs
        self.output: Any = None
        self.error: BaseException | None = None
        self.status = "Unset"
        self.message = ""
        self.events: list[dict[str, Any]] = []
        self.tokens: dict[str, int] | None = None
        self.end_ns = 0
        self.attributes: dict[str, Any] = {"framework": "promptflow", "span_type": kind}
        if attributes:
            self.attributes.update(attributes)

    def __enter__(self) -> Span:
        parent = _current.get()
        context = _context.get()
        if context:
            self.attributes = {**context, **self.attributes}
        self._sinks = _sinks.get()
        self._open = False
        self._parent = parent
        if parent is None:
            self._trace = trace = _Trace()
            self.parent_id = ""
            remote = _remote.get()
            if remote is not None:
                trace.trace_id, self.parent_id = remote
        else:
            self._trace = trace = parent._trace
            self.parent_id = parent.span_id
        self._mirror = None
        if trace.recorded and bridge.active():
            self._mirror = bridge.start(self.name)
            self.trace_id, self.span_id, self.parent_id = bridge.identity(self._mirror)
        else:
            self.trace_id = trace.trace_id
            self.span_id = f"{((trace.base + trace.next()) & 0xFFFFFFFFFFFFFFFF) ^ _fork_salt:016x}"
        if self.inputs is not None and (trace.recorded or self._sinks):
            self.attributes["inputs"] = dumps(self.inputs)
        _current.set(self)
        self.start_ns = time_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Set, not reset: a generator may be closed in another context than the one that opened it.
        _current.set(self._parent)
        if error is not None:
            self.record_error(error)
            self.end()
        elif not self._open:
            if self.status == "Unset":
                self.status = "Ok"
            self.end()
        elif self._mirror is not None:
            bridge.suspend(self._mirror)

    def set_output(self, value: Any) -> None:
        """The result; the status becomes Ok."""
        self.output = value
        self.status = "Ok"
        if self._trace.recorded or self._sinks:
            self.attributes["output"] = dumps(value)

    def set_attribute(self, key: str, value: Any) -> None:
        """A string, number or bool as it is; anything else as JSON."""
        self.attributes[key] = value if type(value) in (str, int, float, bool) else dumps(value)

    def add_event(self, name: str, payload: Any) -> None:
        text = payload if type(payload) is str else dumps(payload)
        self.events.append({"name": name, "time_ns": time_ns(), "attributes": {"payload": text}})

    def set_usage(self, usage: Mapping[str, Any]) -> None:
        """Tokens of one model call: ``prompt_tokens``, ``completion_tokens``, ``total_tokens``."""
        counts = {key: value for key, value in usage.items() if type(value) is int and key.endswith("_tokens")}
        for key, value in counts.items():
            self.attributes[f"llm.usage.{key}"] = value
        self._add_tokens({key.removesuffix("_tokens"): value for key, value in counts.items()})

    def record_error(self, error: BaseException) -> None:
        """The error it ended with; the status becomes Error."""
        self.error = error
        self.status = "Error"
        self.message = f"{type(error).__name__}: {error}"
        self.events.append(
            {
                "name": "exception",
                "time_ns": time_ns(),
                "attributes": {
                    "exception.type": type(error).__qualname__,
                    "exception.message": str(error),
                    "exception.stacktrace": _stack(error) if self._trace.recorded else "",
                },
            }
        )

    def keep_open(self) -> None:
        """Let the span outlive its ``with`` block (a stream that is still being read); ``end()`` must follow."""
        self._open = True

    @contextmanager
    def resumed(self) -> Iterator[Span]:
        """Make a kept-open span current again, while the next piece of its stream is made."""
        with resumed(self):
            yield self

    @property
    def parent(self) -> Span | None:
        """The span around it, in this process."""
        return self._parent

    def enter(self) -> None:
        """Make it current until ``leave``: for callbacks, which have no block."""
        _current.set(self)

    def leave(self) -> None:
        """No longer current, if it is."""
        if _current.get() is self:
            _current.set(self._parent)

    def end(self) -> None:
        """Close the span; the second time does nothing."""
        if self.end_ns:
            return
        self.end_ns = time_ns()
        parent, trace = self._parent, self._trace
        if self.tokens:
            for key, value in self.tokens.items():
                self.attributes[f"__computed__.cumulative_token_count.{key}"] = value
            if parent is not None and not parent.end_ns:
                parent._add_tokens(self.tokens)
        for sink in self._sinks:
            sink.append(self)
        if self._mirror is not None:
            bridge.finish(self._mirror, self)
        if not trace.exporters:
            return
        spans = trace.spans
        spans.append(self)
        if parent is None:
            trace.closed = True
        if trace.closed or len(spans) >= FLUSH_SPANS:
            trace.spans = []
            for export in trace.exporters:
                export(spans)

    def all_events(self) -> list[dict[str, Any]]:
        """Its events, with the two that repeat the inputs and the output."""
        attributes = self.attributes
        events = []
        if "inputs" in attributes:
            events.append(_payload_event("promptflow.function.inputs", self.start_ns, attributes["inputs"]))
        events += self.events
        if "output" in attributes:
            events.append(_payload_event("promptflow.function.output", self.end_ns, attributes["output"]))
        return events

    def _add_tokens(self, counts: Mapping[str, int]) -> None:
        tokens = self.tokens
        if tokens is None:
            self.tokens = dict(counts)
            return
        for key, value in counts.items():
            tokens[key] = tokens.get(key, 0) + value


def span(
    name: str,
    kind: str = "Function",
    *,
    inputs: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Span:
    """``with span("fetch", "Function", inputs={"url": url}) as s: …; s.set_output(page)``.

    ``kind``: Flow, Function, Tool, LLM, Embedding or Retrieval.
    """
    return Span(name, kind, inputs, attributes)


def current_span() -> Span | None:
    """The innermost open span of this context."""
    return _current.get()


def disabled() -> bool:
    return os.environ.get("PF_DISABLE_TRACING", "").lower() in ("true", "1")


def recording() -> bool:
    """Whether traces that start now are kept: unless PF_DISABLE_TRACING=true or ``trace.destination`` is none."""
    return not disabled() and bool(exporters.active())


def wanted() -> bool:
    """Whether a span that starts now is of use to anybody: it is kept, captured, or inside another."""
    return not disabled() or bool(_sinks.get())


@contextmanager
def resumed(at: Span | None) -> Iterator[None]:
    """Make ``at`` (None: no span) current inside the block."""
    previous = _current.get()
    _current.set(at)
    try:
        yield
    finally:
        _current.set(previous)


@contextmanager
def capture() -> Iterator[list[Span]]:
    """The spans that end inside the block (children before parents), whether or not traces are kept."""
    spans: list[Span] = []
    token = _sinks.set((*_sinks.get(), spans))
    try:
        yield spans
    finally:
        _sinks.reset(token)


@contextmanager
def run_context(
    *,
    run: str | None = None,
    line_number: int | None = None,
    line_run_id: str | None = None,
    session: str | None = None,
    collection: str | None = None,
    **attributes: Any,
) -> Iterator[None]:
    """Attributes for every span that starts inside: the run and line they belong to, and any others by name."""
    named = {
        "batch_run_id": run,
        "line_number": line_number,
        "line_run_id": line_run_id,
        "session_id": session,
        "collection": collection,
    }
    added = {key: value for key, value in {**named, **attributes}.items() if value is not None}
    token = _context.set({**_context.get(), **added})
    try:
        yield
    finally:
        _context.reset(token)


@contextmanager
def remote_parent(ids: tuple[str, str] | None) -> Iterator[None]:
    """Traces that start inside continue one of another process: ``(trace id, span id)``, as hex."""
    token = _remote.set(ids)
    try:
        yield
    finally:
        _remote.reset(token)


def context_attributes() -> Mapping[str, Any]:
    """What spans that start now are given by the contexts around them."""
    return _context.get()


def add_context(attributes: Mapping[str, Any]) -> None:
    """Attributes for the spans that start after this, in this context."""
    _context.set({**_context.get(), **{key: value for key, value in attributes.items() if value is not None}})


def remove_context(keys: Iterable[str]) -> None:
    gone = set(keys)
    _context.set({key: value for key, value in _context.get().items() if key not in gone})


def _payload_event(name: str, time: int, payload: str) -> dict[str, Any]:
    return {"name": name, "time_ns": time, "attributes": {"payload": payload}}


def _stack(error: BaseException) -> str:
    import traceback

    # The innermost frames only: every span that an error passes writes them, and formatting one takes 50 µs.
    return "".join(traceback.format_exception(error, limit=-50))[-20_000:]


def _after_fork() -> None:
    # Neither new traces nor one that is open across a fork may have the same ids in both processes.
    global _first_id, _fork_salt
    _first_id = int.from_bytes(os.urandom(_ID_BITS // 8), "big")
    _fork_salt = int.from_bytes(os.urandom(8), "big")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
