"""Run a command and tell what it cost: wall and CPU seconds, and its peak memory (PSS, Linux)."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Look = Callable[[int], None]


@dataclass(frozen=True)
class Cost:
    """``wall`` and ``cpu`` in seconds, ``pss_mb`` the highest sample (0 where the system does not tell)."""

    wall: float
    cpu: float
    pss_mb: float
    out: str
    ok: bool


def run(
    argv: list[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 300,
    look: Look | None = None,
) -> Cost:
    """Run ``argv`` to its end, its children included in the CPU; ``look(pid)`` is called all the time, every 20 ms
    at first and more seldom later. A command that takes longer than ``timeout`` is killed and is not ok."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        argv, env=dict(env) if env else None, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peak, look), daemon=True)
    watcher.start()
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        out += f"\nkilled after {timeout:g} s"
    watcher.join()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, peak[0], out, process.returncode == 0)


def median(measure: Callable[[], Cost], repetitions: int) -> Cost:
    """The run with the median CPU of several."""
    costs = sorted((measure() for _ in range(repetitions)), key=lambda c: c.cpu)
    middle = costs[len(costs) // 2]
    wall = statistics.median(c.wall for c in costs)
    return Cost(wall, middle.cpu, max(c.pss_mb for c in costs), middle.out, all(c.ok for c in costs))


def memory_mb(pid: int, kind: str = "Pss") -> float:
    """The memory that a process holds now: its proportional share (``Pss``), or all that it sees (``Rss``)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(f"{kind}:")), 0.0)


def clean_environment(home: Path, venv_bin: Path) -> dict[str, str]:
    """An environment with its own home, and nothing of the caller's settings."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": f"{venv_bin}:{os.environ['PATH']}",
        "HOME": str(home),
        "PF_HOME_DIRECTORY": str(home / ".promptflow"),
        "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        "LANG": "C.UTF-8",
    }


def _watch(process: subprocess.Popen[str], peak: list[float], look: Look | None) -> None:
    start = time.monotonic()
    while process.poll() is None:
        peak[0] = max(peak[0], memory_mb(process.pid))
        if look is not None:
            look(process.pid)
        time.sleep(min(0.5, max(0.02, (time.monotonic() - start) / 50)))
