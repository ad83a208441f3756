"""Probes: how many in a row decide, and when they are due."""

from __future__ import annotations

import pytest

from serve.endpoints.spec import Probe
from serve.supervisor.probing import Count

GOOD, BAD = True, False


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([GOOD, GOOD], [True, True]),
        ([BAD, GOOD], [None, True]),
        ([BAD, BAD, BAD], [None, None, False]),
        ([BAD, BAD, GOOD, BAD, BAD], [None, None, True, None, None]),
        ([BAD, BAD, BAD, GOOD, BAD, GOOD, GOOD], [None, None, False, None, False, None, True]),
    ],
)
def test_so_many_in_a_row_decide(answers: list[bool], told: list[bool | None]) -> None:
    count = Count(b"/", Probe(success=2, failure=3), 0.0, 0.0)
    assert [count.told(well, 1.0) for well in answers] == told


def test_it_is_due_after_its_period_and_not_before_its_first_delay() -> None:
    assert Count(b"/", Probe(initial_delay=60.0, period=10.0), 100.0, 101.0).due == 160.0
    count = Count(b"/", Probe(initial_delay=0.0, period=10.0), 100.0, 101.0)
    assert count.due == 111.0
    count.told(True, 111.0)
    assert count.due == 121.0
    count.hurry(1.0, 112.0)
    assert count.due == 113.0
    count.hurry(60.0, 112.0)
    assert count.due == 113.0
