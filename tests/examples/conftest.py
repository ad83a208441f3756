"""A copy of the examples, and one workspace for all of them: they share the server of the embedded model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console import Console, copy_examples, install_package, stop_processes


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
    """PYTHONPATH with the package of the package-tool example."""
    return install_package(examples, tmp_path_factory.mktemp("site"))


@pytest.fixture
def console(examples: Path, shared_home: Path, site: str) -> Console:
    """A shell in the folder of the examples."""
    return Console(examples, shared_home, {"PYTHONPATH": site})
