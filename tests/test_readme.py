"""The README does what it says: its console blocks, and its Python with what that prints."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console import Console, copy_examples, steps, stop_processes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
LINKED = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A shell in a folder that has the examples, as a clone of the repository has."""
    pytest.importorskip("onnxruntime")
    copy_examples(tmp_path / "clone" / "examples")
    yield Console(tmp_path / "clone", tmp_path / "home", {})
    stop_processes(tmp_path / "home")


def test_the_tour_prints_what_the_readme_says(console: Console) -> None:
    assert len(steps(README)) >= 6
    for step in steps(README):
        printed = console.run(step.command)
        assert step.matches(printed), f"$ {step.command}\n{printed}"


@pytest.mark.parametrize(("code", "output"), PYTHON, ids=range(1, len(PYTHON) + 1))
def test_the_python_of_the_readme_prints_what_it_says(code: str, output: str, console: Console) -> None:
    (console.folder / "snippet.py").write_text(code, encoding="utf-8")
    assert console.run("python snippet.py") == output


def test_the_readme_shows_python() -> None:
    assert len(PYTHON) == README.count("```python") == 2


@pytest.mark.parametrize("file", LINKED, ids=lambda f: str(f.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(file: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", file.read_text(encoding="utf-8"))
    assert [target for target in targets if not (file.parent / target).exists()] == []


def test_no_command_of_the_readme_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    from promptflow.cli.commands import COMMANDS, Group

    for line in re.findall(r"^(?:\$ )?pf (.*)$", README, re.MULTILINE):
        group, verb = [*shlex.split(line.rstrip("\\"), comments=True), ""][:2]
        found = COMMANDS[group]
        assert not isinstance(found, Group) or verb in found.verbs
