"""Requests during blue/green flips, while instances are killed at random: how many are answered with anything but 2xx.

    python -m benchmarks.gateway_flips [--requests N] [--flips N] [--seconds-between-kills S] [--load SHARE]

A whole server in a workspace of its own, two deployments of a score.py with two instances each. Flips come from a
process of their own: in turn a change of the store's record and a word to the server, as `pf endpoint update --traffic`
does it, and a call of the REST API. At the end, a split of 90 to 10 is looked at request by request.
Requests come at half the rate that the machine can answer; with ``--load 1``, as fast as they are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import multiprocessing
import os
import random
import signal
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
from benchmarks.whole_server import ENDPOINT, NAMES, Running, running
from promptflow.workspace import Workspace
from serve.cli.endpoint_live import tell_server
from serve.endpoints.store import EndpointStore
from serve.supervisor.beacon import find

AT_ONCE = 16
HALF = 0.5  # of the rate at which requests can be answered
CHANGING = -1  # in place of the number of the deployment that has all traffic
SPLIT = {"blue": 90, "green": 10}
IN_TURN = 1000  # requests one after the other, of which each prefix is looked at

Spawn = multiprocessing.get_context("spawn")


def flip(home: str, times: int, pause: float, colour: Any, effect: Any) -> None:
    """The process of who changes traffic. ``colour`` is the deployment that has it, ``effect`` gets the seconds."""
    workspace = Workspace.open(Path(home), database_url="")
    store = EndpointStore(workspace)
    beacon = find(workspace.home)
    assert beacon is not None
    rest = http.client.HTTPConnection(beacon.host, beacon.port, timeout=60)
    headers = {"Authorization": f"Bearer {beacon.key}", "Content-Type": "application/json"}

    def by_store(traffic: dict[str, int]) -> None:
        store.set_traffic(ENDPOINT, traffic)
        tell_server(workspace)

    def by_rest(traffic: dict[str, int]) -> None:
        body = json.dumps({"traffic": traffic})
        rest.request("PUT", f"/api/v1/endpoints/{ENDPOINT}/traffic", body, headers)
        answer = rest.getresponse()
        assert answer.read() and answer.status == 200, answer.status

    for way in (by_store, by_rest):  # what is imported for the first change is imported
        way({NAMES[0]: 100})
    for turn in range(times):
        at = (turn + 1) % 2
        colour.value = CHANGING
        begun = time.perf_counter()
        (by_store, by_rest)[turn // 2 % 2]({NAMES[at]: 100})
        effect.put(time.perf_counter() - begun)
        colour.value = at
        time.sleep(pause)


class Play:
    """The requests, the flips and the kills, at the same time."""

    def __init__(self, server: Running, session: aiohttp.ClientSession) -> None:
        self.server, self.session = server, session
        self.url = f"{server.beacon.url}/endpoints/{ENDPOINT}/score"
        self.headers = {"Authorization": f"Bearer {server.key}"}
        self.statuses: Counter[int | str] = Counter()
        self.late: list[str] = []  # answers of the other deployment, asked for after a flip was in force
        self.effect: list[float] = []
        self.kills = 0
        self.split_error = 0.0  # requests, at the worst prefix
        self.colour = Spawn.Value("i", CHANGING)
        self.done = False
        self.rate = 0.0  # of requests per second; 0: as fast as they are answered
        self.begun = 0.0

    @property
    def bad(self) -> int:
        return sum(self.statuses.values()) - self.statuses[200]

    async def one(self) -> str:
        """The name of who answered; nothing where that was no answer."""
        try:
            async with self.session.post(self.url, data=b"{}", headers=self.headers) as answer:
                body = await answer.read()
                self.statuses[answer.status] += 1
                return str(json.loads(body)) if answer.status == 200 else ""
        except (aiohttp.ClientError, OSError) as error:
            self.statuses[type(error).__name__] += 1
            return ""

    async def ask(self, left: Iterator[int]) -> None:
        for number in left:
            due = self.begun + number / self.rate if self.rate else 0.0
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            expected = self.colour.value
            found = await self.one()
            if found and expected != CHANGING and expected == self.colour.value and found != NAMES[expected]:
                self.late.append(found)

    async def flips(self, times: int, pause: float) -> None:
        effect = Spawn.Queue()
        home = str(self.server.store.workspace.home)
        process = Spawn.Process(target=flip, args=(home, times, pause, self.colour, effect))
        process.start()
        while len(self.effect) < times:
            self.effect.append(await asyncio.to_thread(effect.get, timeout=60))
        await asyncio.to_thread(process.join)

    async def kill(self, pause: float) -> None:
        dice = random.Random(7)
        while not self.done:
            await asyncio.sleep(pause * dice.uniform(0.5, 1.5))
            status = await asyncio.to_thread(self.server.status, dice.choice(NAMES))
            pids = [one["pid"] for one in status["instances"] if one["phase"] == "ready"]
            if pids:
                os.kill(dice.choice(pids), signal.SIGKILL)
                self.kills += 1

    async def split(self) -> None:
        """Requests one after the other: how far the shares are off, at the worst of their prefixes."""
        await asyncio.to_thread(self.server.store.set_traffic, ENDPOINT, SPLIT)
        await asyncio.to_thread(tell_server, self.server.store.workspace)
        had: Counter[str] = Counter()
        for number in range(1, IN_TURN + 1):
            had[await self.one()] += 1
            off = max(abs(had[name] - number * share / 100) for name, share in SPLIT.items())
            self.split_error = max(self.split_error, off)

    def _numbers(self, requests: int, flips: int) -> Iterator[int]:
        """Of all requests, and of as many more as there are until the last flip."""
        for number in itertools.count():
            if number >= requests and len(self.effect) >= flips:
                return
            yield number

    async def run(self, requests: int, flips: int, between_kills: float, load: float) -> None:
        begun, first = time.perf_counter(), requests // 20
        await self._ask_all(iter(range(first)))
        most = first / (time.perf_counter() - begun)
        self.rate, self.begun = (most * load if load < 1 else 0.0), time.perf_counter()
        pause = max(0.02, (requests - first) / (self.rate or most) / flips)
        killing = asyncio.create_task(self.kill(between_kills))
        await asyncio.gather(self.flips(flips, pause), self._ask_all(self._numbers(requests - first, flips)))
        await self.split()
        self.done = True
        await killing

    async def _ask_all(self, numbers: Iterator[int]) -> None:
        await asyncio.gather(*(self.ask(numbers) for _ in range(AT_ONCE)))


def play(requests: int, flips: int, between_kills: float, instances: int, load: float = HALF) -> Play:
    """All of it, with a server of its own."""
    with tempfile.TemporaryDirectory(prefix="flips-") as name:
        with running(Path(name), instances, {NAMES[0]: 100}) as server:
            return asyncio.run(_played(server, requests, flips, between_kills, load))


def main(requests: int, flips: int, between_kills: float, instances: int, load: float) -> int:
    played = play(requests, flips, between_kills, instances, load)
    effect = sorted(played.effect)
    middle, worst = effect[len(effect) // 2] * 1e3, effect[-1] * 1e3
    print(f"{'requests':28}{sum(played.statuses.values()):>10}")
    print(f"{'flips':28}{len(effect):>10}")
    print(f"{'instances killed':28}{played.kills:>10}")
    print(f"{'answers other than 2xx':28}{played.bad:>10}   {dict(played.statuses)}")
    print(f"{'of the wrong deployment':28}{len(played.late):>10}")
    print(f"{'split 90 to 10 is off by':28}{played.split_error:>10.2f}   (requests, at the worst prefix of {IN_TURN})")
    print(f"{'a change is in force after':28}{middle:>8.1f}ms   (the worst {worst:.1f} ms)")
    return 1 if played.bad or played.late or played.split_error > 1 else 0


def flips(bench: Bench) -> list[Figure]:
    """For the table of all figures."""
    played = play(10_000, 100, 0.5, 2)
    effect = sorted(played.effect)
    middle, worst = effect[len(effect) // 2], effect[-1]
    what = f"{played.kills} instances killed"
    return [
        Figure("10,000 requests in 100 flips", f"{played.bad} failed", what, "0", not played.bad),
        Figure("requests answered by the wrong side", str(len(played.late)), what, "0", not played.late),
        Figure("split 90/10, off at the worst prefix", f"{played.split_error:.2f} requests", what, "<= 1",
               played.split_error <= 1),
        Figure("a change of traffic is in force, worst of 100", ms(worst), f"median {ms(middle)}", "<= 100 ms",
               worst <= 0.1),
    ]  # fmt: skip


async def _played(server: Running, *args: Any) -> Play:
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        played = Play(server, session)
        await played.run(*args)
        return played


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--seconds-between-kills", type=float, default=0.5)
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--load", type=float, default=HALF, metavar="SHARE")
    given = parser.parse_args()
    sys.exit(main(given.requests, given.flips, given.seconds_between_kills, given.instances, given.load))
