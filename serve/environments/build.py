"""`Environments`: an interpreter for what a deployment asks for, in a venv that is made once for the same content.

The packages of this program stand behind those of the venv: an instance finds its own first, and needs no second copy
of the server that runs it. The record is written last; a folder without it is what a kill has left, and is made anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import promptflow
from promptflow.exceptions import UserErrorException
from promptflow.workspace.atomic import make_folder, write_whole
from promptflow.workspace.clock import now_text
from promptflow.workspace.locks import file_lock
from serve.bound import bound
from serve.endpoints.spec import EnvironmentSpec
from serve.environments.conda import Packages, from_conda, kept
from serve.environments.curated import from_curated

FOLDER = "environments"
READY = "ready.json"
BEHIND = "behind.pth"  # site reads it: its lines come after the venv's own packages
WAIT = 3600.0  # seconds that another process may take to make the same one
HERE = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
LAST = 12  # lines of pip's words in an error
Say = Callable[[str], None]


class EnvironmentFailedError(UserErrorException):
    """pip could not make the environment; its last words are in the message."""


def packages_of(spec: EnvironmentSpec) -> Packages:
    """What pip is to install. ValidationException for what it cannot."""
    parts = [from_curated(spec.curated)] if spec.curated else []
    if spec.conda:
        parts.append(from_conda(spec.conda))
    parts.append(kept(spec.requirements))
    lines = dict.fromkeys(line for part in parts for line in part.requirements)
    python = next((part.python for part in parts if part.python), "")
    here = ".".join(map(str, sys.version_info[:2]))
    notes = [note for part in parts for note in part.notes]
    if python and ".".join(python.split(".")[:2]) != here:
        notes.append(f"Python {python} was asked for; instances run on the Python of this program, {here}")
    return Packages(tuple(lines), python, tuple(notes))


class Environments:
    """Those of one workspace, whose folder is ``home``."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER

    def there(self, spec: EnvironmentSpec) -> Path | None:
        """The interpreter, if nothing has to be made first."""
        if not spec.is_own or not packages_of(spec).requirements:
            return Path(sys.executable)
        folder = self._folder(spec)
        return _python(folder) if (folder / READY).is_file() else None

    def make(self, spec: EnvironmentSpec, say: Say) -> Path:
        """The interpreter; its venv is made if it is not there. Blocks for as long as pip takes. ``say`` gets a line
        for each step. EnvironmentFailedError with pip's last words where that fails."""
        found = self.there(spec)
        if found is not None:
            return found
        packages, folder = packages_of(spec), self._folder(spec)
        make_folder(self.folder)
        with file_lock(self.folder / f"{folder.name}.lock", timeout=WAIT):
            if (folder / READY).is_file():
                return _python(folder)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                with (self.folder / f"{folder.name}.log").open("w", encoding="utf-8") as log:
                    _fill(folder, packages, log, say)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            record = {"name": spec.name, "requirements": packages.requirements, "created": now_text()}
            write_whole(folder / READY, json.dumps(record).encode())
        return _python(folder)

    def _folder(self, spec: EnvironmentSpec) -> Path:
        # Of what pip is asked for, not of the file: it is another environment where that is read otherwise than before.
        digest = hashlib.sha256("\n".join(packages_of(spec).requirements).encode()).hexdigest()
        return self.folder / f"{digest[:16]}-py{sys.version_info[0]}.{sys.version_info[1]}"


def _fill(folder: Path, packages: Packages, log: IO[str], say: Say) -> None:
    for note in packages.notes:
        say(note)
    count = len(packages.requirements)
    say(f"making an environment of {count} package{'s' if count > 1 else ''}")
    with_pip = importlib.util.find_spec("pip") is None
    _run([sys.executable, "-P", "-m", "venv", *([] if with_pip else ["--without-pip"]), str(folder)], log)
    python = _python(folder)
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(packages.requirements) + "\n", encoding="utf-8")
    pip = [str(python), "-P", "-m", "pip"] if with_pip else [sys.executable, "-P", "-m", "pip", "--python", str(python)]
    # compiled, whatever pip's own settings say: instances that come back from zero have no time for it
    words = ["--disable-pip-version-check", "install", "--compile", "--no-input", "--progress-bar", "off"]
    words += ["-r", str(listed)]
    _run([*pip, *words], log)
    site_packages(python).joinpath(BEHIND).write_text("\n".join(_ours()) + "\n", encoding="utf-8")


def _ours() -> list[str]:
    """Where this program and what it needs are: not always the same folder."""
    own = [str(Path(promptflow.__path__[0]).parent), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return list(dict.fromkeys(own))


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def site_packages(python: Path) -> Path:
    """Where the packages of a venv are."""
    return python.parents[1] / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def _run(words: Sequence[str], log: IO[str]) -> None:
    """EnvironmentFailedError with its last words if it fails. It does not outlive this process."""
    done = subprocess.run(
        bound(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    )  # fmt: skip
    log.write(done.stdout)
    log.flush()
    if done.returncode:
        last = "\n".join([line for line in done.stdout.splitlines() if line.strip()][-LAST:])
        source = _not_compiled(done.stdout)
        why = f"{source} has no wheel for {HERE} and cannot be compiled, name a version that has; " if source else ""
        raise EnvironmentFailedError(
            f"The environment could not be made, pip ended with {done.returncode}:\n{last}",
            hint=f"{why}all that it said is in {log.name}",
        )


def _not_compiled(said: str) -> str:
    """The package of which pip found the source alone, and could make nothing of it; empty: that was not it."""
    if wheel := re.search(r"Failed building wheel for (\S+)", said):
        return wheel[1]
    before, broken, _ = said.partition("finished with status 'error'")
    found = re.findall(r"^(?:Collecting|Processing) (\S+)", before, re.MULTILINE)
    return str(found[-1]) if broken and found else ""
