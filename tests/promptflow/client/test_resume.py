"""Runs that go on. Most tests rewind a finished run: its journal is cut, as a crash at that moment leaves it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from promptflow.client import PFClient
from promptflow.entities import Run
from promptflow.exceptions import FlowChangedError, RunGoesOnError, RunOperationError
from promptflow.storage.journal import segments
from promptflow.storage.runlock import RunLock, is_held
from promptflow.storage.runs import RunStore
from tests.promptflow import flowkit

FILES = ("inputs.jsonl", "outputs.jsonl", "flow_outputs/output.jsonl", "metrics.json")
CHAIN = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${b.output}"}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}"}}
- {name: b, type: python, source: {type: code, path: b.py}, inputs: {x: "${inputs.x}", a: "${a.output}"}}
- {name: c, type: python, source: {type: code, path: c.py}, aggregation: true, inputs: {all: "${a.output}"}}
"""
A = """
import os
from promptflow.core import tool
@tool
def a(x: str):
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(f"a{x} ")
    return %s
"""
B = """
import os
from promptflow.core import tool
@tool
def b(x: str, a: object):
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(f"b{x} ")
    if x in os.environ.get("BAD", "").split():
        raise ValueError("bad row")
    return f"<{a}>"
"""
C = """
from promptflow.core import log_metric, tool
@tool
def c(all: list):
    log_metric("all", "".join(str(a) for a in all))
"""


@pytest.fixture
def calls(folder: Path, monkeypatch):
    """The calls of nodes since the last time."""
    monkeypatch.setenv("CALLS", str(folder / "calls.txt"))
    monkeypatch.setenv("PF_WORKER_COUNT", "1")

    def read() -> list[str]:
        found = (folder / "calls.txt").read_text().split() if (folder / "calls.txt").exists() else []
        (folder / "calls.txt").write_text("")
        return found

    return read


@pytest.fixture
def chain(folder: Path) -> Path:
    return flowkit.dag(folder / "chain", CHAIN, a_py=A % "[x, {'n': 1.5}]", b_py=B, c_py=C)


def journal(run: Run) -> Path:
    ((_, file),) = segments(run.folder.journal)
    return file


def results(run: Run) -> dict[str, bytes]:
    return {name: (run.folder.path / name).read_bytes() for name in FILES}


def rewind(client: PFClient, run: Run, kept: bytes | int) -> None:
    """Make of a finished run one whose process died when this was in its journal, or that many of its records."""
    if isinstance(kept, int):
        kept = b"".join(journal(run).read_bytes().splitlines(keepends=True)[:kept])
    shutil.rmtree(run.folder.journal)
    run.folder.journal.mkdir()
    (run.folder.journal / "000000.log").write_bytes(kept)
    for name in FILES:
        (run.folder.path / name).unlink(missing_ok=True)
    store = RunStore(client.workspace)
    store.save(replace(store.get(run.name), status="Running", end_time=None))


def ends(file: Path) -> list[int]:
    """Where the records of a segment end."""
    found = [0]
    for line in file.read_bytes().splitlines(keepends=True):
        found.append(found[-1] + len(line))
    return found[1:]


def test_a_run_goes_on_from_any_record(client, chain, data, calls):
    run = client.run(flow=chain, data=data("0", "1", "2"), name="r")
    whole, pristine = results(run), journal(run).read_bytes()
    assert calls() == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert client.get_metrics(run) == {"all": "['0', {'n': 1.5}]['1', {'n': 1.5}]['2', {'n': 1.5}]"}
    expected = ["a0 b0 a1 b1 a2 b2", "b0 a1 b1 a2 b2", "a1 b1 a2 b2", "a1 b1 a2 b2", "b1 a2 b2", "a2 b2", "a2 b2"]
    expected += ["b2", "", "", ""]  # after the last node, the last line, the aggregation
    for end, again in zip(ends(journal(run)), expected, strict=True):
        rewind(client, run, pristine[:end])
        assert client.runs.get("r").status == "Interrupted"
        resumed = client.runs.resume("r")
        assert (resumed.status, results(resumed)) == ("Completed", whole)
        assert calls() == again.split()
        assert resumed.properties["system_metrics"]["__pf__.lines.completed"] == 3


def test_a_record_cut_anywhere_is_as_good_as_none(client, chain, data, calls):
    run = client.run(flow=chain, data=data("0", "1"), name="r")
    whole, pristine = results(run), journal(run).read_bytes()
    *_, start, end = ends(journal(run))[:-1]  # the last line; the aggregation is after it
    calls()
    for size in range(start, end, 11):
        rewind(client, run, pristine[:size])
        assert results(client.runs.resume("r")) == whole
        assert calls() == []


@pytest.mark.parametrize(
    "value", ["(x, 1)", "{x}", "float('nan')", "{1: x}", "x.encode()", "10**30", "[(x, {2: 'ä'})]"]
)
def test_values_that_json_does_not_hold_are_what_they_were(client, chain, data, calls, value):
    (chain / "a.py").write_text(A % value)
    run = client.run(flow=chain, data=data("0"), name="r")
    whole, pristine = results(run), journal(run).read_bytes()
    calls()
    for end, again in zip(ends(journal(run))[1:], ["b0", "", "", ""], strict=True):
        rewind(client, run, pristine[:end])
        assert results(client.runs.resume("r")) == whole
        assert calls() == again.split()


@pytest.mark.parametrize("value", ["object", "[open]"])
def test_a_node_whose_value_is_not_what_its_record_says_runs_again(client, chain, data, calls, value):
    (chain / "a.py").write_text(A % value)
    run = client.run(flow=chain, data=data("0"), name="r")
    rewind(client, run, 2)
    calls()
    resumed = client.runs.resume("r")
    assert (resumed.status, calls()) == ("Completed", ["a0", "b0"])
    assert [list(nodes) for _, nodes in resumed.folder.lines_with_nodes()] == [["a", "b"]]


def test_images_are_images_again(client, chain, data, calls):
    image = "promptflow.contracts.multimedia.Image(b'\\x89PNG\\r\\n\\x1a\\n' + x.encode())"
    (chain / "a.py").write_text("import promptflow.contracts.multimedia\n" + A % image)
    (chain / "b.py").write_text(B.replace('f"<{a}>"', "a"))
    run = client.run(flow=chain, data=data("0", "1"), name="r")
    whole = results(run)
    assert b'"data:image/png;path"' in whole["outputs.jsonl"]
    pristine = journal(run).read_bytes()
    for end in ends(journal(run)):
        rewind(client, run, pristine[:end])
        assert results(client.runs.resume("r")) == whole
    assert calls()[:6] == ["a0", "b0", "a1", "b1", "a0", "b0"]


def test_retry_runs_failed_lines_alone_and_from_their_beginning(client, chain, data, calls, monkeypatch):
    monkeypatch.setenv("BAD", "1 3")
    run = client.run(flow=chain, data=data("0", "1", "2", "3"), name="r")
    assert run.properties["system_metrics"]["__pf__.lines.failed"] == 2
    calls()
    monkeypatch.setenv("BAD", "3")
    again = client.runs.retry("r")
    assert calls() == ["a1", "b1", "a3", "b3"]
    assert (again.name, again.properties["system_metrics"]["__pf__.lines.failed"]) == ("r", 1)
    assert "1/4 lines" in again.folder.error()["message"]
    assert client.runs.resume("r").status == "Completed"
    assert calls() == []
    monkeypatch.setenv("BAD", "")
    healed = client.runs.retry("r")
    assert calls() == ["a3", "b3"]
    assert healed.folder.error() == {}
    assert [row["line_number"] for row in healed.folder.outputs()] == [0, 1, 2, 3]
    assert [record["status"] for record in healed.folder.lines()] == ["Completed"] * 4
    assert client.get_metrics(healed)["all"].count("n") == 4
    assert not (healed.folder.path / "flow_logs/000000003.log").exists()
    fresh = client.run(flow=chain, data=data("0", "1", "2", "3"))
    assert results(fresh) == results(healed)


def test_a_large_run_goes_on_and_is_the_same(client, chain, data, calls, monkeypatch):
    monkeypatch.setenv("PF_WORKER_COUNT", "4")
    monkeypatch.setattr("promptflow.storage.journal.SEGMENT_BYTES", 20_000)
    run = client.run(flow=chain, data=data(*map(str, range(300))), name="r")
    whole = results(run)
    calls()
    *_, middle, last = segments(run.folder.journal)
    last[1].unlink()
    middle[1].write_bytes(middle[1].read_bytes()[:1000])
    for name in FILES[:3]:
        (run.folder.path / name).write_bytes(b'{"line_number": 5, "torn')
    store = RunStore(client.workspace)
    store.save(replace(store.get("r"), status="Running"))
    resumed = client.runs.resume("r")
    assert results(resumed) == whole
    assert 0 < len(calls()) < 200
    assert [record["index"] for record in resumed.folder.lines()] == list(range(300))


def test_a_run_that_was_made_of_another_goes_on(client, chain, data, calls, monkeypatch):
    monkeypatch.setenv("BAD", "1")
    first = client.run(flow=chain, data=data("0", "1", "2"), name="first")
    monkeypatch.setenv("BAD", "")
    second = client.run(resume_from=first, name="second")
    whole = results(second)
    pristine = journal(second).read_bytes()
    for kept in (1, 3):
        calls()
        rewind(client, second, b"".join(pristine.splitlines(keepends=True)[:kept]))
        assert results(client.runs.resume("second")) == whole
        assert calls() == ["a1", "b1"]


def test_a_flow_that_was_changed_is_told_of(client, chain, data, calls):
    run = client.run(flow=chain, data=data("0", "1"), name="r")
    rewind(client, run, 5)  # line 0 has ended, and the first node of line 1
    (chain / "b.py").write_text(B.replace("<", "(").replace(">", ")"))
    (chain / "new.jinja2").write_text("")
    (chain / "run.log").write_text("what a flow writes is no change of it")
    with pytest.raises(FlowChangedError, match="b.py was changed; new.jinja2 is new") as told:
        client.runs.resume("r")
    assert "--accept-changes" in told.value.hint
    assert client.runs.get("r").status == "Interrupted"
    calls()
    resumed = client.runs.resume("r", accept_changes=True)
    assert [row["o"][0] for row in resumed.folder.outputs()] == ["<", "("]
    assert calls() == ["a1", "b1"]


def test_data_that_were_changed_are_told_of(client, chain, data, calls):
    run = client.run(flow=chain, data=data("0", "1"), name="r")
    rewind(client, run, 1)
    data("1", "0", "2")
    with pytest.raises(FlowChangedError, match="data was changed"):
        client.runs.resume("r")
    assert [row["line_number"] for row in client.runs.resume("r", accept_changes=True).folder.outputs()] == [0, 1, 2]


def test_a_run_that_another_process_works_on_is_left_alone(client, echo, data):
    run = client.run(flow=echo, data=data("1"), name="r")
    store = RunStore(client.workspace)
    store.save(replace(store.get("r"), status="Running"))
    with RunLock(run.folder.path, "r"):
        assert is_held(run.folder.path)
        assert client.runs.get("r").status == "Running"
        with pytest.raises(RunGoesOnError, match="'r' goes on"):
            client.runs.resume("r")
    assert not is_held(run.folder.path)
    assert client.runs.get("r").status == "Interrupted"


def test_of_two_that_resume_at_once_one_goes_on(client, chain, data, calls):
    run = client.run(flow=chain, data=data(*map(str, range(20))), name="r")
    rewind(client, run, 1)
    (chain / "a.py").write_text(
        "import time\n" + (A % "[x, {'n': 1.5}]").replace("    return", "    time.sleep(.05)\n    return")
    )
    calls()
    words = [sys.executable, "-m", "promptflow", "run", "resume", "r", "--accept-changes", "--no-progress"]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=60) for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert "goes on in another process" in told[0][1] + told[1][1]
    assert sorted(calls()) == sorted(f"{node}{n}" for n in range(20) for node in "ab")


def test_a_process_that_a_tool_forked_does_not_keep_the_run(client, folder, data):
    flowkit.dag(
        folder / "forks",
        CHAIN[: CHAIN.index("- {name: b")].replace("b.output", "a.output"),
        a_py="import os, signal, time\nfrom promptflow.core import tool\n@tool\ndef a(x: str):\n"
        "    if os.fork() == 0:\n        time.sleep(30)\n        os._exit(0)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    code = "from promptflow.client import PFClient; PFClient().run(flow='forks', data='data.jsonl', name='r')"
    data("1")
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    assert process.wait(30) == -signal.SIGKILL
    try:
        assert client.runs.get("r").status == "Interrupted"
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_a_name_whose_run_was_killed_before_it_was_recorded_is_free(client, echo, data):
    folder = Path(client.workspace.runs_folder) / "r"
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    assert client.run(flow=echo, data=data("1"), name="r").status == "Completed"


def test_a_run_without_a_journal_can_only_be_made_anew(client, echo, data):
    run = client.run(flow=echo, data=data("1", "bad"), name="r")
    shutil.rmtree(run.folder.journal)
    with pytest.raises(RunOperationError, match="no journal") as told:
        client.runs.retry("r")
    assert "--resume-from" in told.value.hint


def test_an_aggregation_that_failed_runs_again(client, chain, data, calls):
    (chain / "c.py").write_text(C.replace("    log", "    raise ValueError(7)\n    log"))
    run = client.run(flow=chain, data=data("0"), name="r")
    assert "(ValueError) 7" in run.folder.error()["message"]
    (chain / "c.py").write_text(C)
    calls()
    resumed = client.runs.resume("r", accept_changes=True)
    assert (client.get_metrics(resumed), resumed.folder.error(), calls()) == ({"all": "['0', {'n': 1.5}]"}, {}, [])


FULL = """
import resource, signal, sys
from promptflow.client import PFClient
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
PFClient().run(flow="chain", data="data.jsonl", name="r")
"""


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(client, chain, data, calls, folder):
    data(*(f"{n:03}{'.' * 5000}" for n in range(60)))
    subprocess.run([sys.executable, "-c", FULL], cwd=folder, check=True)
    failed = client.runs.get("r")
    assert failed.status == "Failed"
    assert "the file would grow past the size limit" in failed.folder.error()["message"]
    first = calls()
    resumed = client.runs.resume("r")
    assert [row["line_number"] for row in resumed.folder.outputs()] == list(range(60))
    assert all(record["status"] == "Completed" for record in resumed.folder.lines())
    repeated = len(first) + len(calls()) - 120
    assert 0 <= repeated <= 2


def test_an_aggregation_gets_the_inputs_of_lines_as_they_were(client, chain, folder):
    (chain / "flow.dag.yaml").write_text(
        "inputs: {x: {type: object}}\noutputs: {}\nnodes:\n"
        "- {name: c, type: python, source: {type: code, path: c.py}, aggregation: true, inputs: {all: '${inputs.x}'}}\n"
    )
    (folder / "rows.jsonl").write_text('{"x": NaN}\n{"x": {"a": [1, -Infinity]}}\n{"x": "text"}\n')
    run = client.run(flow=chain, data=folder / "rows.jsonl", name="r")
    whole, pristine = results(run), journal(run).read_bytes()
    assert client.get_metrics(run) == {"all": "nan{'a': [1, -inf]}text"}
    for end in ends(journal(run)):
        rewind(client, run, pristine[:end])
        assert results(client.runs.resume("r")) == whole


def test_a_class_with_aggregation_goes_on(client, folder, data, calls):
    (folder / "flex").mkdir()
    (folder / "flex" / "m.py").write_text(
        "class Flow:\n    def __call__(self, x: str):\n        return {'o': (x * 2, float('nan'))}\n"
        "    def __aggregate__(self, results):\n        return {'all': ''.join(f'{r.o}' for r in results)}\n"
    )
    (folder / "flex" / "flow.flex.yaml").write_text("entry: m:Flow\n")
    run = client.run(flow=folder / "flex", data=data("0", "1"), name="r")
    whole = results(run)
    assert json.loads(whole["metrics.json"]) == {"all": "('00', nan)('11', nan)"}
    rewind(client, run, 2)
    assert results(client.runs.resume("r")) == whole


def test_runs_go_on_in_any_database(workspace, chain, data, calls):
    client = PFClient(workspace=workspace)
    run = client.run(flow=chain, data=data("0", "1"), name="r", tags={"a": "b"}, environment_variables={"Z": "1"})
    rewind(client, run, 2)
    started = client.runs.get("r")._start_time
    resumed = client.runs.resume("r")
    assert (resumed.status, resumed.tags, resumed._start_time) == ("Completed", {"a": "b"}, started)


def test_progress_counts_what_had_ended_before_as_it_is_taken_over(client, echo, data):
    seen: list[tuple[int, int]] = []
    run = client.run(flow=echo, data=data("1", "bad", "3"), name="r")
    client.runs.retry(run, progress=lambda result: seen.append((result.ended_lines, result.reused_lines)))
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 2)]
