"""A copy of the examples, and one workspace for all of them: they share the server of the embedded model."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console import Console, copy_examples, stop_processes


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``examples``, as a copy."""
    return copy_examples(tmp_path_factory.mktemp("copy") / "examples")


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace folder; what was started in it is stopped at the end."""
    home = tmp_path_factory.mktemp("shared")
    yield home
    stop_processes(home)


@pytest.fixture(scope="session")
def site(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH with the package of the package-tool example, as `pip install` would have left it."""
    package = examples / "package-tool" / "shop-tools"
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    site = tmp_path_factory.mktemp("site")
    info = site / f"shop_tools-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {target}\n" for name, target in project["entry-points"]["package_tools"].items()]
    (info / "entry_points.txt").write_text("[package_tools]\n" + "".join(lines))
    shutil.copytree(package / "shop_tools", site / "shop_tools")
    return f"{site}:{sys.path[0]}" if sys.path[0] else str(site)


@pytest.fixture
def console(examples: Path, shared_home: Path, site: str) -> Console:
    """A shell in the folder of the examples."""
    return Console(examples, shared_home, {"PYTHONPATH": site})
