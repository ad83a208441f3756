"""Following a run from elsewhere: its log as it grows, until it has ended or its process has."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TextIO

from promptflow.entities.run import RUNNING, Run

_LOG_SECONDS = 0.2
_RECORD_SECONDS = 1.0
_CHUNK = 1 << 20


def follow(look: Callable[[], Run], file: TextIO) -> Run:
    """Copy the log to ``file`` until nobody works on the run; ``look`` gives its record."""
    run = look()
    log = LogTail(run.folder.log_file)
    looked = time.monotonic()
    while True:
        while text := log.read():  # of a run that has ended: all that it wrote before
            file.write(text)
        file.flush()
        if run.status != RUNNING:
            return run
        time.sleep(_LOG_SECONDS)
        if time.monotonic() - looked >= _RECORD_SECONDS:
            run, looked = look(), time.monotonic()


class LogTail:
    """The part of a log that has not been read yet, piece by piece; the file may be still to come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> str:
        """Empty when there is nothing new."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read(_CHUNK)
        except FileNotFoundError:
            return ""
        self._read += len(data)
        text = self._decoder.decode(data)
        return text or (self.read() if data else "")


def summary(run: Run) -> str:
    """What is printed below the log of a run."""
    duration = (run._end_time or datetime.now().astimezone()) - run._created_on
    return (
        "======= Run Summary =======\n\n"
        f'Run name: "{run.name}"\nRun status: "{run.status}"\nStart time: "{run._created_on}"\n'
        f'Duration: "{duration}"\nOutput path: "{run._output_path}"\n\n'
    )
