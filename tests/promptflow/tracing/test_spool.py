"""Traces in bursts: what waits in memory, what is in the file, which threads see to it."""

import json
import threading
import time
from pathlib import Path

import pytest

from promptflow.tracing import spool
from promptflow.tracing.spool import Spool


def written(folder: Path) -> list[int]:
    return [json.loads(line)["spans"][0]["n"] for file in folder.glob("*") for line in file.read_text().splitlines()]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is not written because of the time."""
    monkeypatch.setattr(spool, "MAX_SECONDS", 60.0)


def writers() -> int:
    return sum(thread.name == "promptflow-spool" for thread in threading.enumerate())


def test_a_trace_that_comes_alone_is_written_at_once(tmp_path: Path) -> None:
    Spool(tmp_path).append_rows([{"n": 1}])
    assert written(tmp_path) == [1]


def test_a_burst_is_written_by_one_thread_which_ends_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_SECONDS", 0.2)
    before = writers()
    target = Spool(tmp_path)
    for n in range(50):
        target.append_rows([{"n": n}])
        assert writers() <= before + 1
    deadline = time.monotonic() + 20
    while target._writer is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert target._writer is None
    assert written(tmp_path) == list(range(50))


def test_flushes_start_no_threads(tmp_path: Path, patient: None) -> None:
    target = Spool(tmp_path)
    target.append_rows([{"n": 0}])
    target.append_rows([{"n": 1}])
    began = threading.active_count()
    for n in range(2, 10 * spool.MAX_TRACES):
        target.append_rows([{"n": n}])
    assert threading.active_count() <= began
    target.flush()
    assert written(tmp_path) == list(range(10 * spool.MAX_TRACES))


def test_large_traces_do_not_wait_in_memory(tmp_path: Path, patient: None) -> None:
    target = Spool(tmp_path)
    target.append_rows([{"n": 0}])
    for n in range(1, 4):
        target.append_rows([{"n": n, "text": "x" * spool.MAX_BYTES}])
        assert written(tmp_path) == list(range(n + 1))


def test_a_child_writes_only_what_is_its_own(tmp_path: Path, patient: None) -> None:
    target = Spool(tmp_path)
    target.append_rows([{"n": 0}])
    target.append_rows([{"n": 1}])
    target.after_fork()  # as the system calls it in a child: what waits is the parent's
    target.append_rows([{"n": 2}])
    target.append_rows([{"n": 3}])
    target.flush()
    assert sorted(written(tmp_path)) == [0, 2, 3]
