"""How much memory a process and its children hold."""

from __future__ import annotations

import os
from pathlib import Path

from serve.bound import members

PAGE = os.sysconf("SC_PAGE_SIZE")


def used(pid: int) -> int:
    """Bytes that the processes of the group of ``pid`` have in memory; 0 where the system does not tell."""
    return sum(_resident(one) for one in (pid, *members(pid)))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0
