"""Runs whose processes are killed (SIGKILL) at random moments and that are resumed until they are completed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from benchmarks.bench import Bench
from benchmarks.processes import below, left_after
from benchmarks.ray_nodes import Nodes
from promptflow.storage.folder import RunFolder

FILES = ("inputs.jsonl", "outputs.jsonl", "flow_outputs/output.jsonl", "metrics.json")
DRIVER, NODE = "driver", "a Ray node"
WORKER = "promptflow.executor.worker"
_LIMIT = 120.0  # seconds for one command
_ENDED = (0, 3)  # all lines ended; some of them may have failed, as they do in a run that nothing disturbs


@dataclass(frozen=True)
class Setting:
    """``victim``: `DRIVER`, `NODE`, or a word in the command line of the processes below the driver that are killed.

    ``window``: seconds in which a command starts. ``words``: options of ``pf run create``.
    """

    name: str
    flow: str
    words: tuple[str, ...]
    victim: str = DRIVER
    rows: int = 200
    window: float = 1.0


@dataclass
class Tally:
    """What came of the runs of one setting. Lines are counted over all of them, in the files and in the records.

    ``repeated``: calls that the model got more than once; ``in_flight``: the most that may have been in flight at the
    kills, as the model saw it; ``troubles``: what else went wrong, in words.
    """

    setting: Setting
    kills: int = 0
    runs: int = 0
    lines: int = 0
    lost: int = 0
    duplicate: int = 0
    wrong: int = 0
    calls: int = 0
    repeated: int = 0
    in_flight: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        lines_ok = not (self.lost or self.duplicate or self.wrong)
        return lines_ok and self.repeated <= self.in_flight and not self.troubles


@dataclass
class Killer:
    """Kills until ``kills`` are done, over as many runs as that takes."""

    bench: Bench
    setting: Setting
    kills: int
    random: random.Random
    nodes: Nodes | None = None
    calls: int = 0  # that a run makes which nothing disturbs

    def tally(self) -> Tally:
        tally = Tally(self.setting)
        calm = self._calm()
        while tally.kills < self.kills and len(tally.troubles) < 3:
            name = f"killed-{self.setting.flow}-{uuid4().hex[:8]}"
            self.bench.model.reset()
            if self._survive(name, tally):
                tally.runs += 1
                self._check(name, calm, tally)
        return tally

    # -- a run ---------------------------------------------------------------------------------------------------------
    def _survive(self, name: str, tally: Tally) -> bool:
        """Run until completed; False when that cannot be."""
        create = [*self.bench.create(self.setting.flow, self.setting.rows), "--name", name, *self.setting.words]
        words = create
        while True:
            out = self.bench.work / "killed.txt"
            process = self.bench.start(*words, out=out)
            with _ended(process):
                was_killed = self._kill_some(process, tally)
                code = process.wait(_LIMIT)
            told = out.read_text(errors="replace")
            if not was_killed and code in _ENDED and '"Completed"' in told:
                return True
            if not was_killed:
                if words is not create and "cannot be found" in told:  # killed before it was recorded
                    words = create
                    continue
                tally.troubles.append(f"{name}: pf {words[1]} exits {code}: {told[-600:]}")
                return False
            words = ["run", "resume", name]

    def _kill_some(self, process: subprocess.Popen[bytes], tally: Tally) -> bool:
        """Kill the driver, or others below it as long as it runs; whether the driver was killed."""
        while tally.kills < self.kills:
            self._wait(process)
            if process.poll() is not None:
                return False
            if self.setting.victim == DRIVER:
                with self._counted(tally):
                    self._kill_driver(process, tally)
                return True
            if self.setting.victim == NODE:
                assert self.nodes is not None
                with self._counted(tally):
                    self.nodes.kill_one()
                    self.nodes.add_one()  # it takes a while: what ran on the other ends a little later than that
                continue
            victims = [one for one in below(process.pid) if self.setting.victim in one.command]
            if victims:
                with self._counted(tally):
                    os.kill(self.random.choice(victims).pid, signal.SIGKILL)
        return False

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a moment while it starts, while it asks the model, or when it has asked all."""
        when, calls = self.random.random(), self.bench.model.stats()["requests"]
        if when < 0.2:
            self._pause(process, self.setting.window)
            return
        goal = calls + self.random.randint(1, max(1, self.calls // 3)) if when < 0.9 else self.calls
        while process.poll() is None and self.bench.model.stats()["requests"] < goal:
            time.sleep(0.01)
        self._pause(process, 0.1 if when < 0.9 else 0.3)

    def _pause(self, process: subprocess.Popen[bytes], most: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.random.uniform(0, most))

    def _kill_driver(self, process: subprocess.Popen[bytes], tally: Tally) -> None:
        """All that it started is to end by itself."""
        others = below(process.pid)
        process.kill()
        process.wait()
        left = left_after(others, 10)
        if left:
            tally.troubles.append(f"left after the driver was killed: {[one.command for one in left]}")
        for one in left:
            os.kill(one.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def _counted(self, tally: Tally) -> Iterator[None]:
        """Around one kill: what was in flight then."""
        before = self.bench.model.stats()
        yield
        tally.kills += 1
        time.sleep(0.5 if self.nodes is not None else 0.02)  # what runs on Ray sees a moment later that it is alone
        after = self.bench.model.settled()
        tally.in_flight += sum(after[name] - before[name] for name in ("unanswered", "dangling"))

    # -- what it left --------------------------------------------------------------------------------------------------
    def _calm(self) -> _Left:
        """What a run leaves that nothing disturbs."""
        name = f"calm-{self.setting.flow}-{uuid4().hex[:8]}"
        words = [*self.bench.create(self.setting.flow, self.setting.rows), "--name", name, *self.setting.words]
        self.bench.model.reset()
        cost = self.bench.pf(*words, timeout=_LIMIT)
        self.calls = self.bench.model.stats()["requests"]
        assert '"Completed"' in cost.out, cost.out
        return _Left.of(self.bench.runs / name)

    def _check(self, name: str, calm: _Left, tally: Tally) -> None:
        found = _Left.of(self.bench.runs / name)
        wanted, seen = calm.files["outputs.jsonl"].splitlines(), Counter(found.files["outputs.jsonl"].splitlines())
        tally.lines += self.setting.rows
        tally.lost += len(set(wanted) - set(seen))
        tally.wrong += len(set(seen) - set(wanted))
        tally.duplicate += sum(count - 1 for count in seen.values())
        for file, text in found.files.items():
            if text != calm.files[file]:
                tally.troubles.append(f"{name}: {file} is not that of a run that nothing disturbed")
        if found.records != calm.records:
            odd = sorted(set(found.records) ^ set(calm.records))[:5]
            tally.troubles.append(f"{name}: records of {len(found.records)} lines, for example {odd}")
        calls = self.bench.model.calls()
        tally.calls += sum(calls.values())
        tally.repeated += sum(count - 1 for count in calls.values())


@dataclass(frozen=True)
class _Left:
    """What is in a run's folder. ``records``: line, its status, its nodes with theirs, in order."""

    files: dict[str, bytes]
    records: list[tuple[int, str, tuple[str, ...]]]

    @classmethod
    def of(cls, folder: Path) -> _Left:
        records = []
        for line, nodes in RunFolder(folder).lines_with_nodes():
            of_nodes = (f"{name}: {node['status']}" for name, node in nodes.items())
            records.append((line["index"], line["status"], tuple(sorted(of_nodes))))
        place = str(folder).encode()  # of images, in the outputs
        return cls({file: (folder / file).read_bytes().replace(place, b"") for file in FILES}, records)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
