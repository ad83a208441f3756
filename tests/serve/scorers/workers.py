"""Instances as the supervisor starts them: a process each, on a unix socket."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from serve.endpoints.spec import Spec


class Worker:
    def __init__(self, process: subprocess.Popen, path: Path, log: Path) -> None:
        self.process, self.socket, self._log = process, path, log
        self.http = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://worker", timeout=30)

    def score(self, value, **kwargs) -> httpx.Response:
        return self.http.post("/score", content=json.dumps(value), **kwargs)

    @property
    def log(self) -> str:
        return self._log.read_text()


@contextlib.contextmanager
def worker(folder: Path, spec: Spec, ready: bool = True, python: str = sys.executable):
    """``folder`` gets the socket, the log and the spec. With ``ready`` it is waited for."""
    folder.mkdir(exist_ok=True)
    file, log, path = folder / "spec.json", folder / "log", folder / "s"
    file.write_text(json.dumps(spec.to_json()))
    theirs, ours = os.pipe()
    words = [python, "-P", "-m", "serve.supervisor.start", str(theirs), "serve.scorers"]
    words += ["--spec", str(file), "--socket", str(path), "--deployment", "blue"]
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL, pass_fds=[theirs])
    os.close(theirs)
    found = Worker(process, path, log)
    try:
        if ready:
            _wait(found)
        yield found
    finally:
        os.close(ours)  # which ends it
        process.wait(20)
        found.http.close()


def _wait(found: Worker) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found.process.poll() is not None:
            raise AssertionError(f"it ended: {found.log}")
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(found.socket))  # it listens once its scorer is loaded
            return
        time.sleep(0.02)
    raise AssertionError(f"not ready: {found.log}")
