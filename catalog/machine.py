"""`Machine`: the memory and processors that models can use here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

QUERY = "index,uuid,name,memory.total,memory.free,compute_cap,mig.mode.current"
TIMEOUT = 10  # seconds; nvidia-smi hangs where a driver does


@dataclass(frozen=True)
class Gpu:
    """``total`` and ``free`` in bytes; ``capability`` is CUDA's, such as (9, 0)."""

    name: str
    total: int
    free: int
    capability: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Machine:
    """``memory`` and ``available`` are main memory in bytes, within the limits of the container, if there are any.
    ``tiles``: the processor multiplies bfloat16 itself (AMX)."""

    memory: int
    available: int
    cores: int
    gpus: tuple[Gpu, ...] = ()
    tiles: bool = False

    @classmethod
    def here(cls) -> Machine:
        """This machine, now."""
        memory, available = main_memory(Path("/"))
        return cls(memory, available, usable_cores(), nvidia_gpus(), has_tiles(Path("/proc/cpuinfo")))

    def with_gpu(self, size: int, count: int = 1) -> Machine:
        """The same machine if it had ``count`` empty GPUs of ``size`` bytes."""
        return replace(self, gpus=(Gpu("asked for", size, size, (9, 0)),) * count)


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main_memory(root: Path) -> tuple[int, int]:
    """Total and available bytes. ``root`` is where proc and sys are."""
    told = _meminfo(root / "proc/meminfo")
    if not told:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return pages, pages // 2  # a system that does not say what is free: half of it may well be
    total, available = told
    for limit, used in _container_limits(root):
        total, available = min(total, limit), min(available, max(0, limit - used))
    return total, available


def _meminfo(file: Path) -> tuple[int, int] | None:
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        return int(lines["MemTotal"].split()[0]) * 1024, int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _container_limits(root: Path) -> list[tuple[int, int]]:
    """Limit and use in bytes of the control groups above this process. Cache of files can be given back: it is no use.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
    """
    found = []
    for folder in _group_folders(root):
        for limit_name, used_name, inactive in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            try:
                limit = int((folder / limit_name).read_text())
                used = int((folder / used_name).read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):
                continue  # no such file, or "max"
            found.append((limit, max(0, used - int(stat.get(inactive, 0)))))
    return found


def _group_folders(root: Path) -> list[Path]:
    """The folders of this process's control group and of those above it, as v2 and v1 lay them out."""
    base = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    folders = [base, base / "memory"]
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        top = base if not controllers else base / "memory" if "memory" in controllers.split(",") else None
        folder = Path(path.lstrip("/"))
        while top is not None and folder.parts and ".." not in folder.parts:
            folders.append(top / folder)
            folder = folder.parent
    return folders


def nvidia_gpus(environ: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """NVIDIA's GPUs that this process may use, as nvidia-smi tells of them; none where there is no nvidia-smi.

    A GPU that is cut into instances (MIG) is left out: its memory is not one piece.
    """
    program = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if program is None:
        return ()
    try:
        told = subprocess.run(
            [program, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=TIMEOUT, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in told.splitlines()]
    return tuple(gpu for gpu in map(_gpu, _visible(rows, environ.get("CUDA_VISIBLE_DEVICES"))) if gpu is not None)


def _visible(rows: list[list[str]], wanted: str | None) -> list[list[str]]:
    """Those that CUDA_VISIBLE_DEVICES names, by number or the beginning of their id; all where it is not set."""
    if wanted is None:
        return rows
    found = []
    for word in filter(None, (word.strip() for word in wanted.split(","))):
        row = next((row for row in rows if len(row) > 1 and (row[0] == word or row[1].startswith(word))), None)
        if row is None:
            break  # CUDA stops at the first that it does not know
        found.append(row)
    return found


def _gpu(row: list[str]) -> Gpu | None:
    try:
        _, _, name, total, free, capability, mig = row
        major, minor = (int(part) for part in capability.split("."))
        gpu = Gpu(name, int(total) << 20, int(free) << 20, (major, minor))
    except ValueError:
        return None  # "[N/A]": it does not tell
    return None if mig == "Enabled" else gpu


def has_tiles(cpuinfo: Path) -> bool:
    try:
        return " amx_tile" in cpuinfo.read_text()
    except OSError:
        return False
