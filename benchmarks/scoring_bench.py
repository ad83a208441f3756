"""Scoring a scikit-learn model: requests per CPU second against `mlflow models serve`, at the instance and through the
gateway; large requests against predict() in this process; batching of a torch model against its offline throughput.

    python -m benchmarks.scoring_bench

All of it on one core's worth of processes in one run; CPU is that of every process that answers. MLflow has an
environment of its own under .bench/, in the release that is named here.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import venv
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson

from benchmarks.bench import WORK, Bench
from benchmarks.deployed import deployed
from benchmarks.figures import Figure, show
from benchmarks.gateway_bench import cpu_seconds
from benchmarks.measure import clean_environment
from benchmarks.processes import below
from promptflow.workspace.http_server import listen
from serve.endpoints.spec import MODEL, RequestSettings, Spec

MLFLOW = ["mlflow==3.17.2", "scikit-learn", "pandas", "numpy"]
TABLE = b'{"dataframe_split": {"columns": ["a", "b", "c", "d"], "data": [[5.1, 3.5, 1.4, 0.2]]}}'
ARRAY = b'{"inputs": [[5.1, 3.5, 1.4, 0.2]]}'
REQUESTS, AT_ONCE, REPEATS = 3000, 8, 3
BATCH, WIDE, LATENCY_MS = 64, 2048, 250.0
MAKE = """
import sys, mlflow.sklearn, numpy, pandas
from sklearn.linear_model import LogisticRegression
data = pandas.DataFrame(numpy.random.default_rng(1).random((150, 4)), columns=list("abcd"))
model = LogisticRegression().fit(data, (data["a"] * 3).astype(int))
signature = mlflow.models.infer_signature(data, model.predict(data))
mlflow.sklearn.save_model(model, sys.argv[1], signature=signature, serialization_format="pickle")
mlflow.sklearn.save_model(model, sys.argv[2], serialization_format="pickle")
"""


def scoring(bench: Bench) -> list[Figure]:
    """One row a request, many rows a request, and many requests a batch."""
    return figures(bench.work)


def figures(work: Path) -> list[Figure]:
    folder = work / "scoring"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    python = _environment(work)
    subprocess.run(
        [str(python), "-c", MAKE, str(folder / "model"), str(folder / "plain")], check=True, capture_output=True
    )
    return [*_single(folder, python), *_large(folder), _batched(folder)]


def _single(folder: Path, python: Path) -> list[Figure]:
    """Milliseconds of CPU per request of one row; the least of several turns of each. MLflow answers as a table of a
    model with a signature, which it checks, and as an array of one without, which costs it least."""
    with ExitStack() as stack:
        signed, plain = (stack.enter_context(_mlflow(folder, model, python)) for model in ("model", "plain"))
        instance = stack.enter_context(_instance(folder / "i", _spec(folder)))
        gateway = stack.enter_context(_gateway(folder))
        asked = {
            ("mlflow", "table"): (signed, TABLE), ("mlflow", "array"): (plain, ARRAY),
            ("instance", "table"): (instance, TABLE), ("instance", "array"): (instance, ARRAY),
            ("gateway", "table"): (gateway, TABLE), ("gateway", "array"): (gateway, ARRAY),
        }  # fmt: skip
        cost: dict[tuple[str, str], list[float]] = {name: [] for name in asked}
        for _ in range(REPEATS):
            for name, (target, body) in asked.items():
                target.load(body, 200)
                before = target.cpu()
                target.load(body, REQUESTS)
                cost[name].append((target.cpu() - before) / REQUESTS * 1e3)
    least = {name: min(found) for name, found in cost.items()}
    return [
        _ratio(f"1 row as {kind}: requests per CPU s, {name}", least["mlflow", kind], least[name, kind], bound)
        for kind in ("table", "array")
        for name, bound in (("instance", 2.5), ("gateway", 1.3))
    ]


def _ratio(name: str, theirs: float, ours: float, bound: float) -> Figure:
    ratio = theirs / ours
    return Figure(name, f"{ratio:.2f}x ({ours:.3f} ms)", f"mlflow {theirs:.3f} ms", f">= {bound}x", ratio >= bound)


def _large(folder: Path) -> list[Figure]:
    """CPU of requests of 1,000 rows, against the same bytes read, predicted and written in this process: by pandas, as
    `predict` is called on what a body holds, and by the least that orjson and numpy can do."""
    import numpy as np
    import pandas

    model = pickle.loads((folder / "plain" / "model.pkl").read_bytes())  # made above
    rows = np.random.default_rng(2).random((1000, 4)).round(4).tolist()
    body = json.dumps({"dataframe_split": {"columns": list("abcd"), "data": rows}}).encode()

    def plain() -> None:
        told = json.loads(body)["dataframe_split"]
        json.dumps({"predictions": model.predict(pandas.DataFrame(told["data"], columns=told["columns"])).tolist()})

    def least() -> None:
        found = model.predict(np.asarray(orjson.loads(body)["dataframe_split"]["data"]))
        orjson.dumps({"predictions": found}, option=orjson.OPT_SERIALIZE_NUMPY)

    with _instance(folder / "l", _spec(folder)) as target, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cost: dict[str, list[float]] = {"plain": [], "least": [], "ours": []}
        for _ in range(REPEATS):
            cost["plain"].append(_milliseconds(plain))
            cost["least"].append(_milliseconds(least))
            target.load(body, 50)
            before = target.cpu()
            target.load(body, 200)
            cost["ours"].append((target.cpu() - before) / 200 * 1e3)
    by = {name: min(found) for name, found in cost.items()}
    ratio, bare = by["plain"] / by["ours"], by["least"] / by["ours"]
    ours = f"({by['ours']:.2f} ms)"
    return [
        Figure(
            "1,000 rows, of requests per CPU s",
            f"{ratio:.2f}x {ours}",
            f"in process: json, DataFrame, predict, json {by['plain']:.2f} ms",
            ">= 0.9x",
            ratio >= 0.9,
        ),
        Figure(
            "the same against the least there is",
            f"{bare:.2f}x {ours}",
            f"in process: orjson, array, predict, orjson {by['least']:.2f} ms",
        ),
    ]


def _milliseconds(call: Callable[[], None]) -> float:
    """CPU of one call."""
    call()
    begun = time.process_time()
    for _ in range(200):
        call()
    return (time.process_time() - begun) / 200 * 1e3


def _batched(folder: Path) -> Figure:
    """Rows per second of many requests of one row, against batches of the same size with nothing around them. The model
    has one thread in both: requests are read and written on another core, as beside a GPU."""
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(1)
    inner = [layer for _ in range(6) for layer in (torch.nn.ReLU(), torch.nn.Linear(WIDE, WIDE))]
    module = torch.nn.Sequential(torch.nn.Linear(16, WIDE), *inner, torch.nn.Linear(WIDE, 4)).eval()
    path = folder / "model.pt"
    torch.jit.save(torch.jit.trace(module, torch.ones(1, 16)), path)  # type: ignore[no-untyped-call]
    loaded = torch.jit.load(path)  # type: ignore[no-untyped-call]
    options = {"batching": {"max_size": BATCH, "latency_ms": LATENCY_MS}}
    spec = Spec(MODEL, model_path=path, options=options, request=RequestSettings(60.0, 128))
    body = json.dumps({"dataframe_split": {"columns": [], "data": [[0.5] * 16]}}).encode()
    offline, online = [], []
    with _instance(folder / "b", spec, {"OMP_NUM_THREADS": "1"}) as target:
        target.load(body, 1000, 2 * BATCH)
        for _ in range(REPEATS):
            begun = time.perf_counter()
            with torch.inference_mode():
                for _ in range(20):
                    loaded(torch.ones(BATCH, 16)).argmax(1).tolist()
            offline.append(20 * BATCH / (time.perf_counter() - begun))
            begun = time.perf_counter()
            target.load(body, 20 * BATCH, 2 * BATCH)
            online.append(20 * BATCH / (time.perf_counter() - begun))
    ratio = max(online) / max(offline)
    value, reference = f"{ratio:.0%} ({max(online):.0f} rows/s)", f"offline {max(offline):.0f} rows/s"
    return Figure(f"torch, batches in {LATENCY_MS:.0f} ms", value, reference, ">= 80 %", ratio >= 0.8)


class Target:
    """Something that answers at ``path`` of a port, or of a unix socket, by the processes below ``pid``."""

    def __init__(self, pid: int, path: str, port: int = 0, socket: str = "", headers: str = "") -> None:
        self.pid, self.port, self.socket = pid, port, socket
        self.head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}".encode()

    def cpu(self) -> float:
        return sum(cpu_seconds(one) for one in (self.pid, *(process.pid for process in below(self.pid))))

    def load(self, body: bytes, requests: int, at_once: int = AT_ONCE) -> None:
        asyncio.run(self._load(body, requests, at_once))

    async def _load(self, body: bytes, requests: int, at_once: int) -> None:
        left = iter(range(requests))
        text = self.head + b"content-length: %d\r\n\r\n" % len(body) + body

        async def worker() -> None:
            opening = (
                asyncio.open_unix_connection(self.socket)
                if self.socket
                else asyncio.open_connection("127.0.0.1", self.port)
            )
            reader, writer = await opening
            for _ in left:
                writer.write(text)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if not head.startswith(b"http/1.1 200"):
                    raise RuntimeError(head.decode() + (await reader.read(1000)).decode())
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
            writer.close()

        await asyncio.gather(*(worker() for _ in range(at_once)))


def _spec(folder: Path) -> Spec:
    return Spec(MODEL, model_path=folder / "model", allow_pickle=True, request=RequestSettings(60.0, AT_ONCE))


@contextmanager
def _process(words: Sequence[str], ready: Any, log: Path, env: dict[str, str] | None = None) -> Iterator[int]:
    """Its process id, once ``ready`` says so."""
    with log.open("wb") as file:
        started = subprocess.Popen(words, stdout=file, stderr=file, env=env, stdin=subprocess.DEVNULL)
    try:
        while not ready():
            if started.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield started.pid
    finally:
        started.terminate()
        started.wait()


@contextmanager
def _instance(folder: Path, spec: Spec, variables: Mapping[str, str] | None = None) -> Iterator[Target]:
    folder.mkdir()
    file, path = folder / "spec.json", folder / "s"
    file.write_text(json.dumps(spec.to_json()))
    words = [sys.executable, "-P", "-m", "serve.scorers", "--spec", str(file), "--socket", str(path)]
    env = {**os.environ, **(variables or {})}
    with _process(words, lambda: _listens(path), folder / "log", env) as pid:
        yield Target(pid, "/invocations", socket=str(path))


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextmanager
def _mlflow(folder: Path, model: str, python: Path) -> Iterator[Target]:
    """`mlflow models serve`, with one worker."""
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    words = ["-m", "mlflow", "models", "serve", "-m", str(folder / model), "--env-manager", "local", "-p", str(port)]
    env = clean_environment(folder / "home-mlflow", python.parent) | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with _process(
        [str(python), *words, "-w", "1"], lambda: _up(f"http://127.0.0.1:{port}/ping"), folder / "log", env
    ) as pid:
        yield Target(pid, "/invocations", port)


@contextmanager
def _gateway(folder: Path) -> Iterator[Target]:
    """The server with the same model as a deployment; the CPU is that of the gateway and of the instance."""
    yaml = (
        f"name: blue\nendpoint_name: iris\nmodel: {{path: {folder / 'model'}, type: mlflow_model}}\n"
        "allow_pickle: true\n"
        "request_settings: {max_concurrent_requests_per_instance: 8, request_timeout_ms: 60000}\n"
        "instance_count: 1\n"
    )
    with deployed(folder, "iris", yaml) as place:
        headers = f"authorization: Bearer {place.key}\r\n"
        yield Target(place.pid, "/endpoints/iris/invocations", place.port, headers=headers)


def _up(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _environment(work: Path) -> Path:
    """The interpreter of an environment with MLflow; made once."""
    folder = work / "mlflow-serving"
    if not (folder / ".ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", *MLFLOW], check=True)
        (folder / ".ready").touch()
    return folder / "bin/python"


if __name__ == "__main__":
    WORK.mkdir(exist_ok=True)
    measured = figures(WORK)
    show(measured)
    sys.exit(0 if all(figure.ok for figure in measured) else 1)
