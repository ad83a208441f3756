"""A million rows of a trivial flow: memory stays flat, and the run's folder small."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.measure import memory_mb

ROWS, EARLY = 1_000_000, 100_000
GROWTH, FOLDER = 1.2, 4.0
NAME = "million"


@dataclass
class _Memory:
    """What the run holds (MB) by the share of its inputs that is written: rows are all of one length."""

    written: Path
    whole: int
    samples: list[tuple[float, float]] = field(default_factory=list)

    def look(self, pid: int) -> None:
        try:
            done = self.written.stat().st_size / self.whole
        except OSError:
            return
        self.samples.append((done, memory_mb(pid, "Rss")))

    def course(self) -> str:
        tenths = (next((memory for done, memory in self.samples if done >= i / 10), 0) for i in range(1, 10))
        return " ".join(f"{memory:.0f}" for memory in [*tenths, self.samples[-1][1]]) + " MB"

    def growth(self) -> tuple[float, float]:
        """The memory at the early row, and the most that was seen from there to the end."""
        later = [memory for done, memory in self.samples if done >= EARLY / ROWS]
        return later[0], max(later)


def million(bench: Bench) -> list[Figure]:
    data = _data(bench.flows)
    folder = bench.runs / NAME
    memory = _Memory(folder / "inputs.jsonl", data.stat().st_size)
    words = ["run", "create", "--flow", str(bench.flows / "tiny"), "--data", str(data), "--name", NAME,
             "--column-mapping", "text=${data.text}"]  # fmt: skip
    cost = bench.completed(bench.pf(*words, timeout=1500, look=memory.look))
    early, most = memory.growth()
    kept = _on_disk(folder) / (data.stat().st_size + (folder / "outputs.jsonl").stat().st_size)
    with (folder / "outputs.jsonl").open("rb") as outputs:
        complete = sum(1 for _ in outputs) == ROWS
    bench.pf("run", "delete", "--name", NAME, "-y")
    return [
        Figure(f"{ROWS:,} rows of one node, RSS from row {EARLY:,} on", f"{most / early:.2f}x ({most:.0f} MB)",
               f"{early:.0f} MB", f"<= {GROWTH}x", most <= GROWTH * early and cost.ok and complete),
        Figure("  RSS at each tenth of the rows", memory.course()),
        Figure("  CPU per line", f"{cost.cpu / ROWS * 1e6:.0f} µs", f"{cost.wall:.0f} s in all"),
        Figure("  the run's folder against inputs plus outputs", f"{kept:.2f}x", "-", f"<= {FOLDER:.0f}x",
               kept <= FOLDER),
    ]  # fmt: skip


def _data(folder: Path) -> Path:
    """Rows of 150 bytes."""
    file = folder / f"wide-{ROWS}.jsonl"
    if not file.exists():
        with file.open("w", encoding="utf-8") as out:
            for i in range(ROWS):
                out.write(json.dumps({"text": f"{i:07} {'how many apples are in this basket? ' * 4}"[:137]}) + "\n")
    return file


def _on_disk(folder: Path) -> int:
    """Bytes in the folder; a file with two names counts once."""
    sizes = {}
    for path in folder.rglob("*"):
        status = os.lstat(path)
        sizes[status.st_ino] = status.st_size
    return sum(sizes.values())
