"""Threads on demand: never more than there is work for, and never too few."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest

from promptflow.executor.threads import DaemonPool


def test_calls_that_wait_for_each_other_all_run() -> None:
    pool, together = DaemonPool(), threading.Barrier(50, timeout=30)
    futures = [pool.submit(together.wait) for _ in range(50)]
    assert sorted(future.result(30) for future in futures) == list(range(50))


def test_no_more_threads_than_the_limit_and_all_calls_run() -> None:
    pool, lock = DaemonPool(max_threads=3), threading.Lock()
    running, most = 0, 0

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
        return number

    assert [future.result(30) for future in [pool.submit(work, n) for n in range(100)]] == list(range(100))
    assert most == 3


def test_a_thread_is_used_again() -> None:
    pool = DaemonPool()
    used = set()
    for _ in range(20):
        used.add(pool.submit(threading.get_ident).result(30))
        time.sleep(0.002)  # it waits for the next call by then
    assert len(used) <= 2


def test_idle_threads_end_and_calls_that_come_meanwhile_run() -> None:
    pool = DaemonPool(idle=0.005)
    for round in range(60):
        futures = [pool.submit(lambda: None) for _ in range(4)]
        for future in futures:
            future.result(30)
        time.sleep(0.001 * (round % 9))  # now and then just as they end
    end = time.monotonic() + 30
    while pool._threads and time.monotonic() < end:  # by name it would be anybody's
        time.sleep(0.01)
    assert not pool._threads


def test_a_call_that_was_cancelled_does_not_run() -> None:
    pool, go, ran = DaemonPool(max_threads=1), threading.Event(), []
    pool.submit(go.wait, 30)
    second: Future[Any] = pool.submit(ran.append, 2)
    assert second.cancel()
    go.set()
    assert pool.submit(lambda: 3).result(30) == 3 and not ran


def test_what_a_call_raises_is_its_own() -> None:
    pool = DaemonPool(max_threads=1)
    with pytest.raises(SystemExit):
        pool.submit(exit, 3).result(30)
    assert pool.submit(lambda: 4).result(30) == 4
