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


@dataclass(frozen=True)
class Cost:
    """``wall`` and ``cpu`` in seconds, ``pss_mb`` the highest sample (0 where the system does not tell)."""

    wall: float
    cpu: float
    pss_mb: float
    out: str
    ok: bool


def run(argv: list[str], env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 300) -> Cost:
    """Run ``argv`` to its end, its children included in the CPU."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        argv, env=dict(env) if env else None, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    out, _ = process.communicate(timeout=timeout)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, peak[0], out, process.returncode == 0)


def median(measure: Callable[[], Cost], repetitions: int) -> Cost:
    """The run with the median CPU of several."""
    costs = sorted((measure() for _ in range(repetitions)), key=lambda c: c.cpu)
    middle = costs[len(costs) // 2]
    wall = statistics.median(c.wall for c in costs)
    return Cost(wall, middle.cpu, max(c.pss_mb for c in costs), middle.out, all(c.ok for c in costs))


def _watch(process: subprocess.Popen[str], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], _pss(process.pid))
        time.sleep(0.02)


def _pss(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Pss:")), 0.0)


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
