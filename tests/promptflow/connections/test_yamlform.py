"""Connections as files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from promptflow.connections import AzureOpenAIConnection, CustomConnection, LocalConnection, OpenAIConnection
from promptflow.connections.custom import MODULE_KEY, TYPE_KEY
from promptflow.connections.yamlform import dump_connection, load_connection, secrets_to_ask
from promptflow.exceptions import UserErrorException, ValidationException

AZURE = "$schema: x\nname: a\ntype: azure_open_ai\napi_key: k\napi_base: http://b\n"


def write(tmp_path: Path, text: str, name: str = "c.yaml") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


def test_a_file_becomes_a_connection(tmp_path: Path) -> None:
    connection = load_connection(write(tmp_path, AZURE + "unknown: 1\n"))
    assert isinstance(connection, AzureOpenAIConnection)
    assert (connection.name, connection.api_base, connection.api_type) == ("a", "http://b", "azure")


@pytest.mark.parametrize(
    "text, attribute, value",
    [
        ("type: open_ai\napi_key: k\napi_base: http://old\n", "base_url", "http://old"),
        ("type: azure_open_ai\napi_key: k\nazure_endpoint: http://e\n", "api_base", "http://e"),
        ("type: AzureOpenAIConnection\napi_key: k\napi_base: http://e\n", "class_name", "AzureOpenAIConnection"),
        ("type: azure_open_ai\nauth_mode: meid_token\napi_base: http://e\n", "api_key", None),
        ("type: cognitive_search\napi_key: 12\napi_base: b\n", "api_key", "12"),
        ("type: local\nmodel: builtin/x\n", "model", "builtin/x"),
        ("type: serp\napi_key: ${env:NOT_SET}\n", "api_key", "${env:NOT_SET}"),
    ],
)
def test_types_and_spellings(tmp_path: Path, text: str, attribute: str, value: Any) -> None:
    assert getattr(load_connection(write(tmp_path, "name: c\n" + text)), attribute) == value


@pytest.mark.parametrize(
    "text, message, place",
    [
        ("name: q\n", "type is required", ""),
        ("name: q\ntype: banana\n", "'banana' is not supported", ":2:1"),
        ("name: q\ntype: azure_open_ai\n", "lacks api_base, api_key", ":1:1"),
        ("name: q\ntype: azure_open_ai\napi_base: b\nauth_mode: magic\napi_key: k\n", "auth_mode 'magic'", ":4:1"),
        ("name: q\ntype: custom\nconfigs: {a: 1}\n", "lacks secrets", ""),
        ("name: q\ntype: custom\nsecrets: [a]\n", "is a mapping", ":3:1"),
        ("- a\n", "a mapping of keys", ":1:1"),
        ("name: q\ntype: open_ai\napi_key: |\n  hidden\n", "api_key has a line break", ":3:1"),
        ("name: q\ntype: open_ai\napi_key: [hidden]\n", "api_key is a list", ":3:1"),
        ("name: q\ntype: open_ai\napi_key: {a: hidden}\n", "api_key is a mapping", ":3:1"),
        ("name: q\ntype: open_ai\napi_key: k\ntokens_per_minute: many\n", "tokens_per_minute of connection 'q'", ""),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, message: str, place: str) -> None:
    with pytest.raises(ValidationException, match=message) as caught:
        load_connection(write(tmp_path, text))
    assert caught.value.location.endswith(place)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UserErrorException, match="does not exist"):
        load_connection("nowhere.yaml")


def test_overrides_reach_into_custom_connections(tmp_path: Path) -> None:
    file = write(tmp_path, "name: c\ntype: custom\nconfigs: {a: '1', z: '2'}\nsecrets: {b: '2'}\n")
    connection = load_connection(file, [{"configs.a": 7}, {"secrets.b": "8"}, {"name": "d"}])
    assert (connection.name, connection.configs, connection.secrets) == ("d", {"a": "7", "z": "2"}, {"b": "8"})


def test_an_env_file_is_a_custom_connection_of_secrets(tmp_path: Path) -> None:
    file = write(tmp_path, "A=1\nB='two words'\n", ".env")
    connection = load_connection(file, [{"name": "e"}])
    assert isinstance(connection, CustomConnection) and connection.secrets == {"A": "1", "B": "two words"}
    with pytest.raises(UserErrorException, match="--name"):
        load_connection(file)


STRONG = (
    "name: s\ntype: custom\ncustom_type: Mine\nmodule: tests.promptflow.connections.test_custom\n"
    "package: p\npackage_version: 1.0\nconfigs: {base: b}\n"
)


def test_a_strong_custom_type_is_checked_against_its_class(tmp_path: Path) -> None:
    connection = load_connection(write(tmp_path, STRONG + "secrets: {key: k}\n"))
    assert isinstance(connection, CustomConnection)
    assert (connection.configs[TYPE_KEY], connection.configs[MODULE_KEY].rpartition(".")[2]) == ("Mine", "test_custom")
    with pytest.raises(ValidationException, match="wrong under secrets: Mine has no such key"):
        load_connection(write(tmp_path, STRONG + "secrets: {wrong: k}\n"))


def test_dumps_load_again(tmp_path: Path) -> None:
    for connection in (
        OpenAIConnection("hidden", name="o", base_url="http://b"),
        CustomConnection(name="c", configs={"yes": "no"}, secrets={"k": "hidden"}),
        LocalConnection(name="l", model="m"),
    ):
        assert "hidden" not in dump_connection(connection)
        again = load_connection(write(tmp_path, dump_connection(connection, with_secrets=True)))
        assert again.to_dict(with_secrets=True) == connection.to_dict(with_secrets=True)


def test_a_dump_for_a_container_refers_to_the_environment() -> None:
    text = dump_connection(OpenAIConnection("hidden", name="my conn"), secrets_from_env=True)
    assert re.search(r"api_key: .?\$\{env:MY_CONN_API_KEY\}", text)


@pytest.mark.parametrize(
    "value, creating, updating",
    [("", True, False), ("****", True, False), ("<no-change>", True, False), ("<user-input>", True, True), ("k", 0, 0)],
)
def test_which_secrets_a_person_is_asked_for(value: str, creating: bool, updating: bool) -> None:
    connection = OpenAIConnection(value)
    assert bool(secrets_to_ask(connection)) is bool(creating)
    assert bool(secrets_to_ask(connection, updating=True)) is bool(updating)
