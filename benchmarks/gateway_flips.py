"""Requests during blue/green flips, while instances are killed at random: how many are answered with anything but 2xx.

    python -m benchmarks.gateway_flips [--requests N] [--flips N] [--seconds-between-kills S]

A whole server in a workspace of its own, two deployments of a score.py with two instances each. A flip is a change of
the store's record and a word to the server, as `pf endpoint update --traffic` does it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.bench import Bench
from benchmarks.figures import Figure, ms
from promptflow.workspace import Workspace
from serve.endpoints.records import Deployment, Endpoint
from serve.endpoints.spec import RequestSettings, Spec
from serve.endpoints.store import EndpointStore
from serve.supervisor.beacon import Beacon, find

AT_ONCE = 16
SCORE = "def init(): pass\n\ndef run(raw):\n    return {name!r}\n"
NAMES = ("blue", "green")


def prepared(folder: Path, instances: int) -> EndpointStore:
    store = EndpointStore(Workspace.open(folder / "home", database_url=""))
    store.create(Endpoint("shop"))
    for name in NAMES:
        code = folder / name
        code.mkdir()
        (code / "score.py").write_text(SCORE.format(name=name))
        request = RequestSettings(timeout=60, concurrency=16, queue_wait=10)
        spec = Spec(
            "script", code=code, scoring_script="score.py", request=request, min_instances=instances,
            max_instances=instances,
        )  # fmt: skip
        store.put(Deployment("shop", name, spec))
    store.set_traffic("shop", {"blue": 100})
    return store


class Play:
    """The requests, the flips and the kills, at the same time."""

    def __init__(self, store: EndpointStore, beacon: Beacon, session: aiohttp.ClientSession) -> None:
        self.store, self.beacon, self.session = store, beacon, session
        self.key = store.keys("shop").primary
        self.statuses: Counter[int | str] = Counter()
        self.late: list[str] = []  # answers of the other deployment, asked for after a flip was in force
        self.effect: list[float] = []
        self.kills = 0
        self.colour = ""  # what answers must be, while no flip is under way
        self.done = False

    @property
    def bad(self) -> int:
        return sum(self.statuses.values()) - self.statuses[200]

    async def ask(self, left: Any) -> None:
        url, headers = f"{self.beacon.url}/endpoints/shop/score", {"Authorization": f"Bearer {self.key}"}
        for _ in left:
            expected = self.colour
            try:
                async with self.session.post(url, data=b"{}", headers=headers) as answer:
                    body = await answer.json()
                    self.statuses[answer.status] += 1
            except (aiohttp.ClientError, OSError) as error:
                self.statuses[type(error).__name__] += 1
                continue
            if expected and expected == self.colour and answer.status == 200 and body != expected:
                self.late.append(body)

    async def flip(self, times: int, pause: float) -> None:
        for turn in range(times):
            name = NAMES[(turn + 1) % 2]
            self.colour = ""
            begun = time.perf_counter()
            await asyncio.to_thread(self.store.set_traffic, "shop", {name: 100})
            await self._api("POST", "/api/reload")
            self.effect.append(time.perf_counter() - begun)
            self.colour = name
            await asyncio.sleep(pause)

    async def kill(self, pause: float) -> None:
        dice = random.Random(7)
        while not self.done:
            await asyncio.sleep(pause * dice.uniform(0.5, 1.5))
            name = dice.choice(NAMES)
            status = await self._api("GET", f"/api/v1/endpoints/shop/deployments/{name}/status")
            pids = [one["pid"] for one in status["instances"] if one["phase"] == "ready"]
            if pids:
                os.kill(dice.choice(pids), signal.SIGKILL)
                self.kills += 1

    def _rest(self, left: Iterator[int], flips: int) -> Iterator[int]:
        """All requests, and as many more as there are until the last flip."""
        yield from left
        while len(self.effect) < flips:
            yield 0

    async def _api(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.beacon.key}"}
        async with self.session.request(method, self.beacon.url + path, headers=headers) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def ready(self) -> None:
        for name in NAMES:
            while (await self._api("GET", f"/api/v1/endpoints/shop/deployments/{name}/status"))["state"] != "Ready":
                await asyncio.sleep(0.05)

    async def run(self, requests: int, flips: int, between_kills: float) -> None:
        await self.ready()
        begun = time.perf_counter()
        probe = iter(range(requests // 20))
        await asyncio.gather(*(self.ask(probe) for _ in range(AT_ONCE)))
        rest = requests - requests // 20
        seconds = (time.perf_counter() - begun) * rest / (requests // 20)
        killing = asyncio.create_task(self.kill(between_kills))
        left = iter(range(rest))
        await asyncio.gather(
            self.flip(flips, max(0.02, seconds / flips)), *(self.ask(self._rest(left, flips)) for _ in range(AT_ONCE))
        )
        self.done = True
        await killing


def play(requests: int, flips: int, between_kills: float, instances: int) -> Play:
    """All of it, with a server of its own."""
    with tempfile.TemporaryDirectory(prefix="flips-") as name:
        store = prepared(Path(name), instances)
        environ = {**os.environ, "PF_HOME_DIRECTORY": str(store.workspace.home)}
        argv = [sys.executable, "-m", "promptflow", "server", "start", "--foreground", "--port", "0"]
        server = subprocess.Popen(argv, env=environ, stderr=subprocess.DEVNULL)
        try:
            while (beacon := find(store.workspace.home)) is None:
                time.sleep(0.05)
            return asyncio.run(_played(store, beacon, requests, flips, between_kills))
        finally:
            server.terminate()
            server.wait()
            store.workspace.close()


def main(requests: int, flips: int, between_kills: float, instances: int) -> int:
    played = play(requests, flips, between_kills, instances)
    effect = sorted(played.effect)
    middle, worst = effect[len(effect) // 2] * 1e3, effect[-1] * 1e3
    print(f"{'requests':28}{sum(played.statuses.values()):>10}")
    print(f"{'flips':28}{len(effect):>10}")
    print(f"{'instances killed':28}{played.kills:>10}")
    print(f"{'answers other than 2xx':28}{played.bad:>10}   {dict(played.statuses)}")
    print(f"{'of the wrong deployment':28}{len(played.late):>10}")
    print(f"{'a change is in force after':28}{middle:>8.1f}ms   (the worst {worst:.1f} ms)")
    return 1 if played.bad or played.late else 0


def flips(bench: Bench) -> list[Figure]:
    """For the table of all figures."""
    played = play(10_000, 100, 0.5, 2)
    effect = sorted(played.effect)[len(played.effect) // 2]
    what = f"{played.kills} instances killed"
    return [
        Figure("10,000 requests in 100 flips", f"{played.bad} failed", what, "0", not played.bad),
        Figure("requests answered by the wrong side", str(len(played.late)), what, "0", not played.late),
        Figure("a change of traffic is in force", ms(effect), "-", "<= 100 ms", effect <= 0.1),
    ]


async def _played(store: EndpointStore, beacon: Beacon, *args: Any) -> Play:
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        played = Play(store, beacon, session)
        await played.run(*args)
        return played


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--seconds-between-kills", type=float, default=0.5)
    parser.add_argument("--instances", type=int, default=2)
    given = parser.parse_args()
    sys.exit(main(given.requests, given.flips, given.seconds_between_kills, given.instances))
