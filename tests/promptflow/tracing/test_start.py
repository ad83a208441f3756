"""``start_trace``, OpenTelemetry users, and the operation context. Each in a process of its own: they set global state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from promptflow.tracing._operation_context import OperationContext
from promptflow.tracing.spans import span
from promptflow.tracing.store import TraceStore
from promptflow.workspace import Workspace


def run(code: str, cwd: Path) -> Any:
    """What the code prints last, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout else None


@pytest.mark.parametrize(
    "call, collection, session",
    [
        ("start_trace()", "my project", None),
        ("start_trace(collection='c', session='s'); start_trace()", "c", "s"),
        ("start_trace(resource_attributes={'team': 'x'}, collection='d')", "d", None),
    ],
)
def test_traces_are_named(home: Path, tmp_path: Path, call: str, collection: str, session: str | None) -> None:
    folder = tmp_path / "my project"
    folder.mkdir()
    run(f"from promptflow.tracing import start_trace, trace\n{call}\ntrace(lambda: 1)()", folder)
    (found,) = TraceStore(Workspace.open(home, "")).list()
    assert (found.root.collection, found.root.session) == (collection, session)


def test_setup_can_be_skipped(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PF_TRACING_SKIP_LOCAL_SETUP", "true")
    run("from promptflow.tracing import start_trace, trace\nstart_trace()\ntrace(lambda: 1)()", tmp_path)
    (found,) = TraceStore(Workspace.open(home, "")).list()
    assert found.root.collection is None


MIRROR = """
import json
from opentelemetry import trace as ot
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
e = InMemorySpanExporter(); p = TracerProvider(); p.add_span_processor(SimpleSpanProcessor(e))
ot.set_tracer_provider(p)
from promptflow.tracing import trace
@trace
def f(x):
    with ot.get_tracer("theirs").start_as_current_span("inner"):
        return g(x)
@trace
def g(x):
    yield x
with ot.get_tracer("theirs").start_as_current_span("outer"):
    assert list(f(1)) == [1]
print(json.dumps([[s.name, f"{s.context.trace_id:032x}", f"{s.context.span_id:016x}",
    f"{s.parent.span_id:016x}" if s.parent else "", s.status.status_code.name, sorted(s.attributes)]
    for s in e.get_finished_spans()]))
"""


def test_spans_are_made_in_a_users_own_provider_too(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    spans = {name: rest for name, *rest in run(MIRROR, tmp_path)}
    assert set(spans) == {"f", "g", "inner", "outer"}
    assert len({trace_id for trace_id, *_ in spans.values()}) == 1
    parent = {name: rest[2] for name, rest in spans.items()}
    own = {name: rest[1] for name, rest in spans.items()}
    assert (parent["f"], parent["inner"], parent["g"]) == (own["outer"], own["f"], own["inner"])
    assert spans["g"][3] == "OK"
    assert {"framework", "span_type", "function", "inputs", "output"} <= set(spans["g"][4])
    (found,) = TraceStore(Workspace.open(home, "")).list()
    assert (found.trace_id, found.root.parent_id) == (spans["f"][0], own["outer"])


FOREIGN = """
from promptflow.tracing import start_trace, trace
start_trace()
from opentelemetry import trace as ot
@trace
def f():
    with ot.get_tracer("theirs").start_as_current_span("inner", attributes={"k": 1}):
        pass
f()
"""


def test_spans_that_others_write_to_opentelemetry_join_the_trace(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    run(FOREIGN, tmp_path)
    root, inner = TraceStore(Workspace.open(home, "")).show("@latest")
    assert (root.name, inner.name, inner.parent_id) == ("f", "inner", root.span_id)
    assert inner.attributes == {"k": 1}


def test_the_operation_context_marks_spans() -> None:
    context = OperationContext.get_instance()
    context._add_otel_attributes("team", "x")
    with span("s") as inside:
        pass
    context._remove_otel_attributes("team")
    with span("s") as outside:
        pass
    assert (inside.attributes["team"], "team" in outside.attributes) == ("x", False)


def test_the_operation_context_is_a_dictionary_of_attributes() -> None:
    context = OperationContext()
    context.run_mode = "Test"
    context.append_user_agent("mine/1")
    context.append_user_agent("mine/1")
    assert (context["run_mode"], context.user_agent) == ("Test", "mine/1")
    assert context.get_user_agent().startswith("mine/1 promptflow/")
    del context.run_mode
    with pytest.raises(AttributeError):
        _ = context.run_mode
