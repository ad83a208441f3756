"""From the spool to the span table, and back out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptflow.exceptions import StoreError
from promptflow.tracing import otlp, spool
from promptflow.tracing.exporters import export_to
from promptflow.tracing.records import as_row
from promptflow.tracing.spans import run_context, span
from promptflow.tracing.store import TraceStore
from promptflow.workspace import Workspace


@pytest.fixture
def store(workspace: Workspace) -> Iterator[TraceStore]:
    with export_to(workspace=workspace):
        yield TraceStore(workspace)


def one(name: str = "root", **context: object) -> str:
    with run_context(**context), span(name, "Flow", inputs={"x": 1}) as root:  # type: ignore[arg-type]
        with span("child", "LLM") as child:
            child.set_usage({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
        root.set_output("y")
    return root.trace_id


def test_a_trace_is_listed_and_shown(store: TraceStore) -> None:
    trace_id = one(run="r", line_number=4, line_run_id="r_4", session="s", collection="c")
    (found,) = store.list()
    assert (found.trace_id, found.root.name, found.spans) == (trace_id, "root", 2)
    assert (found.root.run, found.root.line_number, found.root.session, found.root.collection) == ("r", 4, "s", "c")
    assert (found.root.inputs, found.root.output, found.root.tokens["total"]) == ({"x": 1}, "y", 3)
    root, child = store.show(trace_id)
    assert (root.name, child.name, child.parent_id) == ("root", "child", root.span_id)
    names = [event["name"] for event in root.events]
    assert names == ["promptflow.function.inputs", "promptflow.function.output"]


def test_a_trace_whose_root_is_elsewhere_is_named_by_its_first_span(store: TraceStore) -> None:
    one()
    root, child = store.show("@latest")
    store.delete(trace_ids=[root.trace_id])
    later = {**as_row(child), "span_id": "f" * 16, "start_ns": child.start_ns + 5, "name": "later"}
    store.add([later, as_row(child)])
    (found,) = store.list()
    assert (found.root.name, found.spans, found.start_ns) == ("child", 2, child.start_ns)


def test_filters_and_order(store: TraceStore) -> None:
    first, second = one(run="a", session="s"), one(run="b")
    assert [t.trace_id for t in store.list()] == [second, first]
    assert [t.trace_id for t in store.list(run="a")] == [first]
    assert [t.trace_id for t in store.list(run=["a", "b"], limit=1)] == [second]
    assert [t.trace_id for t in store.list(offset=1)] == [first]
    assert [t.trace_id for t in store.list(session="s", collection="other")] == []
    assert store.list(started_before="2020-01-01") == []
    assert len(store.list(started_after="2020-01-01")) == 2


def test_what_evaluates_others_says_so(store: TraceStore) -> None:
    asked, other = one(collection="asked", line_run_id="l"), one(collection="asked", run="r", line_number=7)
    grades = []
    for number, refers in ((1, {"line_run_id": "l"}), (7, {"batch_run_id": "r"}), (8, {"batch_run_id": "r"})):
        named = {f"referenced.{key}": value for key, value in refers.items()}
        with run_context(collection="grades", line_number=number, **named), span("grade", "Flow") as grade:  # type: ignore[arg-type]
            with span("child"):
                pass
        grades.append(grade.trace_id)
    every = store.list()
    by_line, by_run = (next(t for t in every if t.trace_id == one) for one in (asked, other))
    assert [t.trace_id for t in store.evaluations([by_line])] == grades[:1]
    assert [t.trace_id for t in store.evaluations([by_run])] == grades[1:2]
    assert [t.trace_id for t in store.evaluations([by_line, by_run] * 20)] == grades
    assert [t.spans for t in store.evaluations([by_line])] == [2]
    assert store.evaluations([]) == []
    assert [name for name, _ in store.collections(5)] == ["grades", "asked"]
    assert [name for name, _ in store.collections(1)] == ["grades"]
    assert {t.trace_id for t in store.list(trace_ids=[asked, other, "none"])} == {asked, other}
    assert [t.trace_id for t in store.list(line_run_id=["none", "l"])] == [asked]


def test_a_trace_is_found_by_the_beginning_of_its_id_and_by_its_line(store: TraceStore) -> None:
    trace_id = one(line_run_id="line_0")
    for text in (trace_id[:8], f"0x{trace_id}", "line_0", "@latest"):
        assert store.show(text)[0].trace_id == trace_id
    with pytest.raises(StoreError, match="is no trace"):
        store.show("ffff_nothing")


def test_deleting_takes_whole_traces(store: TraceStore) -> None:
    one(run="a")
    kept = one(run="b")
    assert store.delete(run="a", dry_run=True) == 2
    assert store.delete(run="a") == 2
    assert [t.trace_id for t in store.list()] == [kept]
    assert store.delete(trace_ids=[kept]) == 2
    with pytest.raises(StoreError, match="Refusing"):
        store.delete()
    with pytest.raises(StoreError, match="is not a time"):
        store.delete(started_before="soon")


def test_reading_twice_keeps_one_copy(store: TraceStore, workspace: Workspace) -> None:
    one()
    spool.flush()
    (file,) = workspace.traces_folder.glob("*.jsonl")
    content = file.read_bytes()
    assert store.ingest() == 2
    file.write_bytes(content)
    store.ingest()
    assert len(store.show("@latest")) == 2
    assert list(workspace.traces_folder.iterdir()) == []


def test_a_torn_last_line_is_dropped_and_the_rest_kept(store: TraceStore, workspace: Workspace) -> None:
    one()
    spool.flush()
    (file,) = workspace.traces_folder.glob("*.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole + b"not json\n" + whole[:200])
    assert store.ingest() == 2


def test_what_a_dead_reader_had_claimed_is_read_again(store: TraceStore, workspace: Workspace) -> None:
    one()
    spool.flush()
    (file,) = workspace.traces_folder.glob("*.jsonl")
    file.rename(f"{file}.claimed")
    assert store.ingest() == 2


def test_a_writer_goes_on_after_its_file_was_claimed(store: TraceStore) -> None:
    ids = set()
    for _ in range(3):
        ids.add(one())
        store.ingest()
    assert {t.trace_id for t in store.list()} == ids


PROCESS = """
import os
from promptflow.tracing.spans import span
for number in range(600):
    with span(f"s{number}"):
        pass
if os.fork() == 0:
    with span("of the child"):
        pass
    raise SystemExit
os.wait()
"""


def test_processes_leave_their_traces_at_exit_each_once(home: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", PROCESS], env=env, check=True, timeout=60)
    store = TraceStore(Workspace.open(home, ""))
    traces = store.list(limit=None)
    assert len(traces) == 601
    assert len({t.root.name for t in traces}) == 601


WORKERS = """
import multiprocessing
from promptflow.tracing.spans import span
def work(number):
    for _ in range(3):
        with span(f"s{number}"):
            pass
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(n,)) for n in range(3)]
    [w.start() for w in workers]
    [w.join() for w in workers]
"""


def test_workers_of_multiprocessing_leave_theirs_too(home: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", WORKERS], env=env, check=True, timeout=60)
    assert len(TraceStore(Workspace.open(home, "")).list()) == 9


def test_threads_lose_no_trace(store: TraceStore) -> None:
    def work(number: int) -> None:
        with export_to(workspace=store._workspace):
            for _ in range(200):
                with span("s"):
                    pass

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.list(limit=None)) == 800


def test_a_spool_that_cannot_be_written_stops_nothing(workspace: Workspace) -> None:
    workspace.traces_folder.parent.mkdir(parents=True, exist_ok=True)
    workspace.traces_folder.write_text("a file where a folder should be")
    with export_to(workspace=workspace):
        one()
    spool.flush()

    assert workspace.traces_folder.read_text() == "a file where a folder should be"


def test_exports_are_otlp(store: TraceStore) -> None:
    trace_id = one(collection="c")
    (request,) = store.export([trace_id])
    rows = otlp.decode(request)
    assert {row["trace_id"] for row in rows} == {trace_id} and {row["collection"] for row in rows} == {"c"}
    store.delete(trace_ids=[trace_id])
    store.add(rows)
    assert [s.name for s in store.show(trace_id)] == ["root", "child"]


def test_errors_are_kept(store: TraceStore) -> None:
    with pytest.raises(ValueError), span("s"):
        raise ValueError("bad")
    (root,) = store.show("@latest")
    assert (root.status, root.error) == ("Error", "ValueError: bad")


def test_odd_text_survives(store: TraceStore) -> None:
    with span("nul \x00 name", inputs={"x": "nul \x00 and \ud800"}) as s:
        s.set_output("é\u2028")
    (root,) = store.show(s.trace_id)
    assert (root.name, root.inputs, root.output) == ("nul  name", {"x": "nul \x00 and ?"}, "é\u2028")
