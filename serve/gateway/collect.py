"""Writes what was captured into files that roll, and become Parquet then. A collection's folder is a data asset."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from promptflow.workspace.atomic import make_folder
from serve.gateway.aside import aside
from serve.gateway.capture import Capture, Taken

WRITE_SECONDS = 0.2  # short, so that what is written at once is little
LATE_SECONDS = 5.0  # that lines may come after the time that they are of
AT_ONCE = 100  # files that one process makes Parquet of
ROLL_SECONDS = 5.0  # between looks for files whose time is over, while nothing is to be written
WARN_SECONDS = 60.0  # between two warnings
FORMATS = {"minute": "%Y/%m/%d/%H/%M", "hour": "%Y/%m/%d/%H", "day": "%Y/%m/%d", "month": "%Y/%m"}

logger = logging.getLogger(__name__)


class Writer:
    """``known`` is called once for each collection that has something, with its folder."""

    def __init__(self, folder: Path, known: Callable[[Capture, str, Path], None] = lambda *_: None) -> None:
        self.folder, self.known = folder, known
        self._open: set[Path] = set()  # files that are not Parquet yet
        self._told: set[Path] = set()
        self._warned = self._looked = 0.0
        self._rolling: subprocess.Popen[bytes] | None = None

    async def run(self, captures: Callable[[], Iterable[Capture]]) -> None:
        """Write from time to time, until cancelled; then once more."""
        await aside(self.find)
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS)
                waiting = [capture for capture in captures() if capture.waiting]
                beside = self._open or self._rolling
                if waiting or beside and time.monotonic() > self._looked + ROLL_SECONDS:
                    await aside(self.write, waiting)
        finally:
            self.write(list(captures()))
            self.close()

    def find(self) -> None:
        """Files that the server before has left become Parquet like those of this one."""
        self._open.update(file for file in self.folder.rglob("*.jsonl") if file.stem.isdecimal())

    def write(self, captures: Iterable[Capture]) -> None:
        """What waits in them. What cannot be written is dropped, and counted."""
        for capture in captures:
            taken = capture.take()
            if taken.count:
                self._keep(capture, taken)
        self._roll()

    def _keep(self, capture: Capture, taken: Taken) -> None:
        try:
            for (name, minute), lines in taken.lines.items():
                self._append(capture, name, minute, lines)
        except Exception as error:
            capture.lost(taken.count)
            if time.monotonic() - self._warned > WARN_SECONDS:
                self._warned = time.monotonic()
                logger.warning("captured requests of %s are lost: %s", capture.endpoint, error)

    def _append(self, capture: Capture, name: str, minute: int, lines: bytearray) -> None:
        folder = self.place(capture, name)
        layout = FORMATS.get(capture.settings.rolling_rate, FORMATS["hour"])
        file = folder / f"{datetime.fromtimestamp(minute * 60, UTC).strftime(layout)}.jsonl"
        make_folder(file.parent)
        descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab", buffering=0) as opened:
            end, left = opened.tell(), memoryview(lines)
            try:
                while left:
                    left = left[opened.write(left) :]
            except OSError:
                opened.truncate(end)  # half a line would spoil the one that comes after it
                raise
        self._open.add(file)
        if folder not in self._told:
            self._told.add(folder)
            self.known(capture, name, folder)

    def place(self, capture: Capture, name: str) -> Path:
        """The folder of a collection: what its YAML says, where that is on this machine."""
        path = capture.settings.collections[name].path.removeprefix("file:")
        if path.startswith("/"):
            return Path(path)
        return self.folder / capture.endpoint / capture.deployment / name

    def _roll(self) -> None:
        """Files whose time is over become Parquet, where pyarrow is there to do it."""
        self._looked = time.monotonic()
        if self._rolling is not None and self._rolling.poll() is None:
            return
        self._rolling = None
        over = [file for file in self._open if not any(str(file).endswith(f"{one}.jsonl") for one in _current())]
        self._open.difference_update(over)
        if over and find_spec("pyarrow") is not None:
            argv = [sys.executable, "-P", "-m", "serve.gateway.parquet", *map(str, over[:AT_ONCE])]
            self._open.update(over[AT_ONCE:])
            self._rolling = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def close(self) -> None:
        """What is not Parquet by now becomes it when the next server looks for such files."""
        if self._rolling is not None:
            self._rolling.terminate()
            self._rolling.wait()


def _current() -> set[str]:
    """The names of files that may still get lines."""
    now = datetime.now(UTC)
    return {one.strftime(layout) for layout in FORMATS.values() for one in (now, now - timedelta(seconds=LATE_SECONDS))}
