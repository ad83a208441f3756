"""Which process a number stands for: pids are used again, a pid with its start time is not."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
from pathlib import Path


def identity(pid: int) -> str | None:
    """What tells ``pid`` from a later process of that number; None if there is none. Dead but unreaped counts."""
    found = _stat(pid)
    return f"{place()}/{found[1]}" if found else None


def is_running(pid: int, known: str) -> bool:
    """Whether ``pid`` still is the process that had this identity, and lives."""
    found = _stat(pid)
    return found is not None and found[0] != "Z" and f"{place()}/{found[1]}" == known


@functools.cache
def place() -> str:
    """Where this process counts pids: machine, its start, and the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()}//"


def _stat(pid: int) -> tuple[str, str] | None:
    """State and start time."""
    if not os.path.isdir("/proc/self"):
        return _stat_by_ps(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses is the program's choice, and may hold spaces and parentheses.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (fields[0].decode(), fields[19].decode()) if len(fields) > 19 else None


def _stat_by_ps(pid: int) -> tuple[str, str] | None:
    found = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = found.stdout.strip().partition(" ")
    return (state[:1], " ".join(start.split())) if state else None
