"""The registry on SQLite: listing versions of a model, and the best of many runs, against MLflow's client."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bench import WORK, Bench
from benchmarks.figures import Figure, ms, show
from catalog.assets import LOCK, Asset, Assets
from catalog.registry import Registry
from catalog.runs import RunSearch
from promptflow.workspace import Workspace

VERSIONS, RUNS = 1_000, 10_000
PIN = "mlflow==3.17.0"
_METRICS = ("acc", "f1", "loss", "recall")


def registry(bench: Bench) -> list[Figure]:
    """1,000 versions, and 10,000 runs with four metrics each."""
    return figures(bench.work, bench.repetitions)


def figures(work: Path, repetitions: int) -> list[Figure]:
    theirs = _reference(work, repetitions)
    home = work / "home-registry"
    shutil.rmtree(home, ignore_errors=True)
    with Workspace.open(home, "") as workspace:
        fill(workspace)
        ours, search = Registry(workspace), RunSearch(workspace)
        listed = least(lambda: ours.list("shop"), repetitions)
        assert len(ours.list("shop")) == VERSIONS
        found = least(lambda: search.find("metrics.acc > 0.5", order="-metrics.f1"), repetitions)
        rare = least(lambda: search.find("metrics.acc > 0.999", order="-metrics.f1"), repetitions)
        tagged = least(lambda: search.find("metrics.acc > 0.5", order="-tags.team"), repetitions)
        assert len(search.find("metrics.acc > 0.5", order="-metrics.f1")) == 100
    ratio = theirs["list"] / listed
    reference = ms(theirs["search"])
    return [
        Figure(f"list {VERSIONS:,} versions", f"{ratio:.1f}x ({ms(listed)})", ms(theirs["list"]), ">= 3x", ratio >= 3),
        Figure(f"best 100 of {RUNS:,} runs, half match", ms(found), reference, "<= 25 ms", found <= 0.025),
        Figure(f"best 100 of {RUNS:,} runs, few match", ms(rare), "-", "<= 25 ms", rare <= 0.025),
        Figure(f"first 100 of {RUNS:,} runs by a tag", ms(tagged), "-", "<= 25 ms", tagged <= 0.025),
    ]


def fill(workspace: Workspace) -> None:
    """The rows that versions and runs leave behind."""
    rng = random.Random(1)
    assets = Assets(workspace, "model")
    with workspace.db.write(lock=LOCK):
        for number in range(VERSIONS):
            tags = {"team": "search", "n": str(number)}
            assets.add(Asset("model", "shop", "", "custom_model", f"{number:064x}", "file", 1, "m.pkl", tags=tags))
    names = [f"run_{number:05}" for number in range(RUNS)]
    workspace.store.put_many("runs", [_run(name, number) for number, name in enumerate(names)])
    values = [
        {"run": name, "kind": "metric", "name": metric, "number": rng.random(), "text": None}
        for name in names
        for metric in _METRICS
    ]
    workspace.store.put_many("run_values", values)
    workspace.store.put("meta", {"name": "run_values.event", "value": "0"})


def least(call: Callable[[], Any], repetitions: int) -> float:
    """Seconds of the quickest call."""
    seconds = []
    for _ in range(max(repetitions, 5)):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _run(name: str, number: int) -> dict[str, Any]:
    properties = {"flow_path": "/flows/shop", "system_metrics": {"total_tokens": number, "duration": 1.5}}
    record = {"tags": {"team": "ab"[number % 2]}, "properties": properties, "details": {}, "output_path": "/nowhere"}
    return {"name": name, "kind": "batch", "status": "Completed", "created": name, "archived": False, "record": record}


def _reference(work: Path, repetitions: int) -> dict[str, float]:
    folder, data = work / "mlflow", work / "mlflow-data"
    if not (folder / ".ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", PIN], check=True)
        (folder / ".ready").touch()
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    script = Path(__file__).with_name("mlflow_registry.py")
    command = [str(folder / "bin/python"), str(script), str(data), str(VERSIONS), str(RUNS), str(max(repetitions, 5))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    WORK.mkdir(exist_ok=True)
    measured = figures(WORK, 9)
    show(measured)
    sys.exit(0 if all(figure.ok for figure in measured) else 1)
