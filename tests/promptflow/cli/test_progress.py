"""What progress says, and how it stands on a terminal: a real one, whose screen is kept by `Screen`."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from promptflow.batch.pace import Pace
from promptflow.batch.result import BatchResult, NodeTotals
from promptflow.cli.progress_text import block, describe, duration
from tests.promptflow.cli.conftest import Pf

BEGIN = datetime(2026, 1, 1)
RUNNING = BatchResult(
    1000,
    BEGIN,
    completed_lines=338,
    failed_lines=2,
    reused_lines=20,
    throttled_calls=7,
    nodes={"ask": NodeTotals(completed=300, cached=100, seconds=240), "check": NodeTotals(completed=300, seconds=3)},
)
PACE = Pace(lines=12.34, tokens=410.4, seconds_left=200.2)


def test_a_plain_line_says_everything() -> None:
    assert describe(RUNNING, PACE) == (
        "340/1000 rows, 2 failed, 20 reused, 100 cached nodes, 7 throttled calls, 12.3 rows/s, 3 min 20 s left, 410 tokens/s, "
        "slowest: ask 1.2 s"
    )


def test_what_is_not_known_is_not_said() -> None:
    assert describe(BatchResult(10, BEGIN), Pace()) == "0/10 rows"
    done = BatchResult(10, BEGIN, completed_lines=10)
    assert describe(done, Pace(lines=5, seconds_left=0)) == "10/10 rows, 5.0 rows/s"


def test_the_block_of_a_wide_terminal() -> None:
    first, second = block(RUNNING, PACE, 119, unicode=False)
    assert first == (
        "340/1000 rows  34%  #############---------------------------  2 failed  20 reused  100 cached nodes  7 throttled calls",
        "yellow",
    )
    assert second == ("12.3 rows/s  3 min 20 s left  410 tokens/s  slowest: ask 1.2 s", "dim")


@pytest.mark.parametrize("width", range(1, 130))
def test_no_line_of_the_block_is_wider_than_the_terminal(width: int) -> None:
    lines = block(RUNNING, PACE, width, unicode=True)
    assert all(0 < len(line) <= width for line, _ in lines)
    assert width < 30 or lines[0][0].startswith("340/1000 rows  34%")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Screen:
    """As much of a terminal as progress needs: text, line ends, cursor up, erase below; colours are left out."""

    def __init__(self, text: str) -> None:
        self.lines, self.row, self.column = [""], 0, 0
        for part in re.findall(r"\x1b\[[\d;]*[A-Za-z]|[^\x1b]", text):
            self._take(part)

    def _take(self, part: str) -> None:
        if part == "\r":
            self.column = 0
        elif part == "\n":
            self.row += 1
            self.lines += [""] * (self.row + 1 - len(self.lines))
        elif part.endswith("A") and part.startswith("\x1b"):
            self.row -= int(part[2:-1])
        elif part == "\x1b[J":
            self.lines[self.row :] = [self.lines[self.row][: self.column]]
        elif not part.startswith("\x1b"):
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + part + line[self.column + 1 :]
            self.column += 1


def on_a_terminal(*words: str, **variables: str) -> tuple[str, str]:
    """Run `pf` with a terminal as its stderr: (stdout, what the terminal got)."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **variables}
    with subprocess.Popen(
        [sys.executable, "-m", "promptflow", *words], stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment
    ) as process:
        os.close(theirs)
        got = b""
        while chunk := _read(ours):
            got += chunk
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(ours)
    return out, got.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


CREATE = ("run", "create", "--flow", "f", "--data", "bad.jsonl", "--fail-on", "never", "--name", "r")


def test_the_block_on_a_terminal_is_drawn_over_itself(project: Path) -> None:
    (project / "f" / "a.py").write_text(
        "import time\nfrom promptflow.core import tool\n\n@tool\ndef echo(x: str):\n    time.sleep(0.3)\n    return x\n"
    )
    out, got = on_a_terminal(*CREATE, "--concurrency", "1")
    assert '"status": "Completed"' in out
    assert got.count("/4 rows") > 2
    lines = Screen(got).lines
    assert lines[0].startswith("4/4 rows 100%  ━━━")
    assert "rows/s" in lines[1] and "slowest: a" in lines[1]
    assert not any("/4 rows" in line for line in lines[1:])


def test_logs_stand_above_the_block(project: Path) -> None:
    (project / "bad.jsonl").write_text('{"x": "1"}\n{"x": "2", "y": 1}\n')
    _, got = on_a_terminal(*CREATE, "--column-mapping", "x=${data.x}", "z=${data.y}", "--verbose")
    lines = [line for line in Screen(got).lines if line]
    assert "WARNING promptflow.batch.lines: line 0 has no column data.y" in lines
    assert sum("/2 rows" in line for line in lines) == 1
    assert lines[-3].startswith("2/2 rows 100%")


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_terminals_without_colour_or_cursor(project: Path, variables: dict[str, str]) -> None:
    got = on_a_terminal(*CREATE, **variables)[1]
    assert "\x1b[3" not in got and "\x1b[2m" not in got
    assert ("\x1b" in got) == ("TERM" not in variables)
    assert "4/4 rows" in got


def test_without_a_terminal_there_are_plain_lines(pf: Pf, project: Path) -> None:
    err = pf(*CREATE)[2]
    assert "4/4 rows, 1 failed" in err
    assert "\x1b" not in err


def test_the_totals_of_nodes() -> None:
    result = BatchResult(10, datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=1))
    assert (result.slowest_node, result.cached_nodes) == (None, 0)
    assert RUNNING.slowest_node == ("ask", 1.2)
    assert RUNNING.cached_nodes == 100
