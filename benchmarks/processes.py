"""The processes that a command started, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """``started``: in ticks since the machine's start; with ``pid`` it tells processes apart."""

    pid: int
    parent: int
    started: int
    command: str


def below(pid: int) -> list[Process]:
    """All descendants of a process."""
    children: dict[int, list[Process]] = {}
    for process in _all():
        children.setdefault(process.parent, []).append(process)
    found, todo = [], [pid]
    while todo:
        of_one = children.get(todo.pop(), [])
        found += of_one
        todo += [process.pid for process in of_one]
    return found


def left_after(processes: Collection[Process], seconds: float) -> list[Process]:
    """Those that are still there after so long a time at most."""
    end = time.monotonic() + seconds
    left = list(processes)
    while left and time.monotonic() < end:
        now = {(process.pid, process.started) for process in _all()}
        left = [process for process in left if (process.pid, process.started) in now]
        if left:
            time.sleep(0.02)
    return left


def _all() -> list[Process]:
    return [process for name in os.listdir("/proc") if name.isdigit() and (process := _read(int(name))) is not None]


def _read(pid: int) -> Process | None:
    folder = Path(f"/proc/{pid}")
    try:
        values = (folder / "stat").read_text().rpartition(")")[2].split()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    if values[0] == "Z":
        return None
    return Process(pid, int(values[1]), int(values[19]), command.strip())
