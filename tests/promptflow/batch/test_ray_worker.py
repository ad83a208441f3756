"""What runs on the nodes of a Ray cluster, without the cluster."""

import io
import pickle
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from promptflow.batch.engine import Batch, run_lines
from promptflow.batch.options import RunOptions
from promptflow.batch.processes import setup_of
from promptflow.batch.ray_files import pack, unpack
from promptflow.batch.ray_traces import keep_traces, take_traces
from promptflow.batch.ray_worker import NodeWorker, Task
from promptflow.contracts.run import Status
from promptflow.exceptions import MissingExtraError, UserErrorException, ValidationException
from promptflow.executor.loader import load_executor
from promptflow.llm import background
from promptflow.workspace import Workspace
from tests.promptflow import flowkit
from tests.promptflow.batch.test_engine import Results, rows

CODE = """
import os, time
@tool
def node(x: str):
    print("hello", x)
    if x == "exit":
        os._exit(3)
    while x == "wait" and not os.path.exists("go"):
        time.sleep(0.01)
    return [x, os.getcwd(), os.environ.get("PF_HOME_DIRECTORY"), sorted(k for k in os.environ if k.startswith("RAY_"))]
"""


@pytest.fixture
def task(executor_of):
    return task_of(executor_of(CODE))


def task_of(flow_of):
    executor = load_executor(flow_of.flow.folder)
    setup = setup_of(Batch(executor, iter(()), Results(), "r", RunOptions()))
    return Task(setup, 1, executor.prefers_async, executor.flow.id, str(executor.flow.folder))


async def run_all(worker: NodeWorker, lines):
    """Give the lines to the worker; what happened until each has ended."""
    events = []
    given = [(number, row, {}) for number, row in lines]
    while len(results_of(events)) < len(lines):
        events += pickle.loads(await worker.exchange(pickle.dumps(given), False))
        given = []
    return events


def in_worker(task: Task, lines, archive: bytes | None = None):
    async def run():
        worker = NodeWorker()
        try:
            failure = pickle.loads(await worker.start(pickle.dumps(task), archive))
            if failure is not None:
                raise failure
            return await run_all(worker, lines)
        finally:
            await worker.stop()

    return background.run(run())  # a loop that lives on, as that of an actor does


def results_of(events):
    return {event[1]: event[2] for event in events if event[0] == "line"}


def test_lines_run_where_the_flow_is(task):
    events = in_worker(task, rows("a", "b", "c"))
    results = results_of(events)
    assert [results[n].output["o"][:2] for n in range(3)] == [[x, task.folder] for x in "abc"]
    assert {event[1]: event[3] for event in events if event[0] == "line"}[1] == "hello b\n"
    nodes = [event[1] for event in events if event[0] == "node"]
    assert sorted(info.index for info in nodes) == [0, 1, 2]
    assert results[0].node_run_infos == {}  # told already


def test_lines_that_wait_for_models_run_together(executor_of):
    code = """
    import asyncio
    together = 0
    @tool
    async def node(x: str):
        global together
        together += 1
        while together < 8:
            await asyncio.sleep(0.01)
        return x
    """
    task = replace(task_of(executor_of(code)), at_once=8)
    assert task.prefers_async
    assert len(results_of(in_worker(task, rows(*"abcdefgh")))) == 8


def test_a_model_that_has_too_much_to_do_is_told_of(executor_of):
    code = """
    from promptflow.llm import pressure
    @tool
    def node(x: str):
        pressure.tell(0.5)
        pressure.tell(2.0, refused=False)
        return x
    """
    events = in_worker(task_of(executor_of(code)), rows("a"))
    assert [event for event in events if event[0] == "throttled"] == [
        ("throttled", 0.5, True),
        ("throttled", 2.0, False),
    ]


def test_a_row_that_ends_its_process_fails_alone(task):
    results = results_of(in_worker(replace(task, at_once=3), rows("a", "exit", "b", "c", "d")))
    assert [n for n, r in results.items() if r.run_info.status is Status.Failed] == [1]
    assert "exit code 3" in results[1].run_info.error["message"]
    assert len(results) == 5


def test_lines_that_have_not_begun_are_given_back(task):
    async def run():
        worker = NodeWorker()
        await worker.start(pickle.dumps(task), None)
        lines = [(number, row, {}) for number, row in rows("wait", "a", "b")]
        events = pickle.loads(await worker.exchange(pickle.dumps(lines), False))  # nothing has ended
        events += pickle.loads(await worker.exchange(pickle.dumps([]), True))
        (Path(task.folder) / "go").touch()
        while not results_of(events):
            events += pickle.loads(await worker.exchange(pickle.dumps([]), False))
        await worker.stop()
        return events

    events = background.run(run())
    assert [event[1] for event in events if event[0] == "dropped"] == [1, 2]
    assert list(results_of(events)) == [0]


def test_elsewhere_the_flow_comes_as_an_archive(task, monkeypatch, home):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "sk-cluster")
    monkeypatch.setenv("PF_HOME_DIRECTORY", "/nowhere")
    folder = Path(task.folder)
    archive = pack(folder)
    (folder / "node.py").write_text("raise RuntimeError('not this one')", encoding="utf-8")
    (result,) = results_of(in_worker(task, rows("a"), archive)).values()
    x, where, _, of_ray = result.output["o"]
    assert (x, of_ray) == ("a", [])
    assert where != task.folder and not Path(where).exists()


def test_a_flow_that_cannot_be_loaded_says_why(task):
    folder = Path(task.folder)
    (folder / "node.py").write_text("import nothing_of_that_name", encoding="utf-8")
    with pytest.raises(UserErrorException, match="nothing_of_that_name"):
        in_worker(task, rows("a"))


def test_versions_must_agree(task):
    with pytest.raises(UserErrorException, match="not 1.0 as here") as caught:
        in_worker(replace(task, version="1.0"), rows("a"))
    assert "promptflow==1.0" in caught.value.hint


def test_an_archive_leaves_out_what_is_ignored(tmp_path):
    flow = flowkit.write(tmp_path / "flow", a_py="1", b_txt="2")
    (flow / ".amlignore").write_text("*.txt\n", encoding="utf-8")
    unpack(pack(flow), tmp_path / "copy")
    assert sorted(file.name for file in (tmp_path / "copy").iterdir()) == [".amlignore", "a.py"]


@pytest.mark.parametrize("name", ["../out.py", "/tmp/out.py", "a/../../out.py"])
def test_an_archive_that_points_outside_is_refused(tmp_path, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(UserErrorException, match="points outside"):
        unpack(buffer.getvalue(), tmp_path / "in" / "flow")
    assert not list(tmp_path.rglob("out.py"))


def test_traces_come_back_whole(task, tmp_path, home):
    there = Workspace.open(tmp_path / "there")
    there.traces_folder.mkdir(parents=True)
    (there.traces_folder / "1-a.jsonl").write_bytes(b'{"a": 1}\n')
    (there.traces_folder / "2-b.jsonl").write_bytes(b'{"b": 2}\n')
    taken = take_traces(there.home)
    assert sorted(taken.splitlines()) == [b'{"a": 1}', b'{"b": 2}']
    assert take_traces(there.home) == b""
    keep_traces(task.setup.origin, taken)
    (kept,) = Workspace.open().traces_folder.glob("*.jsonl")
    assert kept.read_bytes() == taken


@pytest.mark.parametrize("compute", ["dask", "ray://", "rayon", "ray:auto"])
def test_places_that_there_are_not(compute):
    with pytest.raises(ValidationException, match="no place for lines") as caught:
        RunOptions.of({"compute": compute})
    assert "ray://HOST:PORT" in caught.value.hint


def test_without_ray_the_install_line_is_said(executor_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    executor = load_executor(executor_of(CODE).flow.folder)
    with pytest.raises(MissingExtraError) as caught:
        run_lines(executor, rows("a"), Results(), run_id="r", options=RunOptions(compute="ray"))
    assert "promptflow[ray]" in caught.value.hint
