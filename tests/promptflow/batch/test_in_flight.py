import subprocess
import sys
from pathlib import Path

import pytest

from promptflow.batch.engine import run_lines
from promptflow.batch.in_flight import FILE, SLOTS, InFlight
from promptflow.batch.options import RunOptions
from promptflow.executor.loader import load_executor
from tests.promptflow.batch.test_engine import Results, rows

CRASHING = """
import os, time
@tool
{keyword} node(x: str):
    if x == "c":
        os._exit(7)
    return x.upper()
"""
RUN = """
import sys
from pathlib import Path
from promptflow.batch.engine import run_lines
from promptflow.batch.options import RunOptions
from promptflow.executor.loader import load_executor
lines = [(n, {"x": x}) for n, x in enumerate("abcdef")]
executor = load_executor(sys.argv[1])
run_lines(executor, lines, lambda *r: None, run_id="r", options=RunOptions(concurrency=1), in_flight=Path(sys.argv[2]))
"""


def test_lines_in_flight_are_known_to_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / FILE
    first = InFlight(file)
    for number in (3, 0, 12):
        first.start(number)
    first.end(0)
    assert InFlight(file).before == {3, 12}


def test_a_process_that_lives_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / FILE
    lines = InFlight(file)
    lines.start(3)
    lines.close()
    assert not file.exists()


def test_suspects_that_have_not_ended_stay_suspect(tmp_path: Path) -> None:
    file = tmp_path / FILE
    first = InFlight(file)
    for number in (1, 2, 3):
        first.start(number)
    second = InFlight(file)
    second.start(9)
    second.end(1)
    second.close(ended={2})
    assert InFlight(file).before == {3}


def test_more_lines_than_places_are_no_error(tmp_path: Path) -> None:
    lines = InFlight(tmp_path / FILE)
    for number in range(SLOTS + 5):
        lines.start(number)
    for number in range(SLOTS + 5):
        lines.end(number)
    assert InFlight(tmp_path / FILE).before == set()


def test_a_file_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    file = tmp_path / FILE
    InFlight(file).start(5)
    file.write_bytes(file.read_bytes()[:13])
    assert InFlight(file).before == {5}


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_line_that_ended_the_whole_process_fails_alone_the_next_time(executor_of, tmp_path, keyword):
    folder = executor_of(CRASHING.format(keyword=keyword)).flow.folder
    file = tmp_path / FILE
    crashed = subprocess.run([sys.executable, "-c", RUN, str(folder), str(file)], timeout=60)
    assert crashed.returncode == 7
    results = Results()
    assert run_lines(
        load_executor(folder), rows(*"abcdef"), results, run_id="r", options=RunOptions(), skip={0, 1}, in_flight=file
    )
    assert {n: r.output.get("o") for n, r in results.items()} == {2: None, 3: "D", 4: "E", 5: "F"}
    assert "exit code 7" in results.errors()[2]
    assert not file.exists()
