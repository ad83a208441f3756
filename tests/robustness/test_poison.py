"""Rows that end, hang or fill the process that runs them: in workers, and when their run goes on after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.robustness.conftest import Pf, command, flow, outputs, rows, run_folder

CREATE = ("run", "create", "--flow", "f", "--data", "d.jsonl", "--name", "r")
_LATE = "Line 5 execution timeout for exceeding 1.5 seconds"
ALL = [{"o": str(number), "line_number": number} for number in range(12)]


def _except(*numbers: int) -> list[dict]:
    return [row for row in ALL if row["line_number"] not in numbers]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("os._exit(9)", "The process that ran line 5 alone died: exit code 9"),
        pytest.param("import ctypes; ctypes.string_at(0)", "signal SIGSEGV", marks=pytest.mark.slow),
        ("bytearray(3_000_000_000)", "MemoryError"),
        pytest.param("time.sleep(60)", _LATE, marks=pytest.mark.slow),
        pytest.param("while True: print('z' * 1000)", _LATE, marks=pytest.mark.slow),
    ],
    ids=["exit", "segfault", "memory", "hang", "prints"],
)
def test_a_poison_row_fails_alone_in_workers(folder: Path, home: Path, spawn: Pf, body: str, message: str) -> None:
    flow(folder / "f", f"if x == '5':\n    {body}\nreturn x")
    rows(folder / "d.jsonl", *map(str, range(12)))
    told = spawn(*CREATE, "--workers", 2, "--memory-limit", "2GB", "--line-timeout", 1.5)
    assert told.code == 3
    assert told.json()["failed_lines"] == 1
    assert message in told.json()["error"]["message"]
    assert outputs(home, "r") == _except(5)


def test_values_that_cannot_travel_are_in_the_records(folder: Path, home: Path, spawn: Pf) -> None:
    more = "- {name: b, type: python, source: {type: code, path: b.py}, inputs: {v: '${a.output}'}}\n"
    flow(folder / "f", "return type('Mine', (), {'__str__': lambda self: 'mine ' + x})()", more=more)
    (folder / "f" / "b.py").write_text(
        "from promptflow.core import tool\n@tool\ndef b(v):\n    return type(v).__name__\n"
    )
    rows(folder / "d.jsonl", "1", "2", "3")
    assert spawn(*CREATE, "--workers", 2).code == 0
    assert [row["o"] for row in outputs(home, "r")] == ["mine 1", "mine 2", "mine 3"]
    records = sorted(run_folder(home, "r").glob("node_artifacts/b/*.jsonl"))
    assert [json.loads(file.read_text())["run_info"]["output"] for file in records] == ["Mine"] * 3


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_run_goes_on_past_the_row_that_ended_its_process(folder: Path, home: Path, spawn: Pf, keyword: str) -> None:
    flow(folder / "f", "if x == '5':\n    os._exit(9)\nreturn x")
    tool = folder / "f" / "a.py"
    tool.write_text(tool.read_text().replace("def a", f"{keyword} a"))
    rows(folder / "d.jsonl", *map(str, range(12)))
    assert spawn(*CREATE, PF_WORKER_COUNT="3").code == 9
    told = spawn("run", "resume", "r")
    assert told.code == 3
    assert told.json()["failed_lines"] == 1
    assert "The process that ran line 5 alone died: exit code 9" in told.json()["error"]["message"]
    assert outputs(home, "r") == _except(5)
    assert not (run_folder(home, "r") / "in-flight").exists()


def test_killed_workers_lose_nothing(folder: Path, home: Path) -> None:
    flow(folder / "f", "open(f'pids/{os.getpid()}', 'w').close(); time.sleep(0.1)\nreturn x")
    (folder / "f" / "pids").mkdir()
    rows(folder / "d.jsonl", *map(str, range(12)))
    run = subprocess.Popen(
        command(*CREATE, "--workers", 2), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    killed: set[str] = set()
    deadline = time.monotonic() + 30
    while len(killed) < 3 and run.poll() is None:
        assert time.monotonic() < deadline
        for name in {file.name for file in (folder / "f" / "pids").iterdir()} - killed:
            with suppress(ProcessLookupError):  # the run has ended meanwhile
                os.kill(int(name), signal.SIGKILL)
            killed.add(name)
        time.sleep(0.01)
    assert run.wait(30) == 0
    assert killed
    assert outputs(home, "r") == ALL
