"""One worker process of a job, as the job's process sees it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from promptflow.workspace.atomic import file_error, make_folder
from serve.bound import members

CLOSE_SECONDS = 60.0  # that shutdown() has


@dataclass(frozen=True)
class Launch:
    """What a worker is started with: ``module`` gets ``words``, and ``--fd N``. It ends when the other end of the pipe
    ``lifeline`` is closed: when this process ends, however it does."""

    python: Path
    module: str
    words: Sequence[str]
    environ: Mapping[str, str]
    cwd: Path
    lifeline: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A message of a worker, and the rows that came with it."""

    told: Mapping[str, Any]
    text: bytes = b""


class Member:
    """``index`` is the mini-batch that it works on, None for none; ``deadline`` when it is taken for hung."""

    def __init__(self, launch: Launch, log: Path, seconds: float) -> None:
        self.index: int | None = None
        self.ready = False
        self.deadline = time.monotonic() + seconds
        ours, theirs = socket.socketpair()
        make_folder(log.parent)
        try:
            output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                words = ["-P", "-m", "serve.supervisor.start", str(launch.lifeline), launch.module]
                self._process = subprocess.Popen(
                    [str(launch.python), *words, *launch.words, "--fd", str(theirs.fileno())],
                    env=dict(launch.environ), cwd=launch.cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    pass_fds=(launch.lifeline, theirs.fileno()), start_new_session=True,
                )  # fmt: skip
            finally:
                os.close(output)
                theirs.close()
        except OSError as error:
            ours.close()
            raise file_error("start", error.filename or launch.python, error) from error
        self.connection = Connection(ours.detach())

    def give(self, index: int, batch: bytes, seconds: float) -> None:
        """Hand it a mini-batch. A worker that has died says so when its answer is waited for."""
        self.index, self.deadline = index, time.monotonic() + seconds
        with contextlib.suppress(OSError):
            self.connection.send_bytes(batch)

    def answer(self) -> Answer | None:
        """Its message; None if it has died."""
        try:
            told = json.loads(self.connection.recv_bytes())
            return Answer(told, self.connection.recv_bytes() if "rows" in told else b"")
        except (EOFError, OSError):
            return None

    def ask_to_end(self) -> None:
        """There are no more mini-batches for it."""
        with contextlib.suppress(OSError):
            self.connection.send_bytes(b"")

    def finish(self) -> Answer | None:
        """Its last message, once it was asked to end; None if it died, took too long, or never was ready."""
        found = self.answer() if self.ready and self.connection.poll(CLOSE_SECONDS) else None
        if found is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        self.kill()
        return found

    def kill(self) -> None:
        """End it, and whatever it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pid in members(self._process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self.connection.close()

    def ended_with(self) -> str:
        """How it ended by itself, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        if code is None:
            return "closed its connection"
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was ended by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
