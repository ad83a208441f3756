"""The CUDA that the NVIDIA driver of this machine can run."""

from __future__ import annotations

import re
import shutil
import subprocess

TIMEOUT = 10  # seconds; nvidia-smi hangs where a driver does
SHOWN = re.compile(r"CUDA Version\s*:\s*(\d+)\.(\d+)")


def cuda_of_driver(path: str | None = None) -> tuple[int, int] | None:
    """Such as (13, 0), the newest that it runs; None where there is no driver, or it does not tell. ``path`` is where
    to look for nvidia-smi."""
    program = shutil.which("nvidia-smi", path=path)
    if program is None:
        return None
    try:
        told = subprocess.run([program], capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = SHOWN.search(told)
    return (int(found[1]), int(found[2])) if found else None
