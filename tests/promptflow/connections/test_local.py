"""The built-in connection ``local``, with a stand-in for the engine server."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from promptflow.connections import OpenAIConnection
from promptflow.connections.identity import identity
from promptflow.connections.local import LocalServer, connect, is_local, model_of
from promptflow.connections.localmodel import LocalModel, find_local
from promptflow.exceptions import UserErrorException, WorkspaceError
from promptflow.workspace import Workspace

ROOT = Path(__file__).parents[3]
MODULE = "tests.promptflow.connections.stand_in_server"
M = LocalModel("fake/m")


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


def folder_of(base: Path, file: str, content: str = "{}") -> Path:
    base.mkdir(exist_ok=True)
    (base / file).write_text(content)
    return base


@pytest.mark.parametrize(
    "name, local, model",
    [("local", True, "builtin/intent-mini"), ("local:a/b", True, "a/b"), ("localhost", False, None)],
)
def test_names(name: str, local: bool, model: str | None) -> None:
    assert is_local(name) is local
    if model:
        assert model_of(name) == model


def test_the_server_starts_when_it_is_wanted_and_takes_its_key_only(here: Workspace) -> None:
    connection = connect("fake/m", here, module=MODULE)
    assert isinstance(connection, OpenAIConnection)
    assert here.processes.list() == []
    assert ask(connection.base_url, connection.api_key) == 200
    assert ask(connection["base_url"], "guess") == 401


def test_those_who_want_it_at_once_share_one(here: Workspace) -> None:
    with ThreadPoolExecutor(6) as pool:
        urls = set(pool.map(lambda _: LocalServer(M, here, MODULE).url(), range(6)))
    assert len(urls) == 1 and len(here.processes.list()) == 1


def test_one_that_has_ended_is_started_again(here: Workspace) -> None:
    connection = connect("fake/m", here, module=MODULE)
    server = LocalServer(M, here, MODULE)
    server.url()
    server.stop()
    assert ask(connection.base_url, connection.api_key) == 200


def test_a_killed_server_leaves_its_port_file_and_is_started_again(here: Workspace) -> None:
    server = LocalServer(M, here, MODULE)
    server.url()
    here.processes.stop(server.process)
    connection = connect("fake/m", here, module=MODULE)
    assert ask(connection.base_url, connection.api_key) == 200


def test_a_server_of_another_release_is_replaced(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr("promptflow.connections.local.__version__", "0.0.1")
        old = LocalServer(M, here, MODULE).url()
    assert LocalServer(M, here, MODULE).url() != old
    assert [process.is_running for process in here.processes.list()] == [True]
    with pytest.raises(OSError):
        urlopen(f"{old}/models")


def test_the_key_is_readable_by_its_owner_only(here: Workspace) -> None:
    connect("fake/m", here, module=MODULE)
    (key,) = here.home.glob("engines/*/key")
    assert key.stat().st_mode & 0o077 == 0


def test_a_server_that_cannot_start_says_why_and_is_not_tried_by_every_line(here: Workspace) -> None:
    server = LocalServer(LocalModel("broken"), here, MODULE)
    with pytest.raises(WorkspaceError, match="'broken' did not start.*onnxruntime is not installed") as caught:
        server.url()
    assert "promptflow[cpu]" in caught.value.hint
    with pytest.raises(WorkspaceError) as again:
        server.url()
    assert again.value is caught.value


def test_a_connection_goes_to_another_process(here: Workspace) -> None:
    connection = connect("fake/m", here, module=MODULE)
    url = connection.base_url
    copy = pickle.loads(pickle.dumps(connection))
    assert (copy.base_url, copy.api_key, copy.name) == (url, connection.api_key, "local:fake/m")


def test_one_connection_serves_several_models_each_by_its_own_process(here: Workspace) -> None:
    connection = connect("fake/m", here, module=MODULE)
    assert connection.place("").url == connection.place("fake/m").url != connection.place("fake/n").url
    assert connection.place_if_known("fake/n") == connection.place("fake/n")
    assert connection.place_if_known("fake/o") is None


def test_adapters_of_a_model_are_asked_from_its_server(here: Workspace, tmp_path: Path) -> None:
    base = folder_of(tmp_path / "base", "config.json")
    names = [str(folder_of(tmp_path / name, "adapter_config.json")) for name in ("one", "two")]
    bare, one, two = [find_local(name, here) for name in (str(base), *(f"{base}@{name}" for name in names))]
    assert {found.server for found in (bare, one, two)} == {str(base)}
    assert bare.folder == one.folder == two.folder
    assert bare.asked == str(base) and len({bare.asked, one.asked, two.asked}) == 3
    assert Path(one.adapter).resolve() == Path(names[0])


def test_an_adapter_that_was_trained_again_has_another_name(here: Workspace, tmp_path: Path) -> None:
    base = folder_of(tmp_path / "base", "config.json")
    one = folder_of(tmp_path / "one", "adapter_config.json")
    before = find_local(f"{base}@{one}", here)
    assert find_local(f"{base}@{one}", here) == before
    os.utime(one / "adapter_config.json", ns=(1, 1))
    after = find_local(f"{base}@{one}", here)
    assert (after.server, after.folder) == (before.server, before.folder) and after.adapter != before.adapter


def test_a_folder_that_was_written_again_gets_another_server(here: Workspace, tmp_path: Path) -> None:
    base = folder_of(tmp_path / "base", "config.json")
    before = find_local(str(base), here)
    folder_of(base, "config.json", '{"a": 1}')
    assert find_local(str(base), here).folder != before.folder


def test_what_a_connection_leads_to_is_a_model_and_its_version(here: Workspace) -> None:
    told = identity(connect("fake/m", here, module=MODULE))
    assert told["model"] == "fake/m" and here.processes.list() == []


def test_a_model_that_is_not_there_is_an_error_that_names_what_is(here: Workspace) -> None:
    with pytest.raises(UserErrorException, match="no model gpt-4o on this machine"):
        connect("fake/m", here, module=MODULE).place("gpt-4o")
