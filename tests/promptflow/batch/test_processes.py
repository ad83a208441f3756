import os

import pytest

from promptflow.batch.engine import run_lines
from promptflow.batch.options import RunOptions
from promptflow.executor.loader import load_executor
from tests.promptflow.batch.test_engine import Results, rows


@pytest.fixture
def executor_of(executor_of):
    """The same, loaded as commands do: another process can load it too."""
    return lambda code: load_executor(executor_of(code).flow.folder)


def run(executor, lines, **options):
    results = Results()
    finished = run_lines(executor, lines, results, run_id="r", options=RunOptions(**{"workers": 2, **options}))
    return results, finished


def test_lines_run_in_worker_processes(executor_of):
    code = """
    import os
    @tool
    def node(x: str):
        print("hello", x)
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
    "abort": ("import os; os.abort()", "signal SIGABRT"),
    "sleep": ("time.sleep(60)", "Line 1 execution timeout"),
    "loop": ("while True: pass", "Line 1 execution timeout"),
    "prints": ("while True: print('z' * 100_000)", "Line 1 execution timeout"),
    "memory": ("b = bytearray(3_000_000_000)", "MemoryError"),
}


@pytest.mark.parametrize("kind", POISON)
@pytest.mark.parametrize("concurrency", [2, 6])
def test_a_poison_row_fails_alone(executor_of, kind, concurrency):
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
    lines = rows(*"abcdefghij")
    results, finished = run(
        executor_of(code), lines, concurrency=concurrency, line_timeout=1.0, memory_limit=2_000_000_000
    )
    assert finished
    assert sorted(results) == list(range(10))
    assert list(results.errors()) == [1]
    assert message in results.errors()[1]
