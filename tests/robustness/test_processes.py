"""Signals, streams that are closed, several processes at once, odd terminals and locales."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.robustness.conftest import Pf, Told, command, flow, outputs, rows

BASH = "/bin/bash"
pytestmark = pytest.mark.skipif(not Path(BASH).exists(), reason="needs a shell")


@pytest.fixture(autouse=True)
def project(folder: Path) -> None:
    """The flow `f` and the data `d.jsonl`."""
    flow(folder / "f")
    rows(folder / "d.jsonl", "1", "2", "3")


def shell(folder: Path, text: str, **variables: str) -> Told:
    """Run a line of shell in which `pf` is this one."""
    (folder / "bin").mkdir(exist_ok=True)
    script = folder / "bin" / "pf"
    start = f"#!{sys.executable}\nimport sys\nfrom promptflow.cli.main import program\nprogram()\n"
    script.write_text(start, encoding="utf-8")
    script.chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [BASH, "-c", text], cwd=folder, env={**os.environ, **variables, "PATH": path}, capture_output=True, timeout=60
    )
    return Told(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_one_of_two_runs_of_the_same_name_wins(folder: Path, home: Path) -> None:
    words = command("run", "create", "--flow", "f", "--data", "d.jsonl", "--name", "same")
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    streams = [process.communicate() for process in both]
    told = [Told(process.returncode, out, err) for process, (out, err) in zip(both, streams, strict=True)]
    assert sorted(one.code for one in told) == [0, 1, 1]
    assert all("'same' already exists" in one.err for one in told if one.code)
    assert len(outputs(home, "same")) == 3


def interrupted(folder: Path, times: int) -> Told:
    """A run of many slow lines that gets SIGINT so many times while the first lines run."""
    flow(folder / "f", f"open(r'{folder}/started', 'w').close()\ntime.sleep(0.4)\nreturn x")
    rows(folder / "d.jsonl", *map(str, range(400)))
    running = subprocess.Popen(
        command("run", "create", "--flow", "f", "--data", "d.jsonl", "--name", "r"),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (folder / "started").exists():
        assert running.poll() is None
        time.sleep(0.02)
    for _ in range(times):
        running.send_signal(signal.SIGINT)
        time.sleep(0.1)
    out, err = running.communicate(timeout=60)
    return Told(running.returncode, out, err)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_a_run_and_the_promised_command_finishes_it(
    folder: Path, home: Path, spawn: Pf, times: int
) -> None:
    told = interrupted(folder, times)
    assert told.code == 130
    assert "Traceback" not in told.err
    assert "resume with: pf run resume r" in told.err
    assert spawn("run", "show", "-n", "r").json()["status"] == "Canceled"
    done = len(outputs(home, "r")) if (home / ".runs" / "r" / "outputs.jsonl").exists() else 0
    assert done < 400 and (done or times == 2)
    flow(folder / "f")
    assert spawn("run", "resume", "r").is_clear_error("a.py was changed", "--accept-changes")
    assert spawn("run", "resume", "r", "--accept-changes").code == 0
    assert [row["line_number"] for row in outputs(home, "r")] == list(range(400))


def test_a_run_that_is_killed_can_be_resumed(folder: Path, home: Path, spawn: Pf) -> None:
    flow(folder / "f", f"if x == '9':\n    open(r'{folder}/started', 'w').close()\n    time.sleep(60)\nreturn x")
    rows(folder / "d.jsonl", *map(str, range(40)))
    words = command("run", "create", "--flow", "f", "--data", "d.jsonl", "--name", "r")
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "started").exists():
        assert running.poll() is None
        time.sleep(0.02)
    running.kill()
    running.wait()
    flow(folder / "f")
    assert spawn("run", "show", "-n", "r").json()["status"] == "Interrupted"
    assert spawn("run", "resume", "r", "--accept-changes").code == 0
    assert [row["o"] for row in outputs(home, "r")] == list(map(str, range(40)))


@pytest.mark.parametrize("line", ["pf run list | head -1", "pf run list -o json | head -c 1", "pf run list >&-"])
def test_readers_that_leave_early(folder: Path, pf: Pf, line: str) -> None:
    assert pf("run", "create", "--flow", "f", "--data", "d.jsonl").code == 0
    told = shell(folder, f"{line}; exit ${{PIPESTATUS[0]}}")
    assert told.code == 0 and told.err == ""


def test_streams_that_are_closed(folder: Path) -> None:
    told = shell(folder, "pf flow test --flow f --inputs x=1 <&-")
    assert told.json() == {"o": "1"} and told.err == ""
    assert shell(folder, "pf flow test --flow f --inputs x=1 <&- >&- 2>&-").code == 0
    assert "no terminal to ask on" in shell(folder, "pf run create --flow f --data d.jsonl -n r <&- >&- 2>&-; "
                                            "pf run delete -n r <&-").err  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_stdout_is_an_error(folder: Path) -> None:
    assert shell(folder, "pf run list > /dev/full").is_clear_error("No space left")


def test_a_working_directory_that_is_gone(folder: Path) -> None:
    gone = "mkdir gone && cd gone && rmdir ../gone && pf"
    assert shell(folder, f"{gone} flow test --flow {folder}/f --inputs x=1").json() == {"o": "1"}
    assert shell(folder, f"{gone} flow test --flow . --inputs x=1").is_clear_error("hint: the working directory")


@pytest.mark.parametrize(
    "variables",
    [
        {"LANG": "C", "LC_ALL": "C"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"COLUMNS": "20"},
        {"NO_COLOR": "1"},
        {"TERM": "dumb"},
        {"FORCE_COLOR": "1"},
    ],
    ids=lambda variables: " ".join(f"{k}={v}" for k, v in variables.items()),
)
def test_any_terminal_and_locale_will_do(folder: Path, variables: dict[str, str]) -> None:
    flow(folder / "f", "return {'日本': len(x)}")
    told = shell(folder, "pf flow test --flow f --inputs x=1", **variables)
    assert told.code == 0
    assert json.loads(told.out) == {"o": {"日本": 1}}
    broken = shell(folder, "pf flow test --flow nowhere", **variables)
    assert broken.code == 1 and ("\033[" in broken.err) is ("FORCE_COLOR" in variables)


def test_a_narrow_table_keeps_whole_names(folder: Path, pf: Pf) -> None:
    assert pf("run", "create", "--flow", "f", "--data", "d.jsonl", "--name", "a-rather-long-name").code == 0
    assert "a-rather-long-name" in shell(folder, "pf run list -o table", COLUMNS="20").out
