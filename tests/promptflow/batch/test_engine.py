import asyncio
import signal
import threading
import time

import pytest

from promptflow.batch.engine import Batch, run_lines
from promptflow.batch.options import RunOptions
from promptflow.batch.tasks import start_tasks
from promptflow.batch.threads import start_threads
from promptflow.contracts.run import Status
from promptflow.exceptions import BatchExecutionTimeoutError, ValidationException
from promptflow.llm import background

THREADS = """
import time
@tool
def node(x: str):
    time.sleep(0.02)
    return x.upper()
"""
TASKS = """
import asyncio
running = most = 0
@tool
async def node(x: str):
    global running, most
    running += 1
    most = max(most, running)
    await asyncio.sleep(0.02)
    running -= 1
    return f"{x.upper()} {most}"
"""


class Results(dict):
    """Line results by number, in order of completion."""

    def __call__(self, result, row, printed):
        self[result.run_info.index] = result
        self.printed = {**getattr(self, "printed", {}), result.run_info.index: printed}

    def errors(self):
        return {n: r.run_info.error["message"] for n, r in self.items() if r.run_info.status is Status.Failed}


def rows(*values):
    return [(number, {"x": value, "line_number": number}) for number, value in enumerate(values)]


def run(executor, lines, **options):
    results = Results()
    skip = options.pop("skip", ())
    finished = run_lines(executor, lines, results, run_id="r", options=RunOptions(**options), skip=skip)
    return results, finished


@pytest.mark.parametrize("code", [THREADS, TASKS])
def test_every_line_is_run_once(executor_of, code):
    results, finished = run(executor_of(code), rows(*"abcdefgh"), concurrency=3)
    assert finished
    assert {n: r.output["o"][0] for n, r in results.items()} == dict(enumerate("ABCDEFGH"))
    assert results[3].run_info.run_id == "r_3"


def test_async_lines_share_one_loop_and_run_at_once(executor_of):
    results, _ = run(executor_of(TASKS), rows(*"abcdefghij"), concurrency=5)
    assert max(int(r.output["o"].split()[1]) for r in results.values()) == 5


def test_sync_lines_run_at_once_on_threads(executor_of):
    code = """
    import threading
    barrier = threading.Barrier(3)
    @tool
    def node(x: str):
        barrier.wait(10)
        return x
    """
    results, _ = run(executor_of(code), rows(*"abcdef"), concurrency=3)
    assert not results.errors()


class Steps:
    """A limit that is 2 for ten lines, then 6, then 1."""

    lines = 0

    @property
    def limit(self):
        return 2 if self.lines < 10 else 6 if self.lines < 30 else 1

    def ended(self):
        self.lines += 1


@pytest.mark.parametrize(("transport", "keyword"), [(start_threads, "def"), (start_tasks, "async def")])
def test_lines_at_once_follow_the_limit(executor_of, transport, keyword):
    code = f"""
    import asyncio, time
    running = 0
    @tool
    {keyword} node(x: str):
        global running
        running += 1
        now = running
        {"await asyncio" if "async" in keyword else "time"}.sleep(0.01)
        running -= 1
        return str(now)
    """
    results = Results()
    batch = Batch(executor_of(code), iter(rows(*"abcdefghijklmno" * 4)), results, "r", RunOptions(), adaptive=Steps())
    watch = transport(batch)
    while not batch.ended.wait(0.05):
        watch()
    seen = [int(result.output["o"]) for result in results.values()]
    assert len(seen) == 60
    assert (max(seen[:10]), max(seen[-15:])) == (2, 1)
    assert 2 < max(seen[10:35]) <= 6


class Watched(asyncio.Task):
    """A task that counts how often somebody asked to be told of its end; all of them together."""

    asked = 0

    def add_done_callback(self, *words, **more):
        Watched.asked += 1
        super().add_done_callback(*words, **more)


def test_the_end_of_many_lines_at_once_costs_no_more_for_each(executor_of):
    async def watch(factory):
        asyncio.get_running_loop().set_task_factory(factory)

    executor, asked = executor_of(TASKS), []
    try:
        background.run(watch(lambda loop, coro, **more: Watched(coro, loop=loop, **more)))
        for count in (50, 200):
            Watched.asked = 0
            results, _ = run(executor, rows(*map(str, range(count))), concurrency=count)
            asked.append(Watched.asked)
            assert len(results) == count
    finally:
        background.run(watch(None))
    assert 0 < asked[1] <= 5 * asked[0]


def test_lines_in_skip_are_left_out(executor_of):
    results, _ = run(executor_of(THREADS), rows(*"abc"), skip={1})
    assert sorted(results) == [0, 2]


@pytest.mark.parametrize("keyword", ["def", "async def"])
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise ValueError('no')", "Execution failure in 'node': (ValueError) no"),
        ("import sys; sys.exit(3)", "3"),
        ("1 / 0", "division by zero"),
        ("raise TimeoutError('theirs')", "theirs"),
    ],
)
def test_what_a_tool_raises_fails_its_line_only(executor_of, keyword, statement, message):
    code = f"""
    @tool
    {keyword} node(x: str):
        if x == "b":
            {statement}
        return x
    """
    results, _ = run(executor_of(code), rows(*"abc"), concurrency=2)
    assert list(results.errors()) == [1]
    assert message in results.errors()[1]


@pytest.mark.parametrize(
    "code",
    [
        "import time\n@tool\ndef node(x: str):\n    if x == 'b':\n        time.sleep(30)\n    return x\n",
        "@tool\ndef node(x: str):\n    while x == 'b':\n        pass\n    return x\n",
        "import asyncio\n@tool\nasync def node(x: str):\n    if x == 'b':\n        await asyncio.sleep(30)\n    return x\n",
    ],
    ids=["blocked", "endless loop", "async"],
)
def test_a_line_out_of_time_fails_and_the_others_go_on(executor_of, code):
    results, _ = run(executor_of(code), rows(*"abcd"), concurrency=2, line_timeout=0.5)
    assert sorted(results) == [0, 1, 2, 3]
    assert results.errors() == {1: "Line 1 execution timeout for exceeding 0.5 seconds"}


def test_an_endless_loop_is_ended(executor_of):
    code = "@tool\ndef node(x: str):\n    while True:\n        pass\n"
    before = set(threading.enumerate())
    run(executor_of(code), rows("a"), concurrency=1, line_timeout=0.2)
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_batch_out_of_time_is_given_up(executor_of, keyword):
    wait = "import time; time.sleep(0.4)" if keyword == "def" else "import asyncio; await asyncio.sleep(0.4)"
    executor = executor_of(f"@tool\n{keyword} node(x: str):\n    {wait}\n")
    results = Results()
    with pytest.raises(BatchExecutionTimeoutError, match=r"timeout \[0\.2s\]"):
        run_lines(executor, rows(*"ab"), results, run_id="r", options=RunOptions(batch_timeout=0.2))
    time.sleep(0.5)
    assert results == {}


@pytest.mark.parametrize("code", [THREADS, TASKS])
def test_data_that_breaks_off_ends_the_batch_after_the_lines_in_flight(executor_of, code):
    def broken():
        yield from rows("a")
        raise ValueError("row 2 is bad")

    results = Results()
    with pytest.raises(ValueError, match="row 2"):
        run_lines(executor_of(code), broken(), results, run_id="r", options=RunOptions(concurrency=1))
    assert list(results) == [0]


@pytest.mark.parametrize("code", [THREADS, TASKS])
def test_a_record_that_cannot_be_written_ends_the_batch(executor_of, code):
    def full(result, row, printed):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_lines(executor_of(code), rows(*"abc"), full, run_id="r", options=RunOptions(concurrency=2))


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_ctrl_c_finishes_the_lines_in_flight_and_starts_no_more(executor_of, keyword):
    code = f"""
    import os, signal, time
    @tool
    {keyword} node(x: str):
        if x == "b":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        return x
    """
    results, finished = run(executor_of(code), rows(*"abcdef"), concurrency=1)
    assert not finished
    assert list(results) == [0, 1]


def test_a_second_ctrl_c_gives_the_lines_in_flight_up(executor_of):
    code = """
    import os, signal, time
    @tool
    def node(x: str):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.7)
        time.sleep(30)
    """
    with pytest.raises(KeyboardInterrupt):
        run(executor_of(code), rows(*"ab"), concurrency=1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_what_a_line_prints_is_kept_apart(executor_of, capsys, keyword):
    code = f"""
    import sys
    @tool
    {keyword} node(x: str):
        print("hello", x)
        print("bad", x, file=sys.stderr)
        return x
    """
    results, _ = run(executor_of(code), rows(*"ab"), concurrency=2)
    assert results.printed == {0: "hello a\nbad a\n", 1: "hello b\nbad b\n"}
    assert capsys.readouterr() == ("", "")


def test_output_without_end_is_cut(executor_of):
    code = "@tool\ndef node(x: str):\n    for _ in range(50):\n        print('z' * 1_000_000)\n    return x\n"
    results, _ = run(executor_of(code), rows("a"))
    assert len(results.printed[0]) < 1_000_100
    assert "more characters left out" in results.printed[0]


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("PF_WORKER_COUNT", "7", "concurrency", 7),
        ("PF_LINE_TIMEOUT_SEC", "1.5", "line_timeout", 1.5),
        ("PF_BATCH_TIMEOUT_SEC", "20", "batch_timeout", 20.0),
        ("PF_BATCH_TIMEOUT_SEC", " ", "batch_timeout", None),
    ],
)
def test_options_come_from_the_environment(monkeypatch, name, value, field, expected):
    monkeypatch.setenv(name, value)
    assert getattr(RunOptions.of(), field) == expected


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_limit_must_be_a_positive_number(monkeypatch, value):
    monkeypatch.setenv("PF_WORKER_COUNT", value)
    with pytest.raises(ValidationException, match="PF_WORKER_COUNT"):
        RunOptions.of()
