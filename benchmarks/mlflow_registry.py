"""What MLflow's own client takes for the same, run by the interpreter of an environment that has mlflow and not us.

python mlflow_registry.py FOLDER VERSIONS RUNS REPETITIONS      prints {"list": seconds, "search": seconds}
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlRun, SqlTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient


def least(call: Callable[[], Any], repetitions: int) -> float:
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def add_runs(url: str, folder: Path, experiment: str, count: int) -> None:
    """Rows of runs by the models of its own store: its client takes minutes for so many."""
    rng = random.Random(1)
    store = SqlAlchemyStore(url, str(folder / "artifacts"))
    with store.ManagedSessionMaker() as session:
        for number in range(count):
            run = f"{number:032x}"
            session.add(
                SqlRun(
                    run_uuid=run, name=f"run_{number}", source_type="LOCAL", source_name="", entry_point_name="",
                    user_id="u", status="FINISHED", start_time=number, end_time=number + 1, source_version="",
                    lifecycle_stage="active", artifact_uri="a", experiment_id=int(experiment),
                )
            )  # fmt: skip
            session.add(SqlTag(key="team", value="ab"[number % 2], run_uuid=run))
            for key in ("acc", "f1", "loss", "recall"):
                value = {
                    "key": key,
                    "value": rng.random(),
                    "timestamp": number,
                    "step": 0,
                    "is_nan": False,
                    "run_uuid": run,
                }
                session.add(SqlMetric(**value))
                session.add(SqlLatestMetric(**value))


def main(folder: Path, versions: int, runs: int, repetitions: int) -> None:
    url = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    client.create_registered_model("shop")
    for number in range(versions):
        client.create_model_version("shop", source="/nowhere", tags={"team": "search", "n": str(number)})
    experiment = client.create_experiment("shop")
    add_runs(url, folder, experiment, runs)
    found = client.search_model_versions("name = 'shop'", max_results=versions)
    best = client.search_runs([experiment], "metrics.acc > 0.5", order_by=["metrics.f1 DESC"], max_results=100)
    assert len(found) == versions and len(best) == 100
    listed = least(lambda: client.search_model_versions("name = 'shop'", max_results=versions), repetitions)
    searched = least(
        lambda: client.search_runs([experiment], "metrics.acc > 0.5", order_by=["metrics.f1 DESC"], max_results=100), 3
    )
    print(json.dumps({"list": listed, "search": searched}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
