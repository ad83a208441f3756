"""Commands in Markdown, as a reader would type them: ```console blocks are run and their outputs compared.

``…`` in an output stands for anything. ``python -m tests.console README.md examples/*/README.md`` writes what is printed
now into the files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from promptflow.workspace import Workspace

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_SECONDS = 100
# What is never the same twice: times, how long something took, names made up.
_FLEETING = re.compile(
    r"""\d{4}-\d\d-\d\dT[\d:.]+\+00:00 | [\d.]+(?=[ ]ms\b) | (?<=duration:[ ])[\d.]+ | (?<=duration":[ ])[\d.]+
    | [0-9a-f]{8}-[0-9a-f-]{27} """,
    re.VERBOSE,
)


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
            output = step.output if step.matches(printed) else _FLEETING.sub("…", printed)
            text += f"$ {step.command}\n" + (f"{output.strip()}\n" if output.strip() else "")
        return text

    return _BLOCK.sub(block, markdown)


def copy_examples(folder: Path) -> Path:
    """A copy of the examples to run in, without the training of the embedded model."""
    ignored = shutil.ignore_patterns("embedded-model", ".promptflow", "__pycache__")
    return Path(shutil.copytree(ROOT / "examples", folder, ignore=ignored))


def install_package(examples: Path, site: Path) -> str:
    """PYTHONPATH with the package of the package-tool example, laid down as `pip install` would have done it."""
    package = examples / "package-tool" / "shop-tools"
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = site / f"shop_tools-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {target}\n" for name, target in project["entry-points"]["package_tools"].items()]
    (info / "entry_points.txt").write_text("[package_tools]\n" + "".join(lines))
    shutil.copytree(package / "shop_tools", site / "shop_tools")
    return os.pathsep.join([str(site), str(ROOT)])


def stop_processes(home: Path) -> None:
    """Stop what was started in a workspace: the server of the embedded model."""
    with Workspace.open(home) as workspace:
        for process in workspace.processes.list():
            if process.is_running:
                workspace.processes.stop(process.name)


def main(files: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        examples = copy_examples(Path(folder, "examples"))
        variables = {"PYTHONPATH": install_package(examples, Path(folder, "site"))}
        for number, file in enumerate(Path(file).resolve() for file in files):
            home = Path(folder, f"home{number}")
            console = Console(Path(folder, file.parent.relative_to(ROOT)), home, variables)
            text = rewrite(file.read_text(encoding="utf-8"), console)
            file.write_text(text.replace(str(home), "…").replace(folder, "…"), encoding="utf-8")
            stop_processes(home)


if __name__ == "__main__":
    main(sys.argv[1:])
