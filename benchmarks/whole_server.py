"""A server as users have it, in a workspace of its own: `pf server start`, with deployments of a score.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptflow.workspace import Workspace
from serve.endpoints.records import Deployment, Endpoint
from serve.endpoints.spec import RequestSettings, Spec
from serve.endpoints.store import EndpointStore
from serve.supervisor.beacon import Beacon, find

ENDPOINT = "shop"
NAMES = ("blue", "green")
SCORE = "def init(): pass\n\ndef run(raw):\n    return {name!r}\n"


@dataclass(frozen=True)
class Running:
    """The server, and the store of its workspace."""

    store: EndpointStore
    beacon: Beacon

    @property
    def key(self) -> str:
        """What opens the endpoint."""
        return self.store.keys(ENDPOINT).primary

    def call(self, method: str, path: str) -> Any:
        """The answer of the REST API."""
        headers = {"Authorization": f"Bearer {self.beacon.key}"}
        request = urllib.request.Request(self.beacon.url + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def status(self, deployment: str) -> Any:
        """What the server says of a deployment."""
        return self.call("GET", f"/api/v1/endpoints/{ENDPOINT}/deployments/{deployment}/status")

    def ready(self) -> None:
        """Wait until all deployments are."""
        for name in NAMES:
            while self.status(name)["state"] != "Ready":
                time.sleep(0.05)

    def sockets(self) -> list[str]:
        """Where the instances listen."""
        return sorted(map(str, (self.store.workspace.home / "endpoints" / "run").glob("*.sock")))


@contextmanager
def running(folder: Path, instances: int, traffic: dict[str, int], **spec: Any) -> Iterator[Running]:
    """A server whose deployments are ready."""
    store = EndpointStore(Workspace.open(folder / "home", database_url=""))
    store.create(Endpoint(ENDPOINT))
    for deployment in _deployments(folder, instances, spec):
        store.put(deployment)
    store.set_traffic(ENDPOINT, traffic)
    environ = {**os.environ, "PF_HOME_DIRECTORY": str(store.workspace.home)}
    argv = [sys.executable, "-m", "promptflow", "server", "start", "--foreground", "--port", "0"]
    server = subprocess.Popen(argv, env=environ, stderr=subprocess.DEVNULL)
    try:
        while (beacon := find(store.workspace.home)) is None:
            time.sleep(0.05)
        found = Running(store, beacon)
        found.ready()
        yield found
    finally:
        server.terminate()
        server.wait()
        store.workspace.close()


def _deployments(folder: Path, instances: int, values: dict[str, Any]) -> Iterable[Deployment]:
    for name in NAMES:
        code = folder / name
        code.mkdir()
        (code / "score.py").write_text(SCORE.format(name=name))
        request = RequestSettings(timeout=60, concurrency=16, queue_wait=10)
        spec = Spec("script", code=code, scoring_script="score.py", request=request)
        yield Deployment(ENDPOINT, name, replace(spec, min_instances=instances, max_instances=instances, **values))
