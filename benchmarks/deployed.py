"""`pf server` with one deployment that has all the traffic of its endpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateway_bench import cpu_seconds
from benchmarks.measure import clean_environment
from benchmarks.processes import below
from promptflow.workspace.http_server import listen


@dataclass(frozen=True)
class Deployed:
    """``pid`` is the server's; the instances are below it."""

    pid: int
    port: int
    key: str = field(repr=False)

    def cpu(self) -> float:
        """Seconds that the server and the instances have used."""
        return sum(cpu_seconds(one) for one in (self.pid, *(process.pid for process in below(self.pid))))


@contextmanager
def deployed(folder: Path, endpoint: str, yaml: str) -> Iterator[Deployed]:
    """``yaml`` describes a deployment of ``endpoint``; the workspace is a new one in ``folder``."""
    env = clean_environment(folder / "home", Path(sys.executable).parent)
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]

    def pf(*words: str) -> str:
        argv = [sys.executable, "-m", "promptflow.cli.main", *words]
        return subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout

    (folder / "deployment.yml").write_text(yaml)
    pf("server", "start", "--port", str(port))
    try:
        pf("endpoint", "create", "-n", endpoint)
        pf("deployment", "create", "-f", str(folder / "deployment.yml"), "--all-traffic")
        key = pf("endpoint", "get-credentials", "-n", endpoint, "--query", "primaryKey", "-o", "tsv").strip()
        yield Deployed(json.loads(pf("server", "status", "-o", "json"))["pid"], port, key)
    finally:
        pf("server", "stop")
