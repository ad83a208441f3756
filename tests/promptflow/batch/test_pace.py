from __future__ import annotations

from datetime import UTC, datetime, timedelta

from promptflow.batch.pace import PaceMeter
from promptflow.batch.result import BatchResult


class Run:
    """A batch of 1,000 lines on a clock of its own."""

    def __init__(self, reused: int = 0, tokens: int = 0) -> None:
        self.now = 0.0
        begin = datetime.now(UTC).replace(tzinfo=None)
        self.result = BatchResult(1000, begin, completed_lines=reused, reused_lines=reused, end_time=begin)
        self.result.tokens["total_tokens"] = tokens
        self.meter = PaceMeter(lambda: self.now)
        self.meter.measure(self.result)

    def go(self, seconds: int, lines: int, tokens: int = 0) -> None:
        """Do so many lines and tokens a second."""
        for _ in range(seconds):
            self.now += 1
            self.result.completed_lines += lines
            self.result.tokens["total_tokens"] += tokens
            self.pace = self.meter.measure(self.result)


def test_rates_and_the_time_left() -> None:
    run = Run()
    run.go(10, lines=20, tokens=500)
    assert (run.pace.lines, run.pace.tokens, run.pace.seconds_left) == (20, 500, 40)


def test_nothing_is_known_before_the_first_line() -> None:
    run = Run()
    run.go(2, lines=0)
    assert (run.pace.lines, run.pace.seconds_left) == (0, None)


def test_only_the_last_half_minute_counts() -> None:
    run = Run()
    run.go(60, lines=1)
    run.go(40, lines=10)
    assert run.pace.lines == 10


def test_lines_and_tokens_of_an_earlier_run_do_not_count() -> None:
    run = Run(reused=500, tokens=90_000)
    run.go(10, lines=5, tokens=100)
    assert (run.pace.lines, run.pace.tokens, run.pace.seconds_left) == (5, 100, 90)


def test_lines_that_are_taken_over_while_it_is_asked_do_not_count() -> None:
    run = Run()
    for _ in range(20):
        run.result.reused_lines += 25
        run.go(1, lines=25, tokens=5000)
        assert (run.pace.lines, run.pace.tokens, run.pace.seconds_left) == (0, 0, None)
    run.go(10, lines=5, tokens=100)
    assert (run.pace.lines, run.pace.tokens, run.pace.seconds_left) == (5, 100, 90)


def test_the_first_measure_counts_from_the_begin_of_the_batch() -> None:
    begin = datetime.now(UTC).replace(tzinfo=None)
    result = BatchResult(100, begin, completed_lines=50, end_time=begin + timedelta(seconds=10))
    assert PaceMeter(lambda: 0.0).measure(result).lines == 5
