"""`make install`: the environment is made once, and again only when what it is made from changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, Environment

EXTRA = "dev"
PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "small"
version = "1.0"

[project.optional-dependencies]
dev = []

[tool.setuptools]
py-modules = ["small"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout of a project without requirements, with our script and Makefile."""
    (tmp_path / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "small.py").write_text("", encoding="utf-8")
    (tmp_path / ".ci").mkdir()
    shutil.copyfile(ROOT / ".ci" / "environment.py", tmp_path / ".ci" / "environment.py")
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    return tmp_path


def command(project: Path) -> list[str]:
    return [sys.executable, str(project / ".ci" / "environment.py"), ".venv", EXTRA]


def install(project: Path) -> int:
    """Run it, and tell when the environment was made."""
    done = subprocess.run(command(project), cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode and any(
        sign in done.stderr for sign in ("No matching distribution", "Could not find a version")
    ):
        pytest.skip("no package index")
    assert done.returncode == 0, done.stderr
    return os.stat(project / ".venv" / ".inputs").st_mtime_ns


@pytest.mark.slow
def test_it_is_made_once_and_again_when_its_inputs_change(project: Path):
    made = install(project)
    assert Environment(project / ".venv").versions()["small"] == "1.0"
    assert install(project) == made

    with (project / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[tool.ruff]\nline-length = 100\n")
    assert install(project) == made

    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    (project / "pyproject.toml").write_text(text.replace("1.0", "1.1"), encoding="utf-8")
    assert install(project) > made
    assert Environment(project / ".venv").versions()["small"] == "1.1"


@pytest.mark.slow
def test_two_at_once_make_it_once_and_a_half_made_one_is_made_again(project: Path):
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").write_text("half made", encoding="utf-8")
    both = []
    for _ in range(2):
        both.append(subprocess.Popen(command(project), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True))
        time.sleep(0.5)
    said = [process.communicate(timeout=100)[1] for process in both]
    if any("No matching distribution" in text for text in said):
        pytest.skip("no package index")

    assert [process.returncode for process in both] == [0, 0], said
    assert "".join(said).count("making") == 1


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_shows_its_targets_and_picks_a_python(project: Path):
    done = subprocess.run(["make", "help"], cwd=project, capture_output=True, text=True)
    assert {"install:", "demo:", "test:", "check:", "bench:"} <= set(done.stdout.split())

    planned = subprocess.run(["make", "--dry-run", "test"], cwd=project, capture_output=True, text=True).stdout
    assert " .ci/environment.py .venv cpu,serve,dev" in planned
    assert ".venv/bin/python -m pytest" in planned
