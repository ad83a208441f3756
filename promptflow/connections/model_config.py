"""Which model, on which connection: what flex flows and evaluators take as a parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from promptflow.connections.models import AzureOpenAIConnection, OpenAIConnection
from promptflow.exceptions import InvalidConnectionError


class ModelConfiguration:
    """Base of the model configurations."""

    __promptflow_secrets__ = ("api_key",)

    @classmethod
    def from_connection(cls, connection: Any, **kwargs: Any) -> ModelConfiguration:
        raise NotImplementedError


@dataclass
class AzureOpenAIModelConfiguration(ModelConfiguration):
    """A deployment of Azure OpenAI: by connection name, or by endpoint, key and version, not both."""

    azure_deployment: str
    azure_endpoint: str | None = None
    api_version: str | None = None
    api_key: str | None = field(default=None, repr=False)
    connection: str | None = None

    def __post_init__(self) -> None:
        self._type = "AzureOpenAI"
        _exclusive(self.connection, self.azure_endpoint, self.api_version, self.api_key)

    @classmethod
    def from_connection(  # type: ignore[override]
        cls, connection: AzureOpenAIConnection, azure_deployment: str
    ) -> AzureOpenAIModelConfiguration:
        return cls(azure_deployment, connection.api_base, connection.api_version, connection.api_key)


@dataclass
class OpenAIModelConfiguration(ModelConfiguration):
    """A model of OpenAI or of a server that speaks its API: by connection name, or inline, not both."""

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    connection: str | None = None

    def __post_init__(self) -> None:
        self._type = "OpenAI"
        _exclusive(self.connection, self.base_url, self.api_key, self.organization)

    @classmethod
    def from_connection(  # type: ignore[override]
        cls, connection: OpenAIConnection, model: str
    ) -> OpenAIModelConfiguration:
        return cls(model, connection.base_url, connection.api_key, connection.organization)


MODEL_CONFIGURATIONS: dict[str, type[ModelConfiguration]] = {
    cls.__name__: cls for cls in (AzureOpenAIModelConfiguration, OpenAIModelConfiguration)
}


def _exclusive(connection: Any, *inline: Any) -> None:
    if connection and any(inline):
        raise InvalidConnectionError(
            "A model configuration has both a connection and inline keys.",
            hint="Keep `connection`, or the endpoint and key; not both.",
        )
