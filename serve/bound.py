"""``python -m serve.bound PID IDENTITY PROGRAM ...``: a program that ends when process PID does, however that ends.

It also takes along what the program leaves behind: of a vLLM whose API server was killed, the processes with the
model in their memory went on (seen with 0.32). Both are to be in a process group of their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from promptflow.workspace import pids

TICK = 0.2  # seconds between two looks at the owner
GRACE = 10.0  # seconds that the program has to end by itself, once its owner is gone
FOLDER = "PF_BOUND_FOLDER"  # a variable: the folder that goes when the program has ended
PRIVATE = ("PF_", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")  # ours; nothing for other environments


def bound(program: Sequence[str], python: str = sys.executable) -> list[str]:
    """The words that start ``program`` bound to this process."""
    own = os.getpid()
    return [python, "-P", "-m", "serve.bound", str(own), pids.identity(own) or "", *program]


def outside(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` for a program of another Python environment: without what steers this one, and without our keys."""
    return {name: value for name, value in environ.items() if not name.startswith(PRIVATE)}


def end_group(group: int) -> None:
    """Kill what is left of a process group whose leader has ended."""
    for pid in members(group):
        _kill(pid)


def members(group: int) -> Iterator[int]:
    """The processes of a group, but not its leader. None where there is no /proc to tell."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        pid = int(entry.parent.name)
        if len(fields) > 2 and int(fields[2]) == group and pid != group:
            yield pid


def main(argv: Sequence[str]) -> int:
    owner, identity, *program = argv
    told = []
    # A handler, and not SIG_IGN, which the program would inherit.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: told.append(number))
    try:
        child = subprocess.Popen(program, env=outside(os.environ))
    except OSError as error:
        print(f"{program[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    while child.poll() is None:
        if not pids.is_running(int(owner), identity):
            _end(child)
            break
        if told:
            told.clear()
            child.terminate()
        time.sleep(TICK)
    if os.getpgrp() == os.getpid():
        end_group(os.getpid())
    if folder := os.environ.get(FOLDER):
        shutil.rmtree(folder, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
