"""What was built, and environments with it: made once for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_model import model_server
from tests.packaging.environments import Environment, export

__all__ = ["model_server"]

_BUILD = "import sys; from setuptools import build_meta; build_meta.{}(sys.argv[1])"
# the last of Microsoft's, each without its own requirements: their files are what matters here
MICROSOFTS = ("promptflow", "promptflow-core", "promptflow-devkit", "promptflow-tracing")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where environments lie: a gigabyte, which pytest would keep for three sessions."""
    folder = tmp_path_factory.mktemp("environments")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def empty(place: Path) -> Environment:
    """An environment with pip and nothing else."""
    return Environment.new(place / "empty")


@pytest.fixture(scope="session")
def built(empty: Environment, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of the sources."""
    builder = empty.copy(place / "builder")
    builder.install("setuptools>=77")
    exported = export(tmp_path_factory.mktemp("sources"))
    folder = tmp_path_factory.mktemp("dist")
    # the sdist first: a build folder in the sources must not be what it is made of
    for hook in ("build_sdist", "build_wheel"):
        done = builder.run("-c", _BUILD.format(hook), folder, cwd=exported)
        assert done.returncode == 0, done.stderr
    again = tmp_path_factory.mktemp("again")
    shutil.unpack_archive(next(folder.glob("*.tar.gz")), again, filter="data")
    (folder / "from-sdist").mkdir()
    done = builder.run("-c", _BUILD.format("build_wheel"), folder / "from-sdist", cwd=next(again.iterdir()))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="session")
def base(wheel: Path, place: Path) -> Environment:
    """The base install: the wheel and its requirements, no extra."""
    environment = Environment.new(place / "base")
    environment.install(wheel)
    return environment


@pytest.fixture(scope="session")
def with_tools(base: Environment, place: Path) -> Environment:
    """The base install, then Microsoft's promptflow-tools over it."""
    environment = base.copy(place / "with-tools")
    environment.install("promptflow-tools")
    return environment


@pytest.fixture(scope="session")
def upgraded(with_tools: Environment, wheel: Path, place: Path) -> Environment:
    """Microsoft's packages and promptflow-tools were there first; ours was installed last."""
    environment = with_tools.copy(place / "upgraded")
    environment.uninstall("promptflow", "promptflow-tools")
    environment.install("--no-deps", *(f"{name}<2" for name in MICROSOFTS), "promptflow-tools")
    environment.install("--no-deps", wheel)
    return environment


@pytest.fixture(scope="session")
def overwritten(base: Environment, place: Path) -> Environment:
    """Ours was there first; Microsoft's core and devkit were installed over it."""
    environment = base.copy(place / "overwritten")
    environment.install("--no-deps", "promptflow-core<2", "promptflow-devkit<2")
    return environment
