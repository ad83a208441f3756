"""What the gateway costs: CPU per request against a bare uvicorn + aiohttp pass-through to the same instance, the p99
that it adds at half load, and whether its memory stays flat.

    python -m benchmarks.gateway_bench [--requests N] [--memory N]

The gateway has keys, a split over two deployments, the data collector and the access log on; all of it in one run.
``--memory``: so many requests more, with a look at its resident memory after every tenth of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
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
import uvicorn
import uvloop

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from promptflow.workspace.http_server import HttpServer, listen
from serve.endpoints.records import Endpoint, Keys
from serve.endpoints.spec import Collection, Collector, RequestSettings
from serve.gateway.accesslog import AccessLog
from serve.gateway.capture import Capture
from serve.gateway.collect import Writer
from serve.gateway.door import Door
from serve.gateway.gateway import Gateway
from serve.gateway.instance import Instance
from serve.gateway.lane import Lane
from serve.gateway.paths import locate
from serve.gateway.protocol import Protocol
from serve.gateway.route import Route
from serve.gateway.steady import steady
from serve.gateway.traffic import Mirror, Split

AT_ONCE = 16
BODY = b'{"data": [[5.1, 3.5, 1.4, 0.2]]}'
ANSWER = b"[0]"
HEAD = (
    b"POST /endpoints/shop/score HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer first-key\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)
)
SHARES = (0.5, 0.99)
REPEATS = 3
TURNS = 6  # of the latency: the machine is others', too


async def instance(scope: Any, receive: Any, send: Any) -> None:
    """The least that an instance can do."""
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


class PassThrough:
    """The least that a proxy of uvicorn and aiohttp can do."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.session is None:
            self.session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.path, limit=0))
        body = (await receive())["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        async with self.session.post("http://instance/score", data=body, headers=headers) as answer:
            content = await answer.read()
            kept = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            await send({"type": "http.response.body", "body": content})


def ours_before(path: str, folder: Path) -> tuple[Any, list[Any]]:
    """Ours, and what runs beside it."""
    lanes, collections = {}, {"model_inputs": Collection(), "model_outputs": Collection()}
    for name in ("blue", "green"):
        lane = lanes[name] = Lane(RequestSettings(concurrency=64))
        lane.add(Instance(name, path))
        lane.instances[0].ready = True
    captures = {name: Capture("shop", name, Collector(collections)) for name in lanes}
    record = Endpoint("shop", traffic={"blue": 90, "green": 10})
    door = Door(record, Keys("first-key", "second-key"), "signing-key")
    access = AccessLog(folder / "access.log")
    ours = Gateway(access)
    ours.routes = {"shop": Route(record, door, Split(record.traffic), Mirror({}), lanes, captures)}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        target = locate(scope["raw_path"])
        assert target is not None
        await ours.answer(target, scope, receive, send)

    writer = Writer(folder)
    return app, [access.run, lambda: writer.run(captures.values)]


def serve(kind: str, path: str, port_file: str, folder: str) -> None:
    """The process under test."""
    beside: list[Any] = []
    if kind == "ours":
        app, beside = ours_before(path, Path(folder))
    else:
        app = instance if kind == "instance" else PassThrough(path)
    if kind == "instance":
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
    else:
        listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, http=Protocol if kind == "ours" else "httptools", log_level="warning", access_log=False, lifespan="off",
        ws="none", timeout_keep_alive=3600,
    )  # fmt: skip

    def ready() -> None:
        Path(port_file).write_text(str(listener.getsockname()[1]) if kind != "instance" else "ready")

    steady()  # as the server does

    async def run() -> None:
        tasks = [asyncio.create_task(one()) for one in beside]
        await HttpServer(config, ready).serve([listener])
        if isinstance(app, PassThrough) and app.session is not None:
            await app.session.close()
        for task in tasks:
            task.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@contextmanager
def process(kind: str, path: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Its process id and port."""
    port_file = folder / f"{kind}.port"
    port_file.unlink(missing_ok=True)
    started = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gateway_bench", "--serve", kind, path, str(port_file), str(folder)]
    )
    try:
        while not (port_file.exists() and port_file.read_text()):
            time.sleep(0.02)
        text = port_file.read_text()
        yield started.pid, int(text) if text.isdigit() else 0
    finally:
        started.terminate()
        started.wait()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def ask_all(port: int, requests: int, rate: float = 0, path: str = "") -> list[float]:
    """The seconds that each took. ``rate`` per second, begun on time whatever the others do; 0: as fast as they go."""
    left, taken = iter(range(requests)), []
    begun = time.perf_counter()

    async def worker() -> None:
        opened = asyncio.open_unix_connection(path) if path else asyncio.open_connection("127.0.0.1", port)
        reader, writer = await opened
        for number in left:
            due = begun + number / rate if rate else time.perf_counter()
            await asyncio.sleep(due - time.perf_counter()) if due > time.perf_counter() else None
            writer.write(HEAD + BODY)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(len(ANSWER))
            taken.append(time.perf_counter() - due)
        writer.close()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return taken


def percentile(taken: list[float], share: float) -> float:
    """Milliseconds."""
    return sorted(taken)[int(len(taken) * share)] * 1e3


def load(*args: Any, **values: Any) -> list[float]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ask_all(*args, **values))


def costs(ports: dict[str, tuple[int, int]], requests: int) -> dict[str, float]:
    """Milliseconds of CPU per request, the least of several turns of each."""
    found: dict[str, list[float]] = {kind: [] for kind in ports}
    for _ in range(REPEATS):
        for kind, (pid, port) in ports.items():
            load(port, 500)
            before = cpu_seconds(pid)
            load(port, requests)
            found[kind].append((cpu_seconds(pid) - before) / requests * 1e3)
    return {kind: min(each) for kind, each in found.items()}


@dataclass(frozen=True)
class Measured:
    """Milliseconds: of CPU per request, and of latency at ``rate`` requests per second by the share of requests."""

    bare: float
    ours: float
    rate: float
    latency: dict[float, tuple[float, float, float]]  # direct, bare, ours

    @property
    def ratio(self) -> float:
        return self.ours / self.bare

    def added(self, share: float) -> float:
        direct, _, ours = self.latency[share]
        return ours - direct


def measure(requests: int, memory: int = 0) -> Measured:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, path = Path(name), f"{name}/instance.sock"
        with (
            process("instance", path, folder),
            process("bare", path, folder) as bare,
            process("ours", path, folder) as ours,
        ):
            cost = costs({"bare": bare, "ours": ours}, requests)
            begun = time.perf_counter()
            load(ours[1], requests)
            rate = requests / (time.perf_counter() - begun) / 2
            ports, few = ((0, path), (bare[1], ""), (ours[1], "")), requests // 8
            turns = [[load(port, few, rate, place) for port, place in ports] for _ in range(TURNS)]
            latency = {
                share: tuple(min(percentile(turn[at], share) for turn in turns) for at in range(3)) for share in SHARES
            }
            if memory:
                flat(ours, memory)
    return Measured(cost["bare"], cost["ours"], rate, latency)  # type: ignore[arg-type]


def main(requests: int, memory: int) -> None:
    found = measure(requests, memory)
    print(f"{'':28}{'bare':>10}{'ours':>10}{'ratio':>8}")
    print(f"{'ms CPU per request':28}{found.bare:10.3f}{found.ours:10.3f}{found.ratio:8.2f}")
    print(f"\nat half load, {found.rate:.0f} requests/s{'direct':>12}{'bare':>10}{'gateway':>10}{'added':>8}")
    for share, (direct, bare, ours) in found.latency.items():
        print(f"p{share * 100:<31.0f}{direct:7.2f}ms{bare:8.2f}ms{ours:8.2f}ms{found.added(share):6.2f}ms")


def gateway(bench: Bench) -> list[Figure]:
    """What the gateway costs, for the table of all figures."""
    found = measure(20_000)
    added = found.added(0.99)
    return [
        Figure("gateway, CPU per request", f"{found.ratio:.2f}x ({found.ours:.3f} ms)", f"{found.bare:.3f} ms",
               "<= 1.5x", found.ratio <= 1.5),
        Figure("gateway, p99 added at half load", f"{added:.2f} ms", f"{found.latency[0.99][0]:.2f} ms", "<= 3 ms",
               added <= 3),
    ]  # fmt: skip


def flat(ours: tuple[int, int], requests: int) -> None:
    print(f"{'requests':>10}{'MiB':>8}")
    for tenth in range(1, 11):
        load(ours[1], requests // 10)
        print(f"{requests // 10 * tenth:10}{resident(ours[0]):8.1f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--memory", type=int, default=0, metavar="N")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
    else:
        main(arguments.requests, arguments.memory)
