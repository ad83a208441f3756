"""The instances of one deployment: as many as are wanted, of the newest generation, come what may."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.workspace import Workspace
from serve.endpoints.records import Deployment
from serve.endpoints.spec import FLOW, LLM, EnvironmentSpec, Spec
from serve.endpoints.variables import looked_up, referring
from serve.environments.build import Environments
from serve.gateway.figures import Figures
from serve.gateway.lane import Lane
from serve.placement.place import place_of
from serve.supervisor import memory
from serve.supervisor.child import Child, Launch
from serve.supervisor.decide import (
    KILLED_TOO_OFTEN,
    STEADY,
    Phase,
    Seen,
    decide,
    generation_of,
    pause_after,
    scale,
)
from serve.supervisor.places import Places, keep_small, tail

TICK = 0.5  # seconds between looks, if nothing happens
TOLD_LINES, TOLD_CHARACTERS = 20, 1000  # of the log of what failed, and of each line of it
CRASH_LOOP = 3  # failures in a row from which on nobody waits for the next instance
KILLED = (-9, -15)  # exit codes of what somebody else ended
# What opens the workspace's secrets: flows need their connections, a model's code does not.
PRIVATE = ("PF_SECRET_KEY", "PF_DATABASE_URL")

logger = logging.getLogger(__name__)


@dataclass
class Failures:
    """What went wrong with the generation that is wanted now."""

    in_a_row: int = 0
    last: str = ""
    log: list[str] = field(default_factory=list)
    again_at: float = 0.0  # monotonic
    counted_at: float = 0.0  # what was made before, and failed since, failed in the same attempt
    hopeful: bool = False  # what failed last was ready before, and that did not happen too often: it is waited for
    killed: deque[float] = field(default_factory=deque)


class Fleet:
    """Looks after its instances until :meth:`stop`."""

    def __init__(
        self, deployment: Deployment, places: Places, numbers: Callable[[], int], lifeline: int, figures: Figures
    ) -> None:
        self.deployment, self.places, self.numbers = deployment, places, numbers
        self.lifeline, self.figures = lifeline, figures
        self.environments = Environments(places.home)
        self.lane = Lane(deployment.spec.request)
        self.lane.missed = self._wake
        self.generation = generation_of(deployment.spec)
        self.wanted = max(1, deployment.spec.min_instances)
        self.children: list[Child] = []
        self.failures = Failures()
        self.notes: tuple[str, ...] = ()  # of the newest instance that was ready
        self._loads: deque[tuple[float, int]] = deque()
        self._woken = asyncio.Event()
        self._measuring: asyncio.Task[None] | None = None
        self._stopping = False
        self.lane.coming = True
        self._task = asyncio.create_task(self._run())

    @property
    def spec(self) -> Spec:
        return self.deployment.spec

    def change(self, deployment: Deployment) -> None:
        """Another revision: what its process would not notice takes effect at once, the rest instance by instance."""
        if deployment == self.deployment:
            return
        self.deployment = deployment
        self.failures = Failures()  # whoever changes something wants to see at once whether it helps
        generation = generation_of(deployment.spec)
        if generation != self.generation:
            self.generation, self.wanted, self.notes = generation, max(1, self.wanted), ()
        for child in self.children:
            if child.generation == generation:
                child.spec = deployment.spec
        self.lane.change(deployment.spec.request)
        self._wake()

    async def stop(self) -> None:
        """End all instances; those that have requests in their hands when these are answered."""
        self._stopping = True
        self._wake()
        await self._task
        await self._measured()

    async def kill(self) -> None:
        """End all instances now."""
        self._stopping = True
        self._task.cancel()
        await asyncio.gather(self._task, *(child.end() for child in self.children), return_exceptions=True)
        await self._measured()

    def status(self) -> dict[str, Any]:
        """For people and programs that wait for it."""
        current = [child for child in self.children if child.generation == self.generation]
        ready = sum(child.phase is Phase.READY for child in current)
        return {
            "endpoint": self.deployment.endpoint,
            "name": self.deployment.name,
            "revision": self.deployment.revision,
            "state": self._state(ready, any(child not in current and not child.draining for child in self.children)),
            "instances_wanted": self.wanted,
            "instances_ready": sum(child.phase is Phase.READY for child in self.children),
            "instances": [_told(child, self.generation) for child in self.children],
            "in_flight": self.lane.in_flight,
            "in_line": self.lane.in_line,
            "failures": self.failures.in_a_row,
            "message": self.failures.last,
            "warnings": [*self._warnings(current)],
            "log": self.failures.log,
        }

    def _warnings(self, current: Sequence[Child]) -> tuple[str, ...]:
        """What the newest instance that was ready had to say; those that are no more, too, while none is left."""
        self.notes = next((child.notes for child in reversed(current) if child.was_ready), self.notes)
        return self.notes

    def _state(self, ready: int, replacing: bool) -> str:
        if self.failures.in_a_row and ready < self.wanted:
            return "Failed" if self.failures.in_a_row < CRASH_LOOP else "CrashLoop"
        if self.wanted == 0:
            return "ScaledToZero"
        return "Ready" if ready >= self.wanted and not replacing else "Updating"

    async def _run(self) -> None:
        while True:
            try:
                self._step()
            except Exception:
                logger.exception("supervising %s failed; it goes on", self.deployment.id)
            if self._stopping and not self.children:
                return
            try:
                async with asyncio.timeout(TICK):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()

    def _wake(self) -> None:
        self._woken.set()

    def _step(self) -> None:
        self._bury()
        self._measure()
        now = time.monotonic()
        self.wanted = 0 if self._stopping else self._count(now)
        seen = [Seen(child.slot, child.generation, child.phase, child.instance.in_flight) for child in self.children]
        plan = decide(self.wanted, self.generation, seen, now >= self.failures.again_at)
        for child in self.children:
            if child.slot in plan.drain:
                child.drain()
        for _ in range(plan.start):
            self._start()
        self._tell_lane()

    def _count(self, now: float) -> int:
        load = self.lane.in_flight + self.lane.in_line
        self._loads.append((now, load))
        while self._loads[0][0] < now - STEADY:
            self._loads.popleft()
        recent = max(load for _, load in self._loads)
        # What takes longer to start than it may be idle would else never get to answer anything.
        starting = any(child.phase is Phase.STARTING for child in self.children)
        used = max([self.lane.used, *(child.ready_at for child in self.children)])
        idle = 0.0 if starting else now - used
        return scale(self.spec, load, recent, idle, self.wanted)

    def _start(self) -> None:
        taken = {child.slot for child in self.children}
        slot = next(number for number in range(len(taken) + 1) if number not in taken)
        child = Child(slot, self.generation, self._launch(slot), self._wake, self.lifeline)
        self.children.append(child)
        self.lane.add(child.instance)

    def _launch(self, slot: int) -> Launch:
        number, deployment = self.numbers(), self.deployment
        spec_file, socket = self.places.spec(number), self.places.socket(number)
        place = deployment.spec.recorded.get("instance_type")
        elsewhere = place_of(place) is not None
        program = [
            "-P", "-m", "serve.supervisor.start", str(self.lifeline),
            "serve.placement.ray_instance" if elsewhere else "serve.scorers",
            "--spec", str(spec_file), "--socket", str(socket), "--deployment", deployment.name,
        ]  # fmt: skip
        if elsewhere:  # its environment is made there
            program += ["--place", str(place), "--given", *referring(self.spec.variables)]
        log = self.places.log(deployment.endpoint, deployment.name, slot)
        make = functools.partial(self.environments.make, EnvironmentSpec() if elsewhere else self.spec.environment)
        secrets = functools.partial(looked_up, self.spec.variables, Workspace.open(self.places.home))
        environ = _environ(deployment, self.places, slot)
        return Launch(make, secrets, program, self.spec, spec_file, socket, log, environ, elsewhere)

    def _bury(self) -> None:
        """Take note of those that have ended."""
        for child in [child for child in self.children if child.done]:
            self.children.remove(child)
            self.lane.remove(child.instance)
            if child.was_ready and child.generation == self.generation:
                self.notes = child.notes
            if child.fault:
                self._failed(child)
            elif child.was_ready and child.generation == self.generation:
                self.failures = Failures(killed=self.failures.killed)

    def _failed(self, child: Child) -> None:
        deployment = self.deployment
        self.figures.restarts[deployment.endpoint, deployment.name] += 1
        logger.warning("instance %d of %s %s", child.slot, deployment.id, child.fault)
        if child.generation != self.generation:
            return
        now, failures = time.monotonic(), self.failures
        failures.last = f"Instance {child.slot} {child.fault}."
        log = tail(self.places.log(deployment.endpoint, deployment.name, child.slot), TOLD_LINES)
        failures.log = [_short(line) for line in log]
        from_outside = child.lost or (child.exit_code in KILLED and "by SIG" in child.fault)
        if child.was_ready and from_outside:
            failures.killed.append(now)
            while failures.killed[0] < now - 60:
                failures.killed.popleft()
            failures.again_at = now + 1.0 if len(failures.killed) > KILLED_TOO_OFTEN else 0.0
            return
        if child.created >= failures.counted_at:
            failures.in_a_row = 1 if child.was_ready and now - child.started > 60 else failures.in_a_row + 1
            failures.counted_at = now
        # The first time, what was ready is started again at once.
        again = failures.in_a_row - 1 if child.was_ready else failures.in_a_row
        failures.again_at = now + pause_after(again)
        failures.hopeful = child.was_ready and failures.in_a_row < CRASH_LOOP

    def _measure(self) -> None:
        """What is written and used, on a thread: logs are large, and so is /proc where there are many processes."""
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._weigh())

    async def _measured(self) -> None:
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.gather(self._measuring, return_exceptions=True)

    async def _weigh(self) -> None:
        limit = self.spec.memory_limit
        for child in [*self.children]:
            here = limit and not child.launch.elsewhere
            used = await asyncio.to_thread(_look_at, child.launch.log, child.pid if here else 0)
            if limit and used > limit and not child.fault and not child.done:
                child.give_up(f"used {_megabytes(used)} of memory, more than its limit of {_megabytes(limit)}")

    def _tell_lane(self) -> None:
        """Who waits is served as far as there is room, and sent away where nothing is coming."""
        starting = any(child.phase in (Phase.STARTING, Phase.UNREADY) for child in self.children)
        failures = self.failures
        hopeful = failures.hopeful or any(child.was_ready for child in self.children)
        broken = failures.in_a_row > 0 and not hopeful
        self.lane.coming = not self._stopping and not broken and (starting or self.wanted > 0 or not self.lane.served)
        self.lane.pause = max(0.0, failures.again_at - time.monotonic())
        self.lane.serve_line()
        if not self.lane.coming and not self.lane.served:
            self.lane.turn_away()


def _told(child: Child, generation: str) -> dict[str, Any]:
    return {
        "instance": child.slot,
        "phase": str(child.phase),
        "current": child.generation == generation,
        "pid": child.pid,
        "in_flight": child.instance.in_flight,
        "seconds": round(time.monotonic() - child.started, 1),
        "ready_after": round(child.ready_after, 3),
        "log": str(child.launch.log),
    }


def _look_at(log: Path, pid: int) -> int:
    """Keep the log small; the bytes that ``pid`` and its like use, if it is one."""
    keep_small(log)
    return memory.used(pid) if pid else 0


def _megabytes(size: int) -> str:
    return f"{round(size / 1e6, 1):,g} MB"


def _short(line: str) -> str:
    """As much of a line as people read; `get-logs` has it whole."""
    left = len(line) - TOLD_CHARACTERS
    return line if left <= 0 else f"{line[:TOLD_CHARACTERS]}… ({left:,} more characters)"


def _environ(deployment: Deployment, places: Places, slot: int) -> dict[str, str]:
    kept: Mapping[str, str] = os.environ
    if deployment.spec.kind not in (FLOW, LLM):
        kept = {name: value for name, value in kept.items() if name not in PRIVATE}
    return {
        **kept,
        "PF_HOME_DIRECTORY": str(places.home),
        "PF_ENDPOINT_NAME": deployment.endpoint,
        "PF_DEPLOYMENT_NAME": deployment.name,
        "PF_INSTANCE": str(slot),
    }
