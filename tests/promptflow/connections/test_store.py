"""Connections in a workspace."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from promptflow.connections import AzureOpenAIConnection, CustomConnection, OpenAIConnection
from promptflow.connections.store import ConnectionStore
from promptflow.exceptions import ConnectionNotFoundError, UserErrorException, ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.tables import connections as table
from tests.promptflow.connections.test_custom import Mine


@pytest.fixture
def store(workspace: Workspace) -> ConnectionStore:
    return ConnectionStore(workspace)


def test_a_connection_comes_back_scrubbed_unless_secrets_are_asked_for(store: ConnectionStore) -> None:
    kept = store.create_or_update(AzureOpenAIConnection(name="a", api_key="hidden", api_base="http://b"))
    assert kept.secrets == {"api_key": "******"} and kept.created_date
    assert store.get("a", with_secrets=True).secrets == {"api_key": "hidden"}


def test_secrets_are_encrypted_at_rest(store: ConnectionStore, workspace: Workspace) -> None:
    store.create_or_update(CustomConnection(name="c", configs={"a": "shown"}, secrets={"b": "hidden"}))
    with workspace.db.read() as connection:
        row = str(connection.execute(select(table)).one())
    assert "shown" in row and "hidden" not in row


@pytest.mark.parametrize("value", ["", "******", "<no-change>"])
def test_a_scrubbed_secret_keeps_what_is_there(store: ConnectionStore, value: str) -> None:
    store.create_or_update(OpenAIConnection("k", name="o"))
    store.create_or_update(OpenAIConnection(value, name="o", base_url="http://new"))
    again = store.get("o", with_secrets=True)
    assert (again.secrets["api_key"], again.configs["base_url"]) == ("k", "http://new")


@pytest.mark.parametrize("value", ["", "******", "<user-input>"])
def test_a_new_connection_needs_its_secrets(store: ConnectionStore, value: str) -> None:
    with pytest.raises(ValidationException, match="no value for the secrets api_key"):
        store.create_or_update(OpenAIConnection(value, name="o"))


def test_the_time_of_creation_stays(store: ConnectionStore) -> None:
    first = store.create_or_update(OpenAIConnection("k", name="o"))
    second = store.create_or_update(OpenAIConnection("l", name="o"))
    assert second.created_date == first.created_date
    assert second.last_modified_date and first.last_modified_date
    assert second.last_modified_date >= first.last_modified_date


def test_names_are_needed_and_local_is_taken(store: ConnectionStore) -> None:
    with pytest.raises(UserErrorException, match="Name is required"):
        store.create_or_update(OpenAIConnection("k"))
    with pytest.raises(ValidationException, match="built-in"):
        store.create_or_update(OpenAIConnection("k", name="local"))


def test_a_strong_custom_type_is_stored(store: ConnectionStore) -> None:
    store.create_or_update(Mine(name="m", secrets={"key": "k"}, configs={"base": "b"}))
    again = store.get("m", with_secrets=True)
    assert isinstance(again, CustomConnection)
    assert isinstance(again._convert_to_custom_strong_type(), Mine)


def test_lists_and_deletes(store: ConnectionStore) -> None:
    for name in ("b", "a"):
        store.create_or_update(OpenAIConnection("k", name=name))
    assert [c.name for c in store.list()] == ["a", "b"]
    store.delete("a")
    with pytest.raises(ConnectionNotFoundError):
        store.delete("a")


def test_a_missing_one_names_what_is_alike(store: ConnectionStore) -> None:
    store.create_or_update(OpenAIConnection("k", name="open_ai_connection"))
    with pytest.raises(ConnectionNotFoundError, match="Connection 'open_ai_conection' is not found") as caught:
        store.get("open_ai_conection")
    assert caught.value.hint == "did you mean open_ai_connection?"


def test_references_are_stored_as_they_are_and_filled_in_on_reading(
    store: ConnectionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create_or_update(OpenAIConnection("${env:SOME_KEY}", name="o", base_url="${env:SOME_BASE}"))
    assert store.get("o").configs["base_url"] == "${env:SOME_BASE}"
    monkeypatch.setenv("SOME_KEY", "k")
    monkeypatch.setenv("SOME_BASE", "http://b")
    again = store.get("o", with_secrets=True)
    assert (again.secrets["api_key"], again.configs["base_url"]) == ("k", "http://b")
