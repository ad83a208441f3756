"""Virtual environments for tests that install what was built, and the sources to build it from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SECONDS = 400
_NO_INDEX = ("No matching distribution", "Could not find a version", "Connection", "Temporary failure", "timed out")


def sources(*folders: str) -> list[str]:
    """The files of the working tree that git does not ignore: new ones are as good as tracked ones."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def export(folder: Path) -> Path:
    """A copy of the sources, so that a build leaves nothing in the checkout."""
    for name in sources():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return folder


@dataclass(frozen=True)
class Environment:
    """A virtual environment, run as a user runs it: nothing of this one's variables leaks in."""

    folder: Path

    @classmethod
    def new(cls, folder: Path) -> Environment:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=_SECONDS)
        return cls(folder)

    def copy(self, folder: Path) -> Environment:
        """A second one with the same packages. Its scripts still start the first one's Python: use `python -m`."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Environment(folder)

    @property
    def site_packages(self) -> Path:
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder)}))

    def run(self, *words: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """The environment's Python with these arguments. ``variables`` go into its environment."""
        return self._run(str(self.folder / "bin" / "python"), *words, cwd=cwd, **variables)

    def pf(self, *words: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "promptflow.cli.main", *words, cwd=cwd, **variables)

    def script(self, name: str, *words: object) -> subprocess.CompletedProcess[str]:
        return self._run(str(self.folder / "bin" / name), *words)

    def code(self, text: str, cwd: Path | None = None, **variables: str) -> str:
        """What ``python -c`` prints; a failure fails the test with its traceback."""
        done = self.run("-c", text, cwd=cwd, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def install(self, *words: object) -> None:
        """`pip install`; skips the test where no package index can be reached."""
        flags = ("--quiet", "--no-input", "--disable-pip-version-check", "--retries", "1")
        done = self.run("-m", "pip", "install", *flags, *words)
        if done.returncode and any(sign in done.stderr for sign in _NO_INDEX):
            pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr

    def uninstall(self, *names: str) -> None:
        done = self.run("-m", "pip", "uninstall", "--quiet", "--yes", *names)
        assert done.returncode == 0, done.stderr

    def versions(self) -> dict[str, str]:
        listing = (
            "import importlib.metadata as m; print(*(f'{d.name} {d.version}' for d in m.distributions()), sep='\\n')"
        )
        return dict(line.split() for line in self.code(listing).lower().splitlines())

    def _run(self, *words: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "COVERAGE"))}
        return subprocess.run(
            [str(word) for word in words],
            cwd=cwd or self.folder,
            env={**environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
