"""What every benchmark needs: flows, data, environments with homes of their own, and commands of both products."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure, ms
from benchmarks.flows import write_data, write_flows
from benchmarks.measure import Cost, Look, clean_environment, median, run
from benchmarks.model import ROOT, Model

WORK = ROOT / ".bench"
OURS = Path(sys.executable).parent
PIN = ["promptflow==1.18.5", "promptflow-tools", "keyrings.alt", "filelock<3.20", "langgraph"]


@dataclass
class Bench:
    """One session of measuring, with a slow model that runs. ``work``: the folder for all that is written."""

    model: Model
    repetitions: int = 5
    work: Path = WORK
    long: bool = False  # measure also what takes the reference minutes
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.flows = self.work / "flows"
        write_flows(self.flows, self.model.url)
        shutil.rmtree(self.work / "home", ignore_errors=True)  # runs of an earlier session
        self.env = clean_environment(self.work / "home", OURS)
        self.pf("connection", "create", "-f", str(self.flows / "connection.yaml"))

    @property
    def runs(self) -> Path:
        """The folder with the folders of our runs."""
        return Path(self.env["PF_HOME_DIRECTORY"]) / ".runs"

    def pf(self, *words: str, timeout: float = 300, look: Look | None = None, **variables: str) -> Cost:
        """Our command."""
        return run([str(OURS / "pf"), *words], {**self.env, **variables}, self.work, timeout, look)

    def start(self, *words: str, out: Path) -> subprocess.Popen[bytes]:
        """Our command, started; what it says goes to the file ``out``."""
        with out.open("wb") as file:
            return subprocess.Popen(
                [str(OURS / "pf"), *words], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def batch(self, flow: str, rows: int, *words: str, timeout: float = 300, look: Look | None = None) -> Cost:
        """``pf run create`` over so many rows; ok when the run is completed."""
        cost = self.pf(*self.create(flow, rows), *words, timeout=timeout, look=look)
        return self.completed(cost)

    def create(self, flow: str, rows: int) -> list[str]:
        return ["run", "create", "--flow", str(self.flows / flow), "--data", str(write_data(self.flows, rows))]

    @staticmethod
    def completed(cost: Cost) -> Cost:
        ok = cost.ok and '"Completed"' in cost.out
        if not ok:
            print(cost.out[-2000:], file=sys.stderr)
        return Cost(cost.wall, cost.cpu, cost.pss_mb, cost.out, ok)

    def python(self, *words: str) -> Cost:
        return run([str(OURS / "python"), *words], self.env, self.work)

    def median(self, *argv: str) -> Cost:
        """Our command several times: its program is a name in the environment's bin folder."""
        return median(lambda: run([str(OURS / argv[0]), *argv[1:]], self.env, self.work), self.repetitions)

    def reference(self, *argv: str, timeout: float = 300) -> Cost:
        """A command of the reference environment, once."""
        folder = _reference_environment(self.work)
        env = clean_environment(self.work / "home-reference", folder)
        if not (self.work / "home-reference/.ready").exists():
            # no telemetry, and no trace service that the original would leave running
            for setting in ("telemetry.enabled=false", "trace.destination=none"):
                run([str(folder / "pf"), "config", "set", setting], env)
            (self.work / "home-reference/.ready").touch()
        return run([str(folder / argv[0]), *argv[1:]], env, self.work, timeout)

    def against_bare(self, name: str, ours: Cost, bound: float) -> Figure:
        bare = self.median("python", "-c", "pass")
        ratio = ours.cpu / bare.cpu
        value = f"{ratio:.2f}x ({ms(ours.cpu)})"
        return Figure(name, value, f"bare python {ms(bare.cpu)}", f"<= {bound}x", ratio <= bound and ours.ok)


def _reference_environment(work: Path) -> Path:
    """The bin folder of an environment with the references; made once."""
    folder = work / "reference"
    if not (folder / ".ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", *PIN], check=True)
        (folder / ".ready").touch()
    return folder / "bin"
