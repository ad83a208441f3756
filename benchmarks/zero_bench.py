"""From none to one: how long the request takes that finds a deployment scaled to zero, until it is answered.

    python -m benchmarks.zero_bench [--repetitions N]

A server as users have it, a deployment of each kind, and one request, each time that no instance is left. Beside it, in
the same run: a bare interpreter that imports the library, loads the same file and predicts. An environment of its own
(``requirements``) is made once, under .bench/, as its venv is to be warm.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench import WORK, Bench
from benchmarks.figures import Figure, show
from promptflow.workspace import Workspace
from serve.endpoints.records import Deployment, Endpoint
from serve.endpoints.spec import FLOW, MODEL, SCRIPT, EnvironmentSpec, RequestSettings, Spec
from serve.endpoints.store import EndpointStore
from serve.environments.build import Environments
from serve.supervisor.beacon import Beacon, find

ENDPOINT = "zero"
SKLEARN, FLOWS = 2.0, 1.5  # seconds
ROWS = b'{"input_data": [[0.1, 0.2, 0.3, 0.4]]}'
MAKE = """
import sys, joblib, numpy, skops.io
from sklearn.linear_model import LogisticRegression
data = numpy.random.default_rng(1).random((150, 4))
model = LogisticRegression().fit(data, (data[:, 0] * 3).astype(int))
joblib.dump(model, sys.argv[1] + "/model.joblib")
skops.io.dump(model, sys.argv[1] + "/model.skops")
"""
SCORE = """
import json, os, joblib, numpy
def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))
def run(raw):
    return model.predict(numpy.array(json.loads(raw)["input_data"])).tolist()
"""
DAG = """
inputs:
  text: {type: string}
outputs:
  out: {type: string, reference: "${shout.output}"}
nodes:
- {name: shout, type: python, source: {type: code, path: shout.py}, inputs: {text: "${inputs.text}"}}
"""
SHOUT = "from promptflow.core import tool\n\n@tool\ndef shout(text: str) -> str:\n    return text.upper()\n"
BARE_JOBLIB = "import sys, joblib; print(joblib.load(sys.argv[1]).predict([[0.1, 0.2, 0.3, 0.4]]))"
BARE_SKOPS = "import sys, skops.io; print(skops.io.load(sys.argv[1]).predict([[0.1, 0.2, 0.3, 0.4]]))"
BARE_FLOW = "import sys; from promptflow.client import load_flow; print(load_flow(sys.argv[1])(text='x'))"


@dataclass(frozen=True)
class Case:
    """A deployment, what it is asked, the seconds that it may take, and what a bare interpreter does instead."""

    name: str
    spec: Spec
    body: bytes
    bound: float
    bare: tuple[str, ...]


def zero(bench: Bench) -> list[Figure]:
    """What scaling from zero costs who asks."""
    return figures(bench.work, bench.repetitions)


def figures(work: Path, repetitions: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        kept = work / "zero-environments"
        kept.mkdir(exist_ok=True)
        (folder / "home").mkdir()
        (folder / "home" / "environments").symlink_to(kept)
        with Workspace.open(folder / "home", database_url="") as workspace:
            cases = list(_cases(folder, workspace))
            with _server(workspace, cases) as beacon:
                return [_figure(workspace, beacon, case, repetitions) for case in cases]


def _cases(folder: Path, workspace: Workspace) -> Iterator[Case]:
    subprocess.run([sys.executable, "-c", MAKE, str(folder)], check=True)
    flow, script = folder / "flow", folder / "script"
    for made, files in (
        (flow, {"flow.dag.yaml": DAG, "shout.py": SHOUT}),
        (script, {"score.py": SCORE}),
    ):
        made.mkdir()
        for name, text in files.items():
            (made / name).write_text(text)
    joblib, skops = folder / "model.joblib", folder / "model.skops"
    own = ("scikit-learn", "joblib")
    python = str(Environments(workspace.home).make(EnvironmentSpec(requirements=own), print))
    here = sys.executable
    by_joblib, by_script = _model(joblib), _spec(SCRIPT, code=script, scoring_script="score.py", model_path=joblib)
    yield Case("sklearn, joblib", by_joblib, ROWS, SKLEARN, (here, "-c", BARE_JOBLIB, str(joblib)))
    yield Case("sklearn, skops", _model(skops), ROWS, SKLEARN, (here, "-c", BARE_SKOPS, str(skops)))
    yield Case("sklearn, score.py", by_script, ROWS, SKLEARN, (here, "-c", BARE_JOBLIB, str(joblib)))
    yield Case("sklearn, own venv", _model(joblib, *own), ROWS, SKLEARN, (python, "-c", BARE_JOBLIB, str(joblib)))
    yield Case(
        "flow", _spec(FLOW, code=flow, scoring_script="flow.dag.yaml"), b'{"text": "x"}', FLOWS,
        (here, "-c", BARE_FLOW, str(flow)),
    )  # fmt: skip


def _model(path: Path, *requirements: str) -> Spec:
    environment = EnvironmentSpec(requirements=requirements)
    return _spec(MODEL, model_path=path, allow_pickle=True, environment=environment)


def _spec(kind: str, **values: Any) -> Spec:
    request = RequestSettings(timeout=60, concurrency=4)
    return Spec(kind, request=request, min_instances=0, max_instances=1, idle_seconds=0.5, **values)


@contextmanager
def _server(workspace: Workspace, cases: list[Case]) -> Iterator[Beacon]:
    store = EndpointStore(workspace)
    store.create(Endpoint(ENDPOINT))
    for case in cases:
        store.put(Deployment(ENDPOINT, _short(case), case.spec))
    environ = {**os.environ, "PF_HOME_DIRECTORY": str(workspace.home)}
    argv = [sys.executable, "-P", "-m", "promptflow", "server", "start", "--foreground", "--port", "0"]
    server = subprocess.Popen(argv, env=environ, stderr=subprocess.DEVNULL)
    try:
        while (beacon := find(workspace.home)) is None:
            time.sleep(0.05)
        yield beacon
    finally:
        server.terminate()
        server.wait()


def _figure(workspace: Workspace, beacon: Beacon, case: Case, repetitions: int) -> Figure:
    key = EndpointStore(workspace).keys(ENDPOINT).primary
    headers = {"authorization": f"Bearer {key}", "azureml-model-deployment": _short(case)}
    url = f"{beacon.url}/endpoints/{ENDPOINT}/score"
    bare, ours = [], []
    for _ in range(repetitions):
        _until_none(beacon, case)
        begun = time.perf_counter()
        subprocess.run(case.bare, check=True, stdout=subprocess.DEVNULL, cwd=workspace.home)
        bare.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        with urllib.request.urlopen(urllib.request.Request(url, case.body, headers), timeout=120) as answer:
            answer.read()
        ours.append(time.perf_counter() - begun)
    seconds, alone = statistics.median(ours), statistics.median(bare)
    value = f"{seconds:.2f} s ({min(ours):.2f} to {max(ours):.2f})"
    bound = f"<= {case.bound:g} s"
    return Figure(f"0 to 1: {case.name}", value, f"bare python {alone:.2f} s", bound, seconds <= case.bound)


def _until_none(beacon: Beacon, case: Case) -> None:
    """Until no instance of any deployment is left: none is to be ended, or started, while another is measured."""
    headers = {"Authorization": f"Bearer {beacon.key}"}
    base = f"{beacon.url}/api/v1/endpoints/{ENDPOINT}/deployments"
    while True:
        with urllib.request.urlopen(urllib.request.Request(base, headers=headers), timeout=60) as answer:
            names = [one["name"] for one in json.load(answer)]
        found = []
        for name in names:
            with urllib.request.urlopen(
                urllib.request.Request(f"{base}/{name}/status", headers=headers), timeout=60
            ) as answer:
                found.append(json.load(answer))
        if not any(one["instances"] for one in found):
            return
        time.sleep(0.1)


def _short(case: Case) -> str:
    return case.name.replace(", ", "-").replace(".", "-").replace(" ", "-")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    measured = figures(WORK, arguments.repetitions)
    show(measured)
    sys.exit(0 if all(figure.ok for figure in measured) else 1)
