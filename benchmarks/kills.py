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

from benchmarks.bench import Bench
from benchmarks.processes import below, left_after
from benchmarks.ray_nodes import Nodes
from promptflow.storage.folder import RunFolder

FILES = ("inputs.jsonl", "outputs.jsonl", "flow_outputs/output.jsonl")
DRIVER, NODE = "driver", "a Ray node"
WORKER = "promptflow.executor.worker"
_LIMIT = 120.0  # seconds for one command


@dataclass(frozen=True)
class Setting:
    """``victim``: `DRIVER`, `NODE`, or a word in the command line of the processes below the driver that are killed.

    ``window``: seconds from the start of a command (a driver) or from the last kill (others) to the next kill, at
    most. ``words``: options of ``pf run create``.
    """

    name: str
    flow: str
    words: tuple[str, ...]
    victim: str = DRIVER
    rows: int = 200
    window: float = 1.2


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

    def tally(self) -> Tally:
        tally = Tally(self.setting)
        expected = self._expected()
        while tally.kills < self.kills and len(tally.troubles) < 3:
            name = f"killed-{self.setting.flow}-{self.random.getrandbits(32):08x}"
            self.bench.model.reset()
            if self._survive(name, tally):
                tally.runs += 1
                self._check(name, expected, tally)
                self.bench.pf("run", "delete", "--name", name, "-y")
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
            if not was_killed and code == 0 and '"Completed"' in told:
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
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.random.uniform(0, self.setting.window))
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
                self.nodes.add_one()
                continue
            victims = [one for one in below(process.pid) if self.setting.victim in one.command]
            if victims:
                with self._counted(tally):
                    os.kill(self.random.choice(victims).pid, signal.SIGKILL)
        return False

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
        time.sleep(0.02)
        after = self.bench.model.settled()
        tally.in_flight += sum(after[name] - before[name] for name in ("unanswered", "dangling"))

    # -- what it left --------------------------------------------------------------------------------------------------
    def _expected(self) -> dict[str, bytes]:
        """The files of a run that nothing disturbs."""
        name = f"calm-{self.setting.flow}-{self.random.getrandbits(32):08x}"
        cost = self.bench.batch(self.setting.flow, self.setting.rows, "--name", name, *self.setting.words)
        assert cost.ok, cost.out
        return {file: (self.bench.runs / name / file).read_bytes() for file in FILES}

    def _check(self, name: str, expected: dict[str, bytes], tally: Tally) -> None:
        folder = self.bench.runs / name
        rows = self.setting.rows
        tally.lines += rows
        outputs = (folder / "outputs.jsonl").read_bytes().splitlines()
        seen = Counter(outputs)
        wanted = expected["outputs.jsonl"].splitlines()
        tally.lost += sum(1 for line in wanted if line not in seen)
        tally.wrong += sum(1 for line in seen if line not in set(wanted))
        tally.duplicate += sum(count - 1 for count in seen.values())
        for file in FILES:
            if (folder / file).read_bytes() != expected[file]:
                tally.troubles.append(f"{name}: {file} is not that of a run that nothing disturbed")
        tally.troubles += [f"{name}: {trouble}" for trouble in _records(folder, rows)]
        calls = self.bench.model.calls()
        tally.calls += sum(calls.values())
        tally.repeated += sum(count - 1 for count in calls.values())


def _records(folder: Path, rows: int) -> Iterator[str]:
    """What is wrong with the records of lines and nodes."""
    numbers: Counter[int] = Counter()
    nodes: Counter[int] = Counter()
    for record, of_nodes in RunFolder(folder).lines_with_nodes():
        numbers[record["index"]] += 1
        nodes[len(of_nodes)] += 1
        if record["status"] != "Completed":
            yield f"line {record['index']} is {record['status']}: {record['error']}"
    if sorted(numbers.elements()) != list(range(rows)):
        yield f"{sum(numbers.values())} records of {len(numbers)} lines"
    if len(nodes) != 1:
        yield f"lines by number of node records: {dict(nodes)}"


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
