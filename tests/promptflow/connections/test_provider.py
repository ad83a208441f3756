"""From a name to a connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from promptflow.connections import (
    AzureOpenAIConnection,
    ConnectionProvider,
    CustomConnection,
    OpenAIConnection,
    ServerlessConnection,
    _Connection,
)
from promptflow.connections.provider import encode_connections, from_dict, get_connection
from promptflow.connections.references import overridden
from promptflow.connections.store import ConnectionStore
from promptflow.exceptions import ConnectionNotFoundError, UserErrorException, ValidationException
from promptflow.workspace import Workspace

OPENAI = {"type": "OpenAIConnection", "module": "promptflow.connections", "value": {"api_key": "k"}}


@dataclass
class Foreign:
    api_key: str
    url: str = "u"


@pytest.fixture
def here(home: Path) -> Workspace:
    return Workspace.open(home, "")


@pytest.fixture
def endpoint() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/connections/far%20away"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps({**OPENAI, "name": "far away"}).encode() if known else b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_stored_connection_comes_with_its_secrets(here: Workspace) -> None:
    ConnectionStore(here).create_or_update(OpenAIConnection("k", name="o"))
    assert get_connection("o", here).secrets == {"api_key": "k"}
    assert ConnectionProvider.get_instance().get("o").name == "o"


def test_a_connection_object_passes_through(here: Workspace) -> None:
    connection = OpenAIConnection("k")
    assert get_connection(connection, here) is connection
    with pytest.raises(ValidationException, match="not int"):
        get_connection(3, here)


def test_looking_for_nothing_makes_no_database(here: Workspace) -> None:
    with pytest.raises(ConnectionNotFoundError, match="Connection 'nope' is not found"):
        get_connection("nope", here, environ={})
    assert list(here.home.iterdir()) == []


def test_a_reference_to_a_variable_that_is_not_set_is_an_error(here: Workspace) -> None:
    ConnectionStore(here).create_or_update(OpenAIConnection("${env:A_KEY}", name="o"))
    assert get_connection("o", here, environ={"A_KEY": "k"}).secrets == {"api_key": "k"}
    with pytest.raises(UserErrorException, match="A_KEY is not found: 'api_key' of connection 'o'"):
        get_connection("o", here, environ={})


def test_a_json_file_of_connections_comes_first(here: Workspace, tmp_path: Path) -> None:
    ConnectionStore(here).create_or_update(OpenAIConnection("stored", name="o"))
    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"o": {**OPENAI, "value": {"api_key": "filed"}}}))
    environ = {"PROMPTFLOW_CONNECTIONS": str(file)}
    assert get_connection("o", here, environ).secrets == {"api_key": "filed"}
    file.write_text("{")
    with pytest.raises(UserErrorException, match="is not JSON"):
        get_connection("o", here, environ)
    with pytest.raises(UserErrorException, match="cannot read"):
        get_connection("o", here, {"PROMPTFLOW_CONNECTIONS": str(tmp_path / "gone.json")})


def test_encoded_connections(here: Workspace) -> None:
    environ = {"PROMPTFLOW_ENCODED_CONNECTIONS": encode_connections({"o": OPENAI})}
    assert get_connection("o", here, environ).secrets == {"api_key": "k"}
    with pytest.raises(UserErrorException, match="cannot be read"):
        get_connection("o", here, {"PROMPTFLOW_ENCODED_CONNECTIONS": "####"})


def test_a_remote_provider(here: Workspace, endpoint: str) -> None:
    environ = {"PF_HTTP_CONNECTION_PROVIDER_ENDPOINT": endpoint}
    assert get_connection("far away", here, environ).secrets == {"api_key": "k"}
    with pytest.raises(ConnectionNotFoundError):
        get_connection("nope", here, environ)
    with pytest.raises(UserErrorException, match="cannot be reached"):
        get_connection("x", here, {"PF_HTTP_CONNECTION_PROVIDER_ENDPOINT": "http://127.0.0.1:9"})


def test_a_setting_names_the_provider_too(here: Workspace, endpoint: str) -> None:
    here.settings.set("connection.provider", endpoint)
    assert get_connection("far away", here, {}).name == "far away"
    here.settings.set("connection.provider", "azureml://x")
    with pytest.raises(UserErrorException, match="not supported"):
        get_connection("x", here, {})


@pytest.mark.parametrize(
    "environ, kind",
    [
        ({"MY_CONN_API_KEY": "k"}, OpenAIConnection),
        ({"MY_CONN_API_KEY": "k", "MY_CONN_API_BASE": "http://b"}, AzureOpenAIConnection),
        ({"MY_CONN_API_KEY": "k", "MY_CONN_API_BASE": "b", "MY_CONN_TYPE": "serverless"}, ServerlessConnection),
        ({"MY_CONN_TYPE": "custom", "MY_CONN_TOKEN": "t"}, CustomConnection),
    ],
)
def test_variables_alone_make_a_connection(here: Workspace, environ: dict[str, str], kind: type[_Connection]) -> None:
    assert type(get_connection("my-conn", here, environ)) is kind


def test_variables_override_values_where_that_is_wanted() -> None:
    connection = AzureOpenAIConnection("http://a", "k", name="my conn")
    overridden(connection, {"MY_CONN_API_BASE": "http://b", "MY_CONN_OTHER": "x"})
    assert (connection.api_base, connection.api_key) == ("http://b", "k")


@pytest.mark.parametrize(
    "data, kind",
    [
        (OPENAI, OpenAIConnection),
        ({"type": "open_ai", "api_key": "k"}, OpenAIConnection),
        ({"type": "Foreign", "module": __name__, "value": {"api_key": "k", "more": 1}}, Foreign),
        (
            {"type": "Mine", "module": f"{__package__}.test_custom", "value": {"key": "k"}, "secret_keys": ["key"]},
            _Connection,
        ),
    ],
)
def test_dictionaries_of_all_forms(data: dict[str, Any], kind: type) -> None:
    assert isinstance(from_dict(data, "c"), kind)


@pytest.mark.parametrize("module", [None, "promptflow.connections"])
def test_a_dictionary_of_an_unknown_type(module: str | None) -> None:
    with pytest.raises(ValidationException, match="Unknown connection 'c' type 'Nope'"):
        from_dict({"type": "Nope", "module": module, "value": {}}, "c")
