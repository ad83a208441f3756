"""SIGKILL at random moments, in small form: the whole is ``python -m benchmarks.run --only faults``."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks.bench import OURS, Bench
from benchmarks.faults import LATENCY, SETTINGS
from benchmarks.kills import DRIVER, Killer, Setting
from benchmarks.model import model

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc"),
    pytest.mark.skipif(not (OURS / "pf").exists(), reason="pf is not installed here"),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with model(LATENCY) as quick:
        yield Bench(quick, work=tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("setting", [setting for _, setting in SETTINGS], ids=lambda setting: setting.name)
def test_killed_runs_lose_repeat_and_spoil_nothing(setting: Setting, bench: Bench) -> None:
    kills = 5 if setting.victim == DRIVER else 3  # more than 20 in all
    tally = Killer(bench, replace(setting, rows=60), kills, random.Random(3)).tally()
    assert tally.kills == kills
    assert tally.ok, tally
