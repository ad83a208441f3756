"""The floors hold: the contracts of pyproject.toml, and the rule that the lint cannot see."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.packaging.environments import ROOT

ABOVE = ("catalog", "evaluation", "finetune", "jobs", "serve", "ui")


def test_imports_only_go_down():
    pytest.importorskip("importlinter")
    lint = (
        "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command(['--no-cache']))"
    )
    done = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[done.stdout.find("Contracts") :]


def test_promptflow_imports_no_floor_above_it_by_a_door_of_importlib():
    """Names in strings are how it starts what lies above: in another process, or for a command that was typed."""
    pattern = re.compile(rf"import_module\(\s*[\"']({'|'.join(ABOVE)})\b")
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "promptflow").rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    ]

    assert found == []
