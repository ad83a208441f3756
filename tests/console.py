"""Commands in Markdown, as a reader would type them: ```console blocks are run and their outputs compared.

``…`` in an output stands for anything. ``python -m tests.console FILE…`` writes what is printed now into the files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from promptflow.workspace import Workspace

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_SECONDS = 100


@dataclass(frozen=True)
class Step:
    """One command and what it prints."""

    command: str
    output: str

    def matches(self, printed: str) -> bool:
        pattern = ".*?".join(map(re.escape, self.output.strip().split("…")))
        return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def steps(markdown: str) -> list[Step]:
    """The commands of all console blocks, in their order."""
    return [step for block in _BLOCK.findall(markdown) for step in _steps(block)]


def _steps(block: str) -> list[Step]:
    found: list[Step] = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        last = next(i for i, line in enumerate(lines) if not line.endswith("\\"))
        found.append(Step("\n".join(lines[: last + 1]), "\n".join(lines[last + 1 :])))
    return found


@dataclass(frozen=True)
class Console:
    """A shell without a terminal, in a folder and a workspace of its own, with this environment's ``pf`` first."""

    folder: Path
    home: Path
    variables: Mapping[str, str]

    def run(self, command: str) -> str:
        """What the command prints on stdout. Raises AssertionError when it fails."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**os.environ, **self.variables, "PATH": path, "PF_HOME_DIRECTORY": str(self.home), "COLUMNS": "120"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}\nexit status {done.returncode}"
        return done.stdout


def rewrite(markdown: str, console: Console) -> str:
    """The text with the outputs that its commands have now; outputs that match as they are stay."""

    def block(match: re.Match[str]) -> str:
        text = ""
        for step in _steps(match.group()):
            printed = console.run(step.command)
            output = step.output if step.matches(printed) else printed
            text += f"$ {step.command}\n" + (f"{output.strip()}\n" if output.strip() else "")
        return text

    return _BLOCK.sub(block, markdown)


def copy_examples(folder: Path) -> Path:
    """A copy of the examples to run in, without the training of the embedded model."""
    ignored = shutil.ignore_patterns("embedded-model", ".promptflow", "__pycache__")
    return Path(shutil.copytree(ROOT / "examples", folder, ignore=ignored))


def stop_processes(home: Path) -> None:
    """Stop what was started in a workspace: the server of the embedded model."""
    with Workspace.open(home) as workspace:
        for process in workspace.processes.list():
            if process.is_running:
                workspace.processes.stop(process.name)


def main(files: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        copy_examples(Path(folder, "examples"))
        for file in (Path(file).resolve() for file in files):
            there = Path(folder, file.parent.relative_to(ROOT))
            text = rewrite(file.read_text(encoding="utf-8"), Console(there, home, {}))
            file.write_text(text.replace(str(home), "…").replace(folder, "…"), encoding="utf-8")
        stop_processes(home)


if __name__ == "__main__":
    main(sys.argv[1:])
