"""`pf flow serve` against a bare FastAPI application that does the same, in one run:

- a flow of three Python nodes: CPU of the server per request, p95;
- a flow that waits for a model: how much of concurrency / latency is reached, and by FastAPI with one aiohttp pool;
- the same flow as a deployment, through the gateway: CPU of both;
- what the server holds after many requests;
- many streams at once: whether all of them are whole, what each event costs, and what the server holds meanwhile.

    python -m benchmarks.flow_serve [--seconds 4] [--repetitions 3] [--streams 1000] [--requests 40000] [--workers 1]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.closed_loop import ask
from benchmarks.deployed import deployed
from benchmarks.figures import Figure, show
from benchmarks.measure import memory_mb
from benchmarks.model import model

LATENCY = 0.2
PYTHON_CPU_BOUND = 0.35 / 0.12  # what both cost on the machine that the bound was set on, as a ratio
LLM_BOUNDS = {64: 0.9, 256: 0.7}
EVENTS = 8
PACE = 0.5  # seconds between two events of a stream

NODES = """
from promptflow.core import tool
@tool
def {name}({parameters}):
    return {value}
"""
PYTHON = """
inputs: {question: {type: string}, n: {type: int}}
outputs: {answer: {type: string, reference: "${join.output}"}}
nodes:
- {name: clean, type: python, source: {type: code, path: clean.py}, inputs: {question: "${inputs.question}"}}
- name: repeat
  type: python
  source: {type: code, path: repeat.py}
  inputs: {text: "${clean.output}", n: "${inputs.n}"}
- name: join
  type: python
  source: {type: code, path: join.py}
  inputs: {parts: "${repeat.output}", head: "${clean.output}"}
"""
ASKING = """
inputs: {question: {type: string}}
outputs: {answer: {type: string, reference: "${ask.output}"}}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  inputs: {model: slow, temperature: 0, max_tokens: 64, question: "${inputs.question}"}
  connection: slow
  api: chat
"""
STREAMING = f"""
import asyncio
async def run(text: str):
    for number in range({EVENTS}):
        await asyncio.sleep({PACE})
        yield f"{{text}} {{number}}"
"""
BARE = """
import os, aiohttp
from fastapi import FastAPI, Request

app, sessions = FastAPI(), []

@app.get("/health")
async def health():
    return {}

@app.post("/python")
async def python(request: Request):
    data = await request.json()
    head = " ".join(data["question"].split()).lower()
    return {"answer": head + ": " + ", ".join([head] * data["n"])}

@app.post("/asking")
async def asking(request: Request):
    question = (await request.json())["question"]
    if not sessions:
        sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": question}]
    body = {"model": "slow", "temperature": 0, "max_tokens": 64, "messages": messages}
    async with sessions[0].post(os.environ["MODEL"] + "/v1/chat/completions", json=body) as answer:
        return {"answer": (await answer.json())["choices"][0]["message"]["content"]}
"""


@dataclass(frozen=True)
class Server:
    pid: int
    url: str

    def cpu(self) -> float:
        """Seconds that it has used, with all its workers."""
        return sum(_cpu(pid) for pid in [self.pid, *_children(self.pid)])


def write_flows(folder: Path) -> None:
    files = {
        "python/flow.dag.yaml": PYTHON,
        "python/clean.py": NODES.format(
            name="clean", parameters="question", value='" ".join(question.split()).lower()'
        ),
        "python/repeat.py": NODES.format(name="repeat", parameters="text, n: int", value="[text] * n"),
        "python/join.py": NODES.format(name="join", parameters="parts, head", value='head + ": " + ", ".join(parts)'),
        "asking/flow.dag.yaml": ASKING,
        "asking/ask.jinja2": "system:\nBe short.\n\nuser:\n{{question}}\n",
        "streaming/flow.flex.yaml": "entry: code:run\n",
        "streaming/code.py": STREAMING,
        "bare.py": BARE,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@contextmanager
def flow_server(flow: Path, environ: dict[str, str], workers: int) -> Iterator[Server]:
    argv = [sys.executable, "-m", "promptflow", "flow", "serve", "--source", str(flow), "--port", "0"]
    argv += ["--skip-open-browser", "--workers", str(workers)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ})
    with _ended(process):
        assert process.stderr is not None
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found, "the flow was not served"
        yield Server(process.pid, found[0])


@contextmanager
def bare_server(folder: Path, model_url: str, workers: int) -> Iterator[Server]:
    port = _free_port()
    argv = [sys.executable, "-m", "uvicorn", "bare:app", "--port", str(port), "--no-access-log", "--log-level", "error"]
    environ = {**os.environ, "MODEL": model_url}
    process = subprocess.Popen([*argv, "--workers", str(workers)], cwd=folder, env=environ)
    server = Server(process.pid, f"http://127.0.0.1:{port}")
    with _ended(process):
        asyncio.run(_until_it_answers(server))
        yield server


def python_figures(ours: Server, bare: Server, seconds: float, repetitions: int) -> Iterator[Figure]:
    body = {"question": "how many  Apples", "n": 3}
    for at_once in (16, 64):
        pairs = []
        for _ in range(repetitions):
            pairs.append(
                (
                    ask(f"{ours.url}/score", body, at_once, seconds, ours.cpu),
                    ask(f"{bare.url}/python", body, at_once, seconds, bare.cpu),
                )
            )
        one, other = (min((pair[side] for pair in pairs), key=lambda found: found.cpu_ms) for side in (0, 1))
        ratio = one.cpu_ms / other.cpu_ms
        yield Figure(
            f"Python flow, {at_once} at once: CPU per request",
            f"{one.cpu_ms:.3f} ms, p95 {one.percentile(0.95) * 1e3:.1f} ms, {one.rate:.0f}/s",
            f"FastAPI {other.cpu_ms:.3f} ms, p95 {other.percentile(0.95) * 1e3:.1f} ms, {other.rate:.0f}/s",
            f"{ratio:.2f} <= {PYTHON_CPU_BOUND:.2f} times",
            ratio <= PYTHON_CPU_BOUND and not any(pair[0].errors for pair in pairs),
        )


def gateway_figure(folder: Path, seconds: float, repetitions: int) -> Figure:
    yaml = (
        f"name: blue\nendpoint_name: words\nflow: {folder / 'python'}\n"
        "request_settings: {max_concurrent_requests_per_instance: 64, request_timeout_ms: 60000}\n"
        "instance_count: 1\n"
    )
    body = {"question": "how many  Apples", "n": 3}
    with deployed(folder, "words", yaml) as place:
        url = f"http://127.0.0.1:{place.port}/endpoints/words/score"
        turns = [ask(url, body, 64, seconds, place.cpu, place.key) for _ in range(repetitions)]
    best = min(turns, key=lambda found: found.cpu_ms)
    return Figure(
        "Python flow through the gateway, 64 at once",
        f"{best.cpu_ms:.3f} ms of CPU, p95 {best.percentile(0.95) * 1e3:.1f} ms, {best.rate:.0f}/s",
        bound="all answered",
        ok=best.rate > 0 and not any(found.errors for found in turns),
    )


def memory_figure(server: Server, requests: int) -> Figure:
    """Whether the server holds more at the end of so many requests than after the first quarter of them."""
    body = {"question": "how many  Apples", "n": 3}
    held = []
    for _ in range(4):
        asyncio.run(ask_often(server, body, requests // 4))
        held.append(memory_mb(server.pid, "Rss"))
    growth = (held[-1] - held[0]) / held[0]
    return Figure(
        f"memory over {requests} requests",
        f"{held[0]:.1f} MB after a quarter of them, {held[-1]:.1f} MB at the end",
        "-",
        f"{growth:.2%} <= 1.00% more",
        growth <= 0.01,
    )


async def ask_often(server: Server, body: dict[str, Any], requests: int) -> None:
    left = iter(range(requests))

    async def worker(session: aiohttp.ClientSession) -> None:
        for _ in left:
            async with session.post("/score", json=body) as answer:
                await answer.read()

    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(worker(session) for _ in range(16)))


def asking_figures(ours: Server, bare: Server, seconds: float, repetitions: int) -> Iterator[Figure]:
    body = {"question": "how many  Apples"}
    for at_once, bound in LLM_BOUNDS.items():
        ideal = at_once / LATENCY
        pairs = []
        for _ in range(repetitions):
            pairs.append(
                (
                    ask(f"{ours.url}/score", body, at_once, seconds, ours.cpu),
                    ask(f"{bare.url}/asking", body, at_once, seconds, bare.cpu),
                )
            )
        one, other = (max((pair[side] for pair in pairs), key=lambda found: found.rate) for side in (0, 1))
        yield Figure(
            f"flow that asks a model, {at_once} at once",
            f"{one.rate / ideal:.2f} of concurrency / latency, {one.cpu_ms:.2f} ms CPU",
            f"FastAPI {other.rate / ideal:.2f}, {other.cpu_ms:.2f} ms CPU",
            f">= {bound}",
            one.rate / ideal >= bound and not any(pair[0].errors for pair in pairs),
        )


async def streams(server: Server, count: int) -> Figure:
    """Open so many streams at once and read each to its end."""
    headers = {"accept": "text/event-stream"}
    held = [0]
    most = [0.0, 0]

    async def one(session: aiohttp.ClientSession, number: int) -> bool:
        async with session.post("/score", json={"text": str(number)}, headers=headers) as answer:
            held[0] += 1
            most[1] = max(most[1], held[0])
            text = (await answer.read()).decode()
            held[0] -= 1
        events = [json.loads(line[6:])["output"] for line in text.split("\n\n") if line]
        return answer.status == 200 and events == [f"{number} {n}" for n in range(EVENTS)]

    async def watch() -> None:
        while True:
            most[0] = max(most[0], memory_mb(server.pid))
            await asyncio.sleep(0.5)

    watcher = asyncio.create_task(watch())
    timeout = aiohttp.ClientTimeout(total=600)
    before, begun = server.cpu(), time.perf_counter()
    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        whole = await asyncio.gather(*(one(session, number) for number in range(count)), return_exceptions=True)
    taken, used = time.perf_counter() - begun, server.cpu() - before
    watcher.cancel()
    good = sum(found is True for found in whole)
    return Figure(
        f"{count} streams at once, {EVENTS} events each",
        f"{good} whole, {most[1]} open at once, {used / (count * EVENTS) * 1e6:.0f} µs CPU an event, {most[0]:.0f} MB",
        f"{taken:.1f} s, the events alone take {EVENTS * PACE:.1f} s",
        "all whole",
        good == count,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=40_000, help="of which memory is watched")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as place, model(LATENCY) as slow:
        folder = Path(place)
        write_flows(folder)
        connection = {"type": "OpenAIConnection", "value": {"api_key": "none", "base_url": f"{slow.url}/v1"}}
        (folder / "connections.json").write_text(json.dumps({"slow": connection}))
        environ = {"PF_HOME_DIRECTORY": place, "PROMPTFLOW_CONNECTIONS": str(folder / "connections.json")}
        with bare_server(folder, slow.url, args.workers) as bare:
            with flow_server(folder / "python", environ, args.workers) as ours:
                figures += python_figures(ours, bare, args.seconds, args.repetitions)
                figures.append(memory_figure(ours, args.requests))
        figures.append(gateway_figure(folder, args.seconds, args.repetitions))
        with bare_server(folder, slow.url, args.workers) as bare:
            with flow_server(folder / "asking", environ, args.workers) as ours:
                figures += asking_figures(ours, bare, args.seconds, args.repetitions)
        with flow_server(folder / "streaming", environ, args.workers) as ours:
            figures.append(asyncio.run(streams(ours, args.streams)))
    show(figures)
    return 0 if all(figure.ok for figure in figures) else 1


@contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


async def _until_it_answers(server: Server) -> None:
    async with aiohttp.ClientSession(server.url) as session:
        for _ in range(300):
            try:
                async with session.get("/health"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
    raise AssertionError("the bare server did not start")


def _free_port() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
