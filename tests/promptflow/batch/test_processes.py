import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from promptflow.batch.engine import run_lines
from promptflow.batch.options import RunOptions
from promptflow.exceptions import UserErrorException, WorkerDiedError
from promptflow.executor.loader import load_executor
from tests.promptflow import flowkit
from tests.promptflow.batch.test_engine import Results, rows


@pytest.fixture
def executor_of(executor_of):
    """The same, loaded as commands do: another process can load it too."""
    return lambda code, **kwargs: load_executor(executor_of(code).flow.folder, **kwargs)


def run(executor, lines, *, on_node=None, **options):
    results = Results()
    options = RunOptions(**{"workers": 2, **options})
    finished = run_lines(executor, lines, results, run_id="r", options=options, on_node=on_node)
    return results, finished


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_lines_run_in_worker_processes(executor_of, keyword):
    code = f"""
    import os, time
    @tool
    {keyword} node(x: str):
        print("hello", x)
        time.sleep(0.02)
        return [x.upper(), os.getpid(), os.getcwd()]
    """
    executor = executor_of(code)
    results, finished = run(executor, rows(*"abcdefgh"))
    assert finished
    assert {n: r.output["o"][0] for n, r in results.items()} == dict(enumerate("ABCDEFGH"))
    pids = {r.output["o"][1] for r in results.values()}
    assert len(pids) == 2 and os.getpid() not in pids
    assert results[0].output["o"][2] == str(executor.flow.folder)
    assert results.printed[3] == "hello d\n"
    assert results[3].node_run_infos["node"].run_id == "r_node_3"


POISON = {
    "exit": ("import os; os._exit(3)", "exit code 3"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "signal SIGSEGV"),
    "kill": ("import os; os.kill(os.getpid(), 9)", "signal SIGKILL"),
    "sleep": ("time.sleep(60)", "Line 1 execution timeout for exceeding 0.8 seconds"),
    "loop": ("while True: pass", "Line 1 execution timeout"),
    "interpreter held": ("import ctypes; ctypes.PyDLL(None).sleep(60)", "Line 1 execution timeout"),
    "prints": ("while True: print('z' * 100_000)", "Line 1 execution timeout"),
    "output without end": ("while True: __import__('os').write(1, b'z' * 100_000)", "Line 1 execution timeout"),
    "memory": ("b = bytearray(3_000_000_000)", "MemoryError"),
}


SLOW = {"interpreter held", "prints", "loop"}


@pytest.mark.parametrize(
    ("kind", "at_once"),
    [
        *(pytest.param(kind, 6, marks=[pytest.mark.slow] if kind in SLOW else []) for kind in POISON),
        ("exit", 2),
        ("memory", 2),
    ],
)
def test_a_poison_row_fails_alone(executor_of, kind, at_once):
    statement, message = POISON[kind]
    code = f"""
    import time
    @tool
    def node(x: str):
        if x == "b":
            {statement}
        time.sleep(0.05)
        return x
    """
    limit = 0.8 if "timeout" in message else 20.0  # else a busy machine fails the other lines, too
    results, finished = run(
        executor_of(code), rows(*"abcdefghij"), concurrency=at_once, line_timeout=limit, memory_limit=2_000_000_000
    )
    assert finished
    assert sorted(results) == list(range(10))
    assert list(results.errors()) == [1]
    assert message in results.errors()[1]


def test_the_error_says_where_the_crash_was(executor_of):
    results, _ = run(executor_of("import ctypes\n@tool\ndef node(x: str):\n    ctypes.string_at(0)\n"), rows("a"))
    assert "signal SIGSEGV" in results.errors()[0]
    assert "node.py" in results.errors()[0]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("await asyncio.sleep(60)", "Line 1 execution timeout"),
        pytest.param("time.sleep(60)", "Line 1 execution timeout", marks=pytest.mark.slow),
        ("os._exit(4)", "exit code 4"),
    ],
    ids=["waits", "blocks the loop", "exit"],
)
def test_an_async_poison_row_fails_alone(executor_of, statement, message):
    code = f"""
    import asyncio, os, time
    @tool
    async def node(x: str):
        if x == "b":
            {statement}
        await asyncio.sleep(0.05)
        return x
    """
    results, _ = run(executor_of(code), rows(*"abcdefgh"), line_timeout=0.5, workers=1)
    assert sorted(results) == list(range(8))
    assert list(results.errors()) == [1]
    assert message in results.errors()[1]


TWO_NODES = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${second.output}"}
nodes:
- name: first
  type: python
  source: {type: code, path: first.py}
  inputs: {x: "${inputs.x}"}
- name: second
  type: python
  source: {type: code, path: second.py}
  inputs: {x: "${first.output}"}
"""
FIRST = """
import os
from promptflow.core import tool
@tool
def first(x: str):
    with open("calls.txt", "a") as file:
        file.write(x)
    return x.upper()
"""
SECOND = """
import os, time
from promptflow.core import tool
@tool
def second(x: str):
    time.sleep(0.1)
    if x == "B":
        os._exit(1)
    return x
"""


def test_nodes_that_had_ended_do_not_run_again(tmp_path):
    folder = flowkit.dag(tmp_path / "flow", TWO_NODES, first_py=FIRST, second_py=SECOND)
    told = []
    results, _ = run(load_executor(folder), rows(*"abcdef"), concurrency=6, on_node=told.append)
    assert sorted((folder / "calls.txt").read_text()) == list("abcdef")
    assert {n: r.output.get("o") for n, r in results.items()} == {0: "A", 1: None, 2: "C", 3: "D", 4: "E", 5: "F"}
    assert sorted(results[0].node_run_infos) == ["first", "second"]
    assert results[1].node_run_infos["first"].output == "B"
    assert sorted(i.index for i in told if i.node == "first") == list(range(6))


def test_workers_share_the_node_cache(tmp_path):
    cached = TWO_NODES.replace("- name: first", "- name: first\n  enable_cache: true")
    second = "from promptflow.core import tool\n@tool\ndef second(x: str):\n    return x\n"
    folder = flowkit.dag(tmp_path / "flow", cached, first_py=FIRST, second_py=second)
    for _ in range(2):
        results, _ = run(load_executor(folder), rows(*"abcdef"))
        assert [results[number].output["o"] for number in range(6)] == list("ABCDEF")
    assert sorted((folder / "calls.txt").read_text()) == list("abcdef")
    assert results[0].node_run_infos["first"].cached_run_id


VALUES = {
    "nan": ("float('nan')", lambda v: math.isnan(v)),
    "set": ("{1, 2}", lambda v: v == {1, 2}),
    "bytes": ("b'abc'", lambda v: v == b"abc"),
    "tuple keys": ("{(1, 2): 3}", lambda v: v == {(1, 2): 3}),
    "user's class": ("Point(1, 2)", lambda v: v == {"x": 1, "y": 2}),
    "among others": ("[1, Point(3, 4)]", lambda v: v == [1, {"x": 3, "y": 4}]),
    "function": ("len", lambda v: v is len),
    "lambda": ("lambda: 1", lambda v: isinstance(v, str)),
    "generator": ("(c for c in 'abc')", lambda v: v == "abc"),
    "file": ("open(__file__)", lambda v: isinstance(v, str)),
    "lock": ("__import__('threading').Lock()", lambda v: isinstance(v, str)),
    "big": ("'z' * 100_000_000", lambda v: len(v) == 100_000_000),
    "cyclic": ("cyclic()", lambda v: v[1] is v),
    "deep": ("deep()", lambda v: isinstance(v, list)),
    "unwilling": ("Unwilling()", lambda v: isinstance(v, str)),
}


def test_any_value_comes_back(executor_of):
    code = f"""
    from dataclasses import dataclass
    @dataclass
    class Point:
        x: int
        y: int
    class Unwilling:
        def __reduce__(self):
            raise RuntimeError("no")
        def __str__(self):
            raise RuntimeError("no")
    def cyclic():
        value = [1]
        value.append(value)
        return value
    def deep():
        value = []
        for _ in range(100_000):
            value = [value]
        return value
    @tool
    def node(x: str):
        values = {{{", ".join(f"{kind!r}: lambda: {made}" for kind, (made, _) in VALUES.items())}}}
        return values[x]()
    """
    results, _ = run(executor_of(code), rows(*VALUES), workers=1)
    assert not results.errors()
    outputs = dict(zip(VALUES, (results[number].output["o"] for number in range(len(VALUES))), strict=True))
    assert [kind for kind, (_, is_right) in VALUES.items() if not is_right(outputs[kind])] == []


def test_secrets_are_neither_on_the_command_line_nor_in_the_environment_at_the_start(executor_of, monkeypatch):
    monkeypatch.setenv("MINE_API_KEY", "sk-secret")
    monkeypatch.setenv("MINE_TYPE", "open_ai")
    code = """
    import os
    @tool
    def node(x: str):
        shown = open("/proc/self/cmdline").read() + open("/proc/self/environ").read()
        return [os.environ["KEY"], "KEY=" in shown.replace("_API_KEY=", ""), "sk-other" in shown]
    """
    executor = executor_of(code, environment_variables={"KEY": "${mine.api_key}", "OTHER": "sk-other"})
    results, _ = run(executor, rows("a"), workers=1)
    assert results[0].output["o"] == ["sk-secret", False, False]


def test_a_function_of_the_main_script_is_refused_with_a_hint():
    with pytest.raises(UserErrorException, match="Worker processes cannot load") as raised:
        run(load_executor(lambda x: x), rows("a"))
    assert "module of its own" in raised.value.hint


def test_a_flow_that_cannot_be_loaded_in_a_worker_ends_the_batch(executor_of):
    code = """
    import os
    if os.environ.get("PARENT") != str(os.getpid()):
        os._exit(5)
    @tool
    def node(x: str):
        return x
    """
    os.environ["PARENT"] = str(os.getpid())
    try:
        with pytest.raises(WorkerDiedError, match="exit code 5"):
            run(executor_of(code), rows("a"))
    finally:
        del os.environ["PARENT"]


def test_ctrl_c_finishes_the_lines_in_flight(executor_of):
    code = f"""
    import os, signal, time
    @tool
    def node(x: str):
        if x == "b":
            os.kill({os.getpid()}, signal.SIGINT)
        time.sleep(0.3)
        return x
    """
    results, finished = run(executor_of(code), rows(*"abcdefghij"))
    assert not finished
    assert 2 <= len(results) < 10
    assert not results.errors()


def test_a_second_ctrl_c_kills_the_workers(executor_of, tmp_path):
    code = f"""
    import os, signal, time
    @tool
    def node(x: str):
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
        for _ in range(2):
            os.kill({os.getpid()}, signal.SIGINT)
            time.sleep(0.5)
        time.sleep(60)
    """
    with pytest.raises(KeyboardInterrupt):
        run(executor_of(code), rows("a"), workers=1)
    assert _is_gone(int((tmp_path / "pid").read_text()))


RUN = """
import sys
from promptflow.batch.engine import run_lines
from promptflow.batch.options import RunOptions
from promptflow.executor.loader import load_executor
run_lines(load_executor(sys.argv[1]), [(0, {"x": "a"}), (1, {"x": "b"})], print, run_id="r",
          options=RunOptions(workers=2))
"""


@pytest.mark.parametrize("statement", ["time.sleep(60)", "ctypes.PyDLL(None).sleep(60)"], ids=["waits", "held"])
def test_workers_end_with_their_parent(executor_of, statement):
    code = f"""
    import ctypes, os, time
    @tool
    def node(x: str):
        open(x, "w").write(str(os.getpid()))
        {statement}
    """
    folder = executor_of(code).flow.folder
    parent = subprocess.Popen([sys.executable, "-c", RUN, str(folder)])
    files = [folder / "a", folder / "b"]
    _until(lambda: all(file.exists() and file.read_text() for file in files))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert all(_is_gone(int(file.read_text())) for file in files)


def _is_gone(pid: int) -> bool:
    """Within a while; what is dead but not waited for counts."""

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    _until(gone)
    return True


def _until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
