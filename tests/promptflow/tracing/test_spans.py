"""Spans: the tree, attributes, tokens, errors, and who gets them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextvars import copy_context

import pytest

from promptflow.tracing import exporters
from promptflow.tracing.spans import Span, capture, current_span, recording, run_context, span


def test_a_tree_has_one_trace_id_and_parents() -> None:
    with capture() as spans, span("root", "Flow", inputs={"x": 1}) as root:
        with span("child") as child:
            assert current_span() is child
            child.set_output([1])
        root.set_output({"o": 2})
    assert [s.name for s in spans] == ["child", "root"]
    assert (child.parent_id, root.parent_id) == (root.span_id, "")
    assert child.trace_id == root.trace_id and len(root.trace_id) == 32 and len(root.span_id) == 16
    assert root.attributes == {
        "framework": "promptflow",
        "span_type": "Flow",
        "inputs": '{"x":1}',
        "output": '{"o":2}',
    }
    assert root.start_ns <= child.start_ns <= child.end_ns <= root.end_ns
    assert current_span() is None


def test_payload_events_repeat_inputs_and_output() -> None:
    with span("s", inputs={"x": 1}) as s:
        s.add_event("between", {"a": 1})
        s.set_output(2)
    events = {event["name"]: event["attributes"]["payload"] for event in s.all_events()}
    assert events == {
        "promptflow.function.inputs": '{"x":1}',
        "between": '{"a":1}',
        "promptflow.function.output": "2",
    }


def test_tokens_sum_up_the_tree() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": {"cached": 1}}
    with span("root") as root:
        with span("middle") as middle:
            for _ in range(2):
                with span("call", "LLM") as call:
                    call.set_usage(usage)
    assert call.attributes["llm.usage.total_tokens"] == 7
    for s, factor in ((call, 1), (middle, 2), (root, 2)):
        assert s.attributes["__computed__.cumulative_token_count.total"] == 7 * factor
        assert s.tokens == {"prompt": 3 * factor, "completion": 4 * factor, "total": 7 * factor}


def test_an_error_is_recorded_and_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), span("s") as s:
        _ = 1 / 0
    assert (s.status, s.message) == ("Error", "ZeroDivisionError: division by zero")
    (event,) = s.events
    assert event["attributes"]["exception.type"] == "ZeroDivisionError"
    assert "test_spans.py" in event["attributes"]["exception.stacktrace"]


def test_spans_of_other_threads_belong_to_the_context_they_carry() -> None:
    def work() -> None:
        with span("in thread"):
            pass

    with capture() as spans, span("root") as root:
        thread = threading.Thread(target=copy_context().run, args=(work,))
        thread.start()
        thread.join()
    assert spans[0].parent_id == root.span_id


def test_run_context_marks_spans_below() -> None:
    with run_context(run="r", line_number=0, line_run_id="r_0", execution_target="dag"), span("s", "Flow") as s:
        pass
    assert {k: v for k, v in s.attributes.items() if k not in ("framework", "span_type")} == {
        "batch_run_id": "r",
        "line_number": 0,
        "line_run_id": "r_0",
        "execution_target": "dag",
    }
    with span("outside") as outside:
        pass
    assert "batch_run_id" not in outside.attributes


def test_a_span_kept_open_ends_later() -> None:
    with span("root"):
        with span("stream") as stream:
            stream.keep_open()
        assert current_span() is not stream and not stream.end_ns
        with stream.resumed():
            with span("inside") as inside:
                pass
        stream.end()
        ended = stream.end_ns
        stream.end()
    assert inside.parent_id == stream.span_id
    assert stream.end_ns == ended > 0


def test_nested_captures_both_see() -> None:
    with capture() as outer:
        with capture() as inner, span("a"):
            pass
        with span("b"):
            pass
    assert ([s.name for s in outer], [s.name for s in inner]) == (["a", "b"], ["a"])


def test_a_finished_trace_is_exported_in_one_piece() -> None:
    got: list[list[str]] = []
    with exporters.export_to(lambda spans: got.append([s.name for s in spans])):
        with span("root"):
            with span("child"):
                pass
    assert got == [["child", "root"]]


def test_an_endless_trace_is_exported_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptflow.tracing.spans.FLUSH_SPANS", 10)
    sizes: list[int] = []
    with exporters.export_to(lambda spans: sizes.append(len(spans))), span("root"):
        for _ in range(25):
            with span("child"):
                pass
    assert sizes == [10, 10, 6]


def test_a_span_that_ends_after_its_trace_is_not_lost() -> None:
    got: list[str] = []
    with exporters.export_to(lambda spans: got.extend(s.name for s in spans)):
        with span("root"):
            with span("late") as late:
                late.keep_open()
        late.end()
    assert got == ["root", "late"]


def test_tracing_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recording()
    monkeypatch.setenv("PF_DISABLE_TRACING", "true")
    assert not recording()
    with capture() as spans, span("s", inputs={"x": 1}) as s:
        s.set_usage({"total_tokens": 1})
    assert spans == [s] and s.tokens == {"total": 1}


def test_a_setting_turns_the_spool_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PF_TRACE_DESTINATION", "none")
    assert not recording()


def test_ids_differ_between_many_spans() -> None:
    ids: set[tuple[str, str]] = set()
    for _ in range(50):
        with capture() as spans, span("root"):
            for _ in range(3):
                with span("child"):
                    pass
        ids |= {(s.trace_id, s.span_id) for s in spans}
    assert len(ids) == 200


FORK = """
import os
from promptflow.tracing.spans import span
def ids():
    with span("inner") as inner, span("another"):
        pass
    return inner.span_id
with span("open"):
    child, parent = os.pipe()
    if os.fork() == 0:
        os.write(parent, ids().encode())
        os._exit(0)
    os.wait()
    print(ids(), os.read(child, 100).decode())
child, parent = os.pipe()
if os.fork() == 0:
    with span("new") as new:
        os.write(parent, new.trace_id.encode())
    os._exit(0)
os.wait()
with span("new") as new:
    print(new.trace_id, os.read(child, 100).decode())
"""


def test_ids_differ_between_processes_that_were_forked() -> None:
    env = {**os.environ, "PF_DISABLE_TRACING": "true"}
    told = subprocess.run([sys.executable, "-c", FORK], env=env, check=True, capture_output=True, text=True, timeout=60)
    pairs = [line.split() for line in told.stdout.splitlines()]
    assert [len(text) for pair in pairs for text in pair] == [16, 16, 32, 32]
    assert all(ours != theirs for ours, theirs in pairs)


def test_attributes_that_are_no_scalars_become_json() -> None:
    with span("s", attributes={"function": "f"}) as s:
        s.set_attribute("a", {"b": 1})
        s.set_attribute("c", True)
    assert (s.attributes["a"], s.attributes["c"], s.attributes["function"]) == ('{"b":1}', True, "f")
    assert isinstance(s, Span)
