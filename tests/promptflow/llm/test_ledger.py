"""When the next request may go, on a simulated clock."""

from __future__ import annotations

import random

import pytest

from promptflow.llm.ledger import Ledger


def ledger(requests: int = 0, tokens: int = 0) -> Ledger:
    return Ledger([0.0] * Ledger.size(requests), requests, tokens)


def most_in_a_minute(sent: list[tuple[float, float]]) -> float:
    sent = sorted(sent)
    most = current = 0.0
    first = 0
    for at, weight in sent:
        current += weight
        while sent[first][0] <= at - 60 + 1e-6:
            current -= sent[first][1]
            first += 1
        most = max(most, current)
    return most


@pytest.mark.parametrize("requests", [1, 3, 10, 25, 60, 90, 601, 6000])
def test_never_more_requests_in_a_minute_and_no_time_lost(requests: int) -> None:
    book = ledger(requests)
    times = [book.reserve(100.0, 0) for _ in range(5 * requests)]
    assert times == sorted(times) and times[0] == 100.0
    assert most_in_a_minute([(at, 1) for at in times]) <= requests
    assert times[-1] - 100 <= 300 * 1.1


@pytest.mark.parametrize("requests", [3, 60, 601])
def test_requests_that_come_as_they_like_keep_the_limit(requests: int) -> None:
    chance = random.Random(1)
    book, now, sent = ledger(requests), 50.0, []
    for _ in range(3000):
        now += chance.expovariate(requests / 60) if chance.random() < 0.98 else 100
        sent.append((book.reserve(now, 0), 1.0))
    assert most_in_a_minute(sent) <= requests


def test_a_few_requests_go_together() -> None:
    book = ledger(60)
    assert [book.reserve(5.0, 0) for _ in range(12)] == [5.0] * 10 + [15.0] * 2


def test_never_more_tokens_in_a_minute_than_one_request_above() -> None:
    chance = random.Random(1)
    book, sent = ledger(tokens=10_000), []
    for _ in range(2000):
        size = chance.randrange(50, 500)
        sent.append((book.reserve(7.0, size), float(size)))
    assert most_in_a_minute(sent) <= 10_500
    total, seconds = sum(size for _, size in sent), sent[-1][0] - 7.0
    assert total / seconds >= 0.94 * 10_000 / 60


def test_what_a_request_was_more_than_reserved_is_paid_by_the_next() -> None:
    book = ledger(tokens=6300)  # 100 a second
    assert book.reserve(1.0, 100) == 1.0
    book.settle(900)
    assert book.reserve(1.0, 100) == pytest.approx(8.0)  # 10 s, 3 of them ahead


def test_what_it_was_less_is_given_back() -> None:
    book = ledger(tokens=6300)
    book.reserve(1.0, 6300)
    book.settle(-6300)
    assert book.reserve(1.0, 100) == 1.0


def test_both_limits_hold() -> None:
    book = ledger(requests=60, tokens=600)
    sent = [(book.reserve(1.0, 30), 1.0) for _ in range(100)]
    assert most_in_a_minute(sent) <= 22
    book = ledger(requests=6, tokens=600_000)
    assert most_in_a_minute([(book.reserve(1.0, 30), 1.0) for _ in range(100)]) <= 6
