"""Connection classes: attributes, secrets, the forms they take."""

from __future__ import annotations

import copy
import pickle

import pytest

from promptflow import connections
from promptflow.connections import (
    AzureAIServicesConnection,
    AzureContentSafetyConnection,
    AzureOpenAIConnection,
    CognitiveSearchConnection,
    CustomConnection,
    FormRecognizerConnection,
    OpenAIConnection,
    QdrantConnection,
    SerpConnection,
    ServerlessConnection,
    WeaviateConnection,
    _Connection,
)
from promptflow.connections.references import resolved
from promptflow.exceptions import RequiredEnvironmentVariablesNotSetError, ValidationException

ALL = [
    AzureOpenAIConnection(name="c", api_key="hidden", api_base="http://a"),
    OpenAIConnection(name="c", api_key="hidden", base_url="http://a", organization="o"),
    ServerlessConnection(name="c", api_key="hidden", api_base="http://a"),
    SerpConnection(name="c", api_key="hidden"),
    QdrantConnection(name="c", api_key="hidden", api_base="http://a"),
    WeaviateConnection(name="c", api_key="hidden", api_base="http://a"),
    CognitiveSearchConnection(name="c", api_key="hidden", api_base="http://a"),
    AzureAIServicesConnection(name="c", api_key="hidden", endpoint="http://a"),
    AzureContentSafetyConnection(name="c", api_key="hidden", endpoint="http://a"),
    FormRecognizerConnection(name="c", api_key="hidden", endpoint="http://a"),
    CustomConnection(name="c", configs={"a": "1"}, secrets={"api_key": "hidden"}),
]
by_type = pytest.mark.parametrize("connection", ALL, ids=lambda c: c.TYPE)


@by_type
def test_the_key_is_an_attribute_and_shown_nowhere(connection: _Connection) -> None:
    assert connection.api_key == "hidden"  # type: ignore[attr-defined]
    for text in (repr(connection), str(connection), str(connection.to_dict())):
        assert "hidden" not in text and "******" in text


@by_type
def test_execution_dicts_round_trip(connection: _Connection) -> None:
    data = connection._to_execution_connection_dict()
    again = _Connection._from_execution_connection_dict("c", data)
    assert type(again) is type(connection)
    assert (again.configs, again.secrets) == (connection.configs, connection.secrets)


@by_type
def test_copies_and_pickles_are_equal(connection: _Connection) -> None:
    for other in (copy.deepcopy(connection), pickle.loads(pickle.dumps(connection))):
        assert other.to_dict(with_secrets=True) == connection.to_dict(with_secrets=True)


def test_a_connection_unpacks_as_keywords() -> None:
    assert dict(**OpenAIConnection("k", base_url="http://b")) == {
        "organization": None,
        "base_url": "http://b",
        "api_key": "k",
    }


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(KeyError, match="has no key 'nope'"):
        ALL[0]["nope"]


def test_with_a_token_there_is_no_key() -> None:
    connection = AzureOpenAIConnection(api_base="http://a", auth_mode="meid_token", token_provider=lambda: "token")
    assert (connection.api_key, connection.secrets, connection.get_token()) == (None, {}, "token")


def test_attributes_can_be_set() -> None:
    connection = AzureOpenAIConnection("http://a", "k")
    connection.api_base, connection.api_key = "http://b", "l"
    assert (connection.configs["api_base"], connection.secrets["api_key"]) == ("http://b", "l")


def test_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "b", "AZURE_OPENAI_ENDPOINT": "z"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AZURE_OPENAI_API_KEY", raising=False)
    assert OpenAIConnection.from_env().base_url == "b"
    with pytest.raises(RequiredEnvironmentVariablesNotSetError, match="AZURE_OPENAI_API_KEY"):
        AzureOpenAIConnection.from_env()


@pytest.mark.parametrize(
    "data, message",
    [
        ({"type": "BananaConnection", "value": {}}, "unknown type 'BananaConnection'"),
        ({"type": "AzureOpenAIConnection", "value": {"api_key": "k"}}, "lacks api_base"),
    ],
)
def test_bad_execution_dicts(data: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationException, match=message):
        _Connection._from_execution_connection_dict("c", data)


def test_every_public_name_exists() -> None:
    assert all(hasattr(connections, name) for name in connections.__all__)


@pytest.mark.parametrize("value", [60, "60", " 1_000 ", "${env:LIMIT}"])
def test_limits_per_minute_are_kept_and_no_business_of_clients(value: object) -> None:
    connection = OpenAIConnection("hidden", requests_per_minute=value)  # type: ignore[arg-type]
    again = _Connection._from_execution_connection_dict("c", connection._to_execution_connection_dict())
    assert again.configs == {**connection.configs}
    assert "requests_per_minute" in connection.to_dict()
    assert "requests_per_minute" not in connection.keys()


@pytest.mark.parametrize("value", [0, -1, 1.5, "many", "1e3", True, 10**10])
def test_a_limit_is_a_whole_number(value: object) -> None:
    with pytest.raises(ValidationException, match="tokens_per_minute of connection 'c' is"):
        AzureOpenAIConnection("http://a", "hidden", name="c", tokens_per_minute=value)  # type: ignore[arg-type]


def test_a_limit_from_a_variable_is_checked_when_it_is_used() -> None:
    connection = resolved(ServerlessConnection("hidden", "http://a", requests_per_minute="${env:L}"), {"L": "90"})
    assert connection.requests_per_minute == 90  # type: ignore[attr-defined]


def test_no_limit_leaves_no_trace() -> None:
    connection = OpenAIConnection("hidden", requests_per_minute=5)
    connection.requests_per_minute = ""
    assert connection.requests_per_minute is None
    assert "requests_per_minute" not in connection.configs
