"""The built-in connection ``local``, with a stand-in for the engine server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from promptflow.connections import OpenAIConnection
from promptflow.connections.local import LocalServer, connect, is_local, model_of
from promptflow.exceptions import WorkspaceError
from promptflow.workspace import Workspace

ROOT = Path(__file__).parents[3]
MODULE = "tests.promptflow.connections.stand_in_server"


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    workspace = Workspace.open(home)
    yield workspace
    for process in workspace.processes.list():
        workspace.processes.stop(process.name)


def ask(url: str | None, key: str) -> int:
    try:
        with urlopen(Request(f"{url}/models", headers={"Authorization": f"Bearer {key}"})) as response:
            return int(response.status)
    except HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    "name, local, model",
    [("local", True, "builtin/intent-mini"), ("local:a/b", True, "a/b"), ("localhost", False, None)],
)
def test_names(name: str, local: bool, model: str | None) -> None:
    assert is_local(name) is local
    if model:
        assert model_of(name) == model


def test_the_server_starts_when_it_is_wanted_and_takes_its_key_only(here: Workspace) -> None:
    connection = connect("m", here, module=MODULE)
    assert isinstance(connection, OpenAIConnection)
    assert ask(connection.base_url, connection.api_key) == 200
    assert ask(connection.base_url, "guess") == 401


def test_those_who_want_it_at_once_share_one(here: Workspace) -> None:
    with ThreadPoolExecutor(6) as pool:
        urls = set(pool.map(lambda _: LocalServer("m", here, MODULE).url(), range(6)))
    assert len(urls) == 1 and len(here.processes.list()) == 1


def test_one_that_has_ended_is_started_again(here: Workspace) -> None:
    server = LocalServer("m", here, MODULE)
    server.url()
    server.stop()
    assert ask(server.url(), server.key()) == 200


def test_a_killed_server_leaves_its_port_file_and_is_started_again(here: Workspace) -> None:
    server = LocalServer("m", here, MODULE)
    server.url()
    here.processes.stop(server.process)
    assert ask(LocalServer("m", here, MODULE).url(), server.key()) == 200


def test_the_key_is_readable_by_its_owner_only(here: Workspace) -> None:
    LocalServer("m", here, MODULE).url()
    (key,) = here.home.glob("engines/*/key")
    assert key.stat().st_mode & 0o077 == 0


def test_a_server_that_cannot_start_says_why(here: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="'broken' did not start.*onnxruntime is not installed") as caught:
        LocalServer("broken", here, MODULE).url()
    assert "promptflow[cpu]" in caught.value.hint
