"""Disks that are full or read-only, and other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def _mount(folder: Path, options: str) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    _mount(folder, "size=1m")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def make_read_only() -> Iterator[Callable[[Path], None]]:
    """Make a folder read-only: for root by a mount, since its permissions bind others only."""
    undo: list[Callable[[], object]] = []

    def apply(folder: Path) -> None:
        if os.getuid():
            folder.chmod(0o555)
            undo.append(lambda: folder.chmod(0o755))
            return
        # A folder mounted on itself can be made read-only without touching the rest of its disk.
        for arguments in (["--bind", str(folder), str(folder)], ["-o", "remount,bind,ro", str(folder)]):
            done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")
        undo.append(lambda: subprocess.run(["umount", "-l", str(folder)], check=True))

    yield apply
    for step in undo:
        step()


@pytest.fixture
def start_python(home: Path) -> Callable[..., subprocess.Popen[str]]:
    """Run Python code in another process, whose output can be read."""

    def start(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "PF_HOME_DIRECTORY": str(home), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def run_python(start_python: Callable[..., subprocess.Popen[str]]) -> Callable[..., str]:
    """The same, to its end; its output."""

    def run(code: str, *arguments: str, **environment: str) -> str:
        process = start_python(code, *arguments, **environment)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    return run
