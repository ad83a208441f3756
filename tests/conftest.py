"""Every test has a workspace folder of its own: none touches the user's."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptflow.workspace import Workspace
from tests.postgresql import Server, find_binaries

_VARIABLES = (
    "PF_BLOBS_URL",
    "PF_DATABASE_URL",
    "PF_DISABLE_TRACING",
    "PF_SECRET_KEY",
    "PF_TRACE_DESTINATION",
    "PROMPTFLOW_CONNECTIONS",
    "PROMPTFLOW_CONNECTION_PROVIDER",
)


def pytest_configure() -> None:
    # A job that a shell started in the background ignores Ctrl-C, and hands that on: the tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace folder, which the environment points to."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PF_HOME_DIRECTORY", str(folder))
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server; skips where there are no binaries for one."""
    pytest.importorskip("psycopg")
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL on this machine: neither initdb on PATH nor /usr/lib/postgresql/*/bin")
    server = Server(binaries)
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """The url of an empty database, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{home / 'workspace.sqlite'}"
        return
    server: Server = request.getfixturevalue("postgresql")
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture
def workspace(home: Path, database_url: str) -> Iterator[Workspace]:
    """An empty workspace, once on SQLite and once on PostgreSQL."""
    with Workspace.open(home, database_url) as opened:
        yield opened
