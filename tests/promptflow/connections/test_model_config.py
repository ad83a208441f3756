"""Model configurations."""

from __future__ import annotations

from typing import Any

import pytest

from promptflow.connections import AzureOpenAIConnection, OpenAIConnection
from promptflow.connections.model_config import AzureOpenAIModelConfiguration, OpenAIModelConfiguration
from promptflow.exceptions import InvalidConnectionError


def test_from_connections() -> None:
    azure = AzureOpenAIModelConfiguration.from_connection(AzureOpenAIConnection("http://a", "k"), azure_deployment="d")
    assert (azure.azure_deployment, azure.azure_endpoint, azure.api_key) == ("d", "http://a", "k")
    openai = OpenAIModelConfiguration.from_connection(OpenAIConnection("k", "o", "http://b"), model="m")
    assert (openai.model, openai.base_url, openai.organization) == ("m", "http://b", "o")


@pytest.mark.parametrize(
    "make",
    [
        lambda: AzureOpenAIModelConfiguration("d", connection="c", api_key="k"),
        lambda: OpenAIModelConfiguration("m", connection="c", base_url="b"),
    ],
)
def test_a_connection_and_inline_keys_exclude_each_other(make: Any) -> None:
    with pytest.raises(InvalidConnectionError):
        make()


def test_the_key_is_not_shown() -> None:
    assert "hidden" not in repr(OpenAIModelConfiguration("m", api_key="hidden"))
