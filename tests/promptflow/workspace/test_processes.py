from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from promptflow.exceptions import WorkspaceError
from promptflow.workspace import Workspace, pids
from promptflow.workspace.processes import Processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def processes(home: Path) -> Iterator[Processes]:
    found = Workspace.open(home, "").processes
    yield found
    for process in found.list():
        if process.is_running:
            found.stop(process.name, grace=0)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def test_a_process_runs_logs_and_ends(processes: Processes, tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['PF_X']); print('oops', file=sys.stderr); sys.exit(3)"
    started = processes.start("job", python(code), env={"PF_X": "from env"}, cwd=tmp_path, details={"port": 1})
    assert started.is_running
    ended = processes.wait("job", timeout=20)
    assert (ended.status, ended.exit_code, ended.details) == ("exited", 3, {"port": 1})
    assert ended.ended is not None and ended.ended > ended.created
    assert ended.log.read_text() == f"{tmp_path} from env\noops\n"
    assert processes.tail("job", lines=1) == "oops"


def test_its_environment_is_not_on_record(processes: Processes, home: Path) -> None:
    processes.start("job", SLEEP, env={"PF_ENGINE_KEY": "sesame-open"})
    for file in (home / "processes").iterdir():
        assert "sesame" not in file.read_text()
        assert file.stat().st_mode & 0o077 == 0 or file.suffix == ".lock"
    assert "sesame" not in repr(processes.list())


def test_stopping_ends_a_process_and_its_children(processes: Processes) -> None:
    code = f"import subprocess; p = subprocess.Popen({SLEEP!r}); print(p.pid, flush=True); p.wait()"
    process = processes.start("parent", python(code))
    wait_until(lambda: processes.tail("parent"))
    child = int(processes.tail("parent"))
    known = pids.identity(child)
    assert known
    assert processes.stop("parent").status == "stopped"
    wait_until(lambda: not pids.is_running(child, known))
    assert not pids.is_running(process.pid, process.identity)
    assert processes.stop("parent").status == "stopped"


def test_a_process_that_will_not_end_is_killed(processes: Processes) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    processes.start("stubborn", python(code))
    wait_until(lambda: processes.tail("stubborn") == "ready")
    ended = processes.stop("stubborn", grace=0.2)
    assert (ended.status, ended.exit_code) == ("stopped", -signal.SIGKILL)


def test_a_process_may_tidy_up_when_it_is_stopped(processes: Processes) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(15, lambda *_: (print('tidy', flush=True), sys.exit(0)))\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    processes.start("tidy", python(code))
    wait_until(lambda: processes.tail("tidy") == "ready")
    ended = processes.stop("tidy")
    assert (ended.status, ended.exit_code, processes.tail("tidy", 1)) == ("stopped", 0, "tidy")


def test_a_process_survives_its_starter_and_is_found_by_others(
    processes: Processes, run_python: Callable[..., str]
) -> None:
    code = (
        "import sys; from promptflow.workspace import Workspace\n"
        "print(Workspace.open().processes.start('engine', [sys.executable, '-c', 'import time; time.sleep(600)']).pid)"
    )
    pid = int(run_python(code))
    found = processes.get("engine")
    assert found is not None and (found.pid, found.status) == (pid, "running")
    assert processes.stop("engine").status == "stopped"


def test_one_name_runs_once_and_can_be_started_again(processes: Processes) -> None:
    first = processes.start("engine", SLEEP)
    with pytest.raises(WorkspaceError, match=f"running already \\(pid {first.pid}\\)"):
        processes.start("engine", SLEEP)
    processes.stop("engine", grace=0)
    second = processes.start("engine", python("print('second')"))
    assert processes.wait("engine", 20).pid == second.pid
    assert processes.tail("engine") == "second"
    assert second.log.with_suffix(".previous.log").exists()


def test_processes_that_start_one_name_together_start_it_once(
    processes: Processes, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    code = (
        "import sys; from promptflow.workspace import Workspace; from promptflow.exceptions import WorkspaceError\n"
        "try: Workspace.open().processes.start('one', [sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "except WorkspaceError: print('no')\nelse: print('yes')"
    )
    starters = [start_python(code) for _ in range(4)]
    assert sorted(starter.communicate(timeout=60)[0] for starter in starters) == ["no\n", "no\n", "no\n", "yes\n"]


def test_a_recycled_pid_is_never_killed(processes: Processes) -> None:
    process = processes.start("job", python(""))
    processes.wait("job", 20)
    time.sleep(0.05)  # the kernel counts start times in steps of 10 ms
    stranger = subprocess.Popen(SLEEP, start_new_session=True)
    try:
        # As if the pid of the ended process had gone to the stranger.
        processes._keep(replace(process, pid=stranger.pid))
        assert processes.stop("job", grace=0).status == "exited"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_of_another_machine_is_left_to_it(processes: Processes) -> None:
    process = processes.start("job", SLEEP)
    host, _, rest = process.identity.partition("/")
    processes._keep(replace(process, identity=f"another-{host}/{rest}"))
    found = processes.get("job")
    assert found is not None and found.status == "elsewhere"
    with pytest.raises(WorkspaceError, match=f"started on 'another-{host}'"):
        processes.stop("job")
    processes._keep(process)


def test_an_exit_seen_by_another_process_first_still_gets_its_code(
    processes: Processes, run_python: Callable[..., str]
) -> None:
    process = processes.start("job", python("raise SystemExit(7)"))
    wait_until(lambda: not pids.is_running(process.pid, process.identity))
    code = "from promptflow.workspace import Workspace; print(Workspace.open().processes.get('job').status)"
    assert run_python(code) == "exited\n"
    ended = processes.get("job")
    assert ended is not None and ended.exit_code == 7


@pytest.mark.parametrize("name", ["engine:builtin/intent-mini", "../../escape", "é ü", ".", ".."])
def test_any_text_is_a_name_and_stays_in_the_folder(processes: Processes, home: Path, name: str) -> None:
    processes.start(name, python(""))
    processes.wait(name, 20)
    assert [process.name for process in processes.list()] == [name]
    assert all(file.parent == home / "processes" for file in home.rglob("*") if file.is_file())
    assert processes.forget(name)
    assert processes.list() == []


@pytest.mark.parametrize(
    ("argv", "cwd", "message"),
    [
        (["/absent/program"], None, "/absent/program"),
        (SLEEP, "/absent/folder", "/absent/folder"),
        (["/"], None, "start /"),
    ],
)
def test_what_cannot_be_started_is_an_error_and_leaves_no_record(
    processes: Processes, argv: list[str], cwd: str | None, message: str
) -> None:
    with pytest.raises(WorkspaceError, match=message):
        processes.start("job", argv, cwd=cwd)
    assert processes.list() == []


def test_a_process_that_cannot_be_put_on_record_does_not_run(small_disk: Path, tmp_path: Path) -> None:
    processes = Workspace.open(small_disk, "").processes
    processes.start("first", python(""))
    processes.wait("first", 20)
    with pytest.raises(OSError), (small_disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(WorkspaceError, match="disk is full"):
        processes.start(
            "second",
            python(f"import time, os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"),
        )
    assert processes.get("second") is None
    if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


def test_unknown_and_running_processes_are_told_apart(processes: Processes) -> None:
    assert processes.get("absent") is None
    assert not processes.forget("absent")
    with pytest.raises(WorkspaceError, match="no process 'absent'"):
        processes.stop("absent")
    processes.start("job", SLEEP)
    with pytest.raises(WorkspaceError, match="is running"):
        processes.forget("job")


def test_a_damaged_record_is_named(processes: Processes, home: Path) -> None:
    (home / "processes").mkdir()
    (home / "processes" / "job.json").write_text("{")
    with pytest.raises(WorkspaceError, match="not the record of a process"):
        processes.get("job")
    (home / "processes" / "job.json").unlink()
