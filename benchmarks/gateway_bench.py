"""What the gateway costs: CPU per request against a bare uvicorn + aiohttp pass-through to the same instance, the p99
that it adds at half load, and whether its memory stays flat.

    python -m benchmarks.gateway_bench [--requests N] [--memory N]

The gateway is that of a whole server, as `pf server start` runs it: keys, a split over two deployments of a score.py,
the data collector, the access log, the supervisor. All of it in one run; the load comes from a process of its own.
``--memory``: so many requests more, with a look at its resident memory after every tenth of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import uvicorn
import uvloop

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.whole_server import ENDPOINT, NAMES, Running, running
from promptflow.workspace.http_server import HttpServer, listen
from serve.endpoints.spec import Collection, Collector, RequestSettings
from serve.gateway.steady import steady

AT_ONCE = 16
BODY = b'{"data": [[5.1, 3.5, 1.4, 0.2]]}'
TRAFFIC = {"blue": 90, "green": 10}
SHARES = (0.5, 0.99)
REPEATS = 3
TURNS = 24  # of the latency, one after the other for each of the three ways
SETTLED = 100_000  # requests after which memory is to stay as it is
REST_SECONDS = 1.0  # before memory is looked at: what was to be written is written


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


def pass_through(path: str, port_file: str) -> None:
    """The process of the reference."""
    app, listener = PassThrough(path), listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, http="httptools", log_level="warning", access_log=False, lifespan="off", ws="none",
        timeout_keep_alive=3600,
    )  # fmt: skip
    steady()  # as the server does

    async def run() -> None:
        await HttpServer(config, lambda: _write(port_file, listener.getsockname()[1])).serve([listener])
        if app.session is not None:
            await app.session.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def _write(file: str, port: int) -> None:
    Path(file).write_text(str(port))


@contextmanager
def bare(path: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Its process id and port."""
    port_file = folder / "bare.port"
    started = subprocess.Popen([sys.executable, "-m", "benchmarks.gateway_bench", "--pass", path, str(port_file)])
    try:
        while not (port_file.exists() and port_file.read_text()):
            time.sleep(0.02)
        yield started.pid, int(port_file.read_text())
    finally:
        started.terminate()
        started.wait()


@contextmanager
def whole() -> Iterator[tuple[Running, Path]]:
    """The server under test."""
    collector = Collector({"model_inputs": Collection(), "model_outputs": Collection()})
    request = RequestSettings(timeout=60, concurrency=64, queue_wait=10)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        with running(Path(name), 1, TRAFFIC, collector=collector, request=request) as server:
            yield server, Path(name)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Way:
    """How a request gets to an instance. ``place`` is a port or a socket; the processor time of ``pid`` counts."""

    place: int | str
    path: str = f"/endpoints/{ENDPOINT}/score"
    key: str = ""
    pid: int = 0

    def request(self) -> bytes:
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
        )
        return head.encode() + BODY


async def ask_all(way: Way, requests: int, rate: float = 0) -> list[float]:
    """The seconds that each took. ``rate`` per second, begun on time whatever the others do; 0: as fast as they go."""
    left, taken, request = iter(range(requests)), [], way.request()
    begun = time.perf_counter()

    async def worker() -> None:
        if isinstance(way.place, str):
            reader, writer = await asyncio.open_unix_connection(way.place)
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", way.place)
        for number in left:
            due = begun + number / rate if rate else time.perf_counter()
            await asyncio.sleep(due - time.perf_counter()) if due > time.perf_counter() else None
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(None, 1)[0]))
            taken.append(time.perf_counter() - due)
        writer.close()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return taken


def percentile(taken: list[float], share: float) -> float:
    """Milliseconds."""
    return sorted(taken)[int(len(taken) * share)] * 1e3


def load(way: Way, requests: int, rate: float = 0) -> list[float]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ask_all(way, requests, rate))


def costs(ways: dict[str, Way], requests: int) -> dict[str, float]:
    """Milliseconds of CPU per request, the least of several turns of each."""
    found: dict[str, list[float]] = {kind: [] for kind in ways}
    for _ in range(REPEATS):
        for kind, way in ways.items():
            load(way, 500)
            before = cpu_seconds(way.pid)
            load(way, requests)
            found[kind].append((cpu_seconds(way.pid) - before) / requests * 1e3)
    return {kind: min(each) for kind, each in found.items()}


@dataclass(frozen=True)
class Measured:
    """Milliseconds: of CPU per request, and of latency at ``rate`` requests per second by the share of requests.

    ``memory`` is MiB after ``SETTLED`` requests, and after each further tenth of what was asked for.
    """

    bare: float
    ours: float
    rate: float
    latency: dict[float, list[tuple[float, ...]]]  # turn by turn: direct, bare, ours
    memory: list[float]

    @property
    def ratio(self) -> float:
        return self.ours / self.bare

    def middle(self, share: float) -> tuple[float, ...]:
        """Of the turns: direct, bare, ours."""
        return tuple(median(each) for each in zip(*self.latency[share], strict=True))

    def added(self, share: float) -> float:
        """What ours is above direct, in the middle turn."""
        return median(ours - direct for direct, _, ours in self.latency[share])

    @property
    def growth(self) -> float:
        """Of memory, as a share of what it was."""
        return max(self.memory) / self.memory[0] - 1


def measure(requests: int, memory: int = 0) -> Measured:
    with whole() as (server, folder):
        direct = Way(server.sockets()[0], "/score")
        ours = Way(server.beacon.port, key=server.key, pid=server.beacon.pid)
        with bare(str(direct.place), folder) as (pid, port):
            apart((pid, server.beacon.pid), server)
            passed = Way(port, key=server.key, pid=pid)
            cost = costs({"bare": passed, "ours": ours}, requests)
            begun = time.perf_counter()
            load(ours, requests)
            rate = requests / (time.perf_counter() - begun) / 2
            turns = [[load(way, requests // TURNS, rate) for way in (direct, passed, ours)] for _ in range(TURNS)]
        latency = {share: [tuple(percentile(one, share) for one in turn) for turn in turns] for share in SHARES}
        return Measured(cost["bare"], cost["ours"], rate, latency, flat(ours, memory))


def apart(proxies: Iterable[int], server: Running) -> None:
    """A core for the proxies, another one for the load and the instances: who waits for whom is then no matter of where
    the kernel happens to put them."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) > 1:
        instances = [one["pid"] for name in NAMES for one in server.status(name)["instances"]]
        for pids, core in ((proxies, cores[1]), ((os.getpid(), *instances), cores[0])):
            for thread in [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]:
                os.sched_setaffinity(thread, {core})


def flat(way: Way, requests: int) -> list[float]:
    """Resident memory of the server, from ``SETTLED`` requests up to so many."""
    found = []
    for at in (SETTLED, *[(requests - SETTLED) // 9] * 9) if requests else ():
        load(way, at)
        time.sleep(REST_SECONDS)
        found.append(resident(way.pid))
        print(f"{found[-1]:8.2f} MiB", file=sys.stderr, flush=True)
    return found


def main(requests: int, memory: int) -> None:
    found = measure(requests, memory)
    print(f"{'':28}{'bare':>10}{'ours':>10}{'ratio':>8}")
    print(f"{'ms CPU per request':28}{found.bare:10.3f}{found.ours:10.3f}{found.ratio:8.2f}")
    print(f"\nat half load, {found.rate:.0f} requests/s{'direct':>12}{'bare':>10}{'gateway':>10}{'added':>8}")
    for share in SHARES:
        direct, bare, ours = found.middle(share)
        print(f"p{share * 100:<31.0f}{direct:7.2f}ms{bare:8.2f}ms{ours:8.2f}ms{found.added(share):6.2f}ms")
    if memory:
        print(f"\nMiB after {SETTLED} requests {found.memory[0]:.2f}, after {memory} {found.memory[-1]:.2f}, ", end="")
        print(f"the most {max(found.memory):.2f}: {found.growth:+.2%}")


def gateway(bench: Bench) -> list[Figure]:
    """What the gateway costs, for the table of all figures."""
    memory = 1_000_000 if bench.long else 300_000
    found = measure(20_000, memory)
    added = found.added(0.99)
    return [
        Figure("gateway, CPU per request", f"{found.ratio:.2f}x ({found.ours:.3f} ms)", f"{found.bare:.3f} ms",
               "<= 1.5x", found.ratio <= 1.5),
        Figure("gateway, p99 added at half load", f"{added:.2f} ms", f"{found.middle(0.99)[0]:.2f} ms", "<= 3 ms",
               added <= 3),
        Figure(f"gateway, memory from {SETTLED:,} to {memory:,} requests", f"{found.growth:+.2%}",
               f"{found.memory[0]:.1f} MiB", "< 1 %", found.growth < 0.01),
    ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--memory", type=int, default=0, metavar="N")
    parser.add_argument("--pass", nargs=2, dest="passed", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.passed:
        pass_through(*arguments.passed)
    else:
        main(arguments.requests, arguments.memory)
