"""One class per kind of connection: where a service is, how it is spoken to, and the secrets it wants.

``configs`` are shown, ``secrets`` never: not by ``repr``, ``str``, ``to_dict`` or a trace.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from promptflow.exceptions import (
    MissingExtraError,
    RequiredEnvironmentVariablesNotSetError,
    ValidationException,
)
from promptflow.workspace.redact import hide

SCRUBBED = "******"
NO_CHANGE = "<no-change>"
USER_INPUT = "<user-input>"
AZURE_OPENAI_API_VERSION = "2024-02-01"
SEARCH_API_VERSION = "2023-11-01"
CONTENT_SAFETY_API_VERSION = "2023-10-01"
FORM_RECOGNIZER_API_VERSION = "2023-07-31"
KEY = "key"
ENTRA_TOKEN = "meid_token"
LIMITS = ("requests_per_minute", "tokens_per_minute")
MOST_PER_MINUTE = 10**9


def is_scrubbed(value: str | None) -> bool:
    """Whether a secret stands for "keep what is there": empty, stars, or ``<no-change>``."""
    return not value or set(value) == {"*"} or value == NO_CHANGE


class Config:
    """An attribute kept in ``configs``."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, connection: _Connection | None, owner: type) -> Any:
        return self if connection is None else connection.configs.get(self.name)

    def __set__(self, connection: _Connection, value: Any) -> None:
        connection.configs[self.name] = value


class ApiKey:
    """The ``api_key`` in ``secrets``; None where a token takes its place."""

    def __get__(self, connection: _Connection | None, owner: type) -> Any:
        if connection is None:
            return self
        if connection.configs.get("auth_mode", KEY) != KEY:
            return None
        return connection.secrets.get("api_key", SCRUBBED)

    def __set__(self, connection: _Connection, value: str | None) -> None:
        connection.secrets["api_key"] = value


class PerMinute(Config):
    """A limit in ``configs``: a whole number, there only if it is set."""

    def __get__(self, connection: _Connection | None, owner: type) -> Any:
        if connection is None:
            return self
        value = connection.configs.get(self.name)
        return value if value is None else self._number(connection, value)

    def __set__(self, connection: _Connection, value: Any) -> None:
        if value is None or value == "":
            connection.configs.pop(self.name, None)
        elif isinstance(value, str) and "${env:" in value:  # known when the connection is used
            connection.configs[self.name] = value
        else:
            connection.configs[self.name] = self._number(connection, value)

    def _number(self, connection: _Connection, value: Any) -> int:
        text = str(value).strip().replace("_", "")
        if not text.isdecimal() or not 0 < int(text) <= MOST_PER_MINUTE or isinstance(value, bool):
            raise ValidationException(
                f"{self.name} of connection '{connection.name}' is {value!r}.",
                hint=f"a whole number from 1 to {MOST_PER_MINUTE:,}, or leave it out for no limit",
            )
        return int(text)


class _Connection:
    """Base of all connections."""

    __promptflow_connection__ = True
    TYPE: ClassVar[str] = "NotSet"
    YAML_TYPE: ClassVar[str] = ""
    REQUIRED: ClassVar[tuple[str, ...]] = ()
    SUPPORTED_TYPES: ClassVar[dict[str, type[_Connection]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "TYPE" in cls.__dict__:
            _Connection.SUPPORTED_TYPES[cls.TYPE] = cls

    def __init__(
        self,
        name: str | None = None,
        module: str = "promptflow.connections",
        configs: Mapping[str, Any] | None = None,
        secrets: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.name = name
        self.type = self.TYPE
        self.class_name = f"{self.TYPE}Connection"
        self.module = module
        self.configs: dict[str, Any] = dict(configs or {})
        self.secrets: dict[str, Any] = dict(secrets or {})
        hide(self.secrets.values())
        self.expiry_time = kwargs.get("expiry_time")
        self.created_date = kwargs.get("created_date")
        self.last_modified_date = kwargs.get("last_modified_date")

    def keys(self) -> list[str]:
        """The names of its values, which makes ``Client(**connection)`` work."""
        return [*self.configs, *self.secrets]

    def __getitem__(self, key: str) -> Any:
        for values in (self.secrets, self.configs):
            if key in values:
                return values[key]
        raise KeyError(f"Connection '{self.name}' has no key '{key}'; it has {sorted(self.keys())}.")

    def is_secret(self, key: str) -> bool:
        return key in self.secrets

    def to_dict(self, with_secrets: bool = False) -> dict[str, Any]:
        """Its YAML form. Secrets are ``******`` unless asked for."""
        secrets = self.secrets if with_secrets else dict.fromkeys(self.secrets, SCRUBBED)
        return {**self._heading(), **self._body(self.configs, secrets)}

    def _heading(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.YAML_TYPE,
            "module": self.module,
            "created_date": self.created_date,
            "last_modified_date": self.last_modified_date,
        }

    def _body(self, configs: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in {**configs, **secrets}.items() if value is not None}

    def _to_dict(self) -> dict[str, Any]:
        return self.to_dict()

    def _to_execution_connection_dict(self) -> dict[str, Any]:
        values = {**self.configs, **self.secrets}
        return {
            "name": self.name,
            "type": self.class_name,
            "module": self.module,
            "value": {key: value for key, value in values.items() if value is not None},
            "secret_keys": list(self.secrets),
        }

    @classmethod
    def _from_execution_connection_dict(cls, name: str, data: Mapping[str, Any]) -> _Connection:
        found = cls.SUPPORTED_TYPES.get(str(data.get("type", "")).removesuffix("Connection"))
        if found is None:
            raise ValidationException(
                f"Connection '{name}' has the unknown type '{data.get('type')}'.",
                hint=f"Known types: {', '.join(sorted(kind + 'Connection' for kind in cls.SUPPORTED_TYPES))}.",
            )
        return found._from_values(name, dict(data.get("value") or {}), set(data.get("secret_keys") or ()))

    @classmethod
    def _from_values(cls, name: str, values: dict[str, Any], secret_keys: set[str]) -> _Connection:
        missing = [key for key in cls.REQUIRED if not values.get(key)]
        if missing:
            raise ValidationException(f"Connection '{name}' ({cls.YAML_TYPE}) lacks {', '.join(missing)}.")
        if "api_key" in cls.__init__.__annotations__ and "api_key" not in values:
            values["api_key"] = None
        return cls(**{**values, "name": name})

    def __repr__(self) -> str:
        shown = {"name": self.name, **self.configs, **dict.fromkeys(self.secrets, SCRUBBED)}
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def __str__(self) -> str:
        # JSON scalars are YAML scalars, so this is the YAML form without loading a YAML library.
        lines = (
            f"{key}: {json.dumps(value, ensure_ascii=False, default=str)}"
            for key, value in self.to_dict().items()
            if value is not None
        )
        return "\n".join(lines) + "\n"


class _EntraConnection(_Connection):
    """A service that takes a key or a Microsoft Entra token."""

    auth_mode = Config()
    _token_provider: Any = None

    def get_token(self) -> str:
        """A token for ``Authorization: Bearer``; needs azure-identity, or the ``token_provider`` given to it."""
        if self._token_provider is None:
            self._token_provider = _default_token_provider()
        provider = self._token_provider
        token = provider.get_token() if hasattr(provider, "get_token") else provider()
        return str(token)


class _LimitedConnection(_Connection):
    """A service that is asked no more often in a minute than the connection says, by all processes together."""

    requests_per_minute = PerMinute()
    tokens_per_minute = PerMinute()

    def _limit(self, requests_per_minute: int | str | None, tokens_per_minute: int | str | None) -> None:
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute

    def keys(self) -> list[str]:
        return [key for key in super().keys() if key not in LIMITS]  # no client knows them


def _default_token_provider() -> Any:
    try:
        from azure.identity import DefaultAzureCredential, get_bearer_token_provider
    except ImportError as error:
        raise MissingExtraError(
            "auth_mode 'meid_token' needs azure-identity.", hint="pip install azure-identity"
        ) from error
    return get_bearer_token_provider(DefaultAzureCredential(), "https://cognitiveservices.azure.com/.default")


def _key(api_key: str | None, auth_mode: str | None) -> dict[str, Any]:
    return {"api_key": api_key} if (auth_mode or KEY) == KEY else {}


class AzureOpenAIConnection(_EntraConnection, _LimitedConnection):
    """Azure OpenAI. ``auth_mode`` is ``key`` or ``meid_token``."""

    TYPE = "AzureOpenAI"
    YAML_TYPE = "azure_open_ai"
    REQUIRED = ("api_base",)
    api_key = ApiKey()
    api_base = Config()
    api_type = Config()
    api_version = Config()
    resource_id = Config()

    def __init__(
        self,
        api_base: str,
        api_key: str | None = None,
        api_type: str = "azure",
        api_version: str = AZURE_OPENAI_API_VERSION,
        auth_mode: str = KEY,
        resource_id: str | None = None,
        requests_per_minute: int | str | None = None,
        tokens_per_minute: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        configs = {
            "api_base": api_base,
            "api_type": api_type,
            "api_version": api_version,
            "auth_mode": auth_mode,
            "resource_id": resource_id,
        }
        super().__init__(configs=configs, secrets=_key(api_key, auth_mode), **kwargs)
        self._limit(requests_per_minute, tokens_per_minute)
        self._token_provider = kwargs.get("token_provider")

    @classmethod
    def from_env(cls, name: str | None = None) -> AzureOpenAIConnection:
        """From AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_API_KEY and, if set, OPENAI_API_VERSION."""
        values = _required_environment(cls, "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY")
        version = os.environ.get("OPENAI_API_VERSION") or AZURE_OPENAI_API_VERSION
        return cls(values[0], values[1], api_version=version, name=name)


class OpenAIConnection(_LimitedConnection):
    """OpenAI, or any server that speaks its API (``base_url``)."""

    TYPE = "OpenAI"
    YAML_TYPE = "open_ai"
    api_key = ApiKey()
    organization = Config()
    base_url = Config()

    def __init__(
        self,
        api_key: str,
        organization: str | None = None,
        base_url: str | None = None,
        requests_per_minute: int | str | None = None,
        tokens_per_minute: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        configs = {"organization": organization, "base_url": None if base_url in ("", "_") else base_url}
        super().__init__(configs=configs, secrets={"api_key": api_key}, **kwargs)
        self._limit(requests_per_minute, tokens_per_minute)

    @classmethod
    def from_env(cls, name: str | None = None) -> OpenAIConnection:
        """From OPENAI_API_KEY and, if set, OPENAI_ORG_ID and OPENAI_BASE_URL."""
        (api_key,) = _required_environment(cls, "OPENAI_API_KEY")
        return cls(api_key, os.environ.get("OPENAI_ORG_ID"), os.environ.get("OPENAI_BASE_URL"), name=name)


class LocalConnection(OpenAIConnection):
    """A model that the workspace serves itself: no key, no account. Its server starts when it is first used."""

    TYPE = "Local"
    YAML_TYPE = "local"
    model = Config()

    def __init__(self, model: str | None = None, base_url: str | None = None, api_key: str = "", **kwargs: Any) -> None:
        super().__init__(api_key=api_key, base_url=base_url, **kwargs)
        self.configs["model"] = model


class ServerlessConnection(_LimitedConnection):
    """A serverless endpoint that speaks the OpenAI API at ``api_base``."""

    TYPE = "Serverless"
    YAML_TYPE = "serverless"
    REQUIRED = ("api_base",)
    api_key = ApiKey()
    api_base = Config()

    def __init__(
        self,
        api_key: str,
        api_base: str,
        requests_per_minute: int | str | None = None,
        tokens_per_minute: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(configs={"api_base": api_base}, secrets={"api_key": api_key}, **kwargs)
        self._limit(requests_per_minute, tokens_per_minute)


class BingConnection(_Connection):
    """Bing web search, as old tools took it."""

    TYPE = "Bing"
    YAML_TYPE = "bing"
    api_key = ApiKey()
    url = Config()

    def __init__(self, api_key: str, url: str = "https://api.bing.microsoft.com/v7.0/search", **kwargs: Any) -> None:
        super().__init__(configs={"url": url}, secrets={"api_key": api_key}, **kwargs)


class SerpConnection(_Connection):
    """SerpApi web search."""

    TYPE = "Serp"
    YAML_TYPE = "serp"
    api_key = ApiKey()

    def __init__(self, api_key: str, **kwargs: Any) -> None:
        super().__init__(secrets={"api_key": api_key}, **kwargs)


class _VectorStoreConnection(_Connection):
    REQUIRED = ("api_base",)
    api_key = ApiKey()
    api_base = Config()

    def __init__(self, api_key: str, api_base: str, **kwargs: Any) -> None:
        super().__init__(configs={"api_base": api_base}, secrets={"api_key": api_key}, **kwargs)


class QdrantConnection(_VectorStoreConnection):
    """A Qdrant vector store."""

    TYPE = "Qdrant"
    YAML_TYPE = "qdrant"


class WeaviateConnection(_VectorStoreConnection):
    """A Weaviate vector store."""

    TYPE = "Weaviate"
    YAML_TYPE = "weaviate"


class CognitiveSearchConnection(_EntraConnection):
    """Azure AI Search."""

    TYPE = "CognitiveSearch"
    YAML_TYPE = "cognitive_search"
    REQUIRED = ("api_base",)
    api_key = ApiKey()
    api_base = Config()
    api_version = Config()

    def __init__(
        self,
        api_base: str,
        api_key: str | None = None,
        api_version: str = SEARCH_API_VERSION,
        auth_mode: str = KEY,
        **kwargs: Any,
    ) -> None:
        configs = {"api_base": api_base, "api_version": api_version, "auth_mode": auth_mode}
        super().__init__(configs=configs, secrets=_key(api_key, auth_mode), **kwargs)


class AzureAIServicesConnection(_EntraConnection):
    """Azure AI services."""

    TYPE = "AzureAIServices"
    YAML_TYPE = "azure_ai_services"
    REQUIRED = ("endpoint",)
    api_key = ApiKey()
    endpoint = Config()

    def __init__(self, endpoint: str, api_key: str | None = None, auth_mode: str = KEY, **kwargs: Any) -> None:
        configs = {"endpoint": endpoint, "auth_mode": auth_mode}
        super().__init__(configs=configs, secrets=_key(api_key, auth_mode), **kwargs)


class AzureContentSafetyConnection(_Connection):
    """Azure AI Content Safety."""

    TYPE = "AzureContentSafety"
    YAML_TYPE = "azure_content_safety"
    REQUIRED = ("endpoint",)
    api_key = ApiKey()
    endpoint = Config()
    api_version = Config()
    api_type = Config()

    def __init__(
        self,
        api_key: str,
        endpoint: str,
        api_version: str = CONTENT_SAFETY_API_VERSION,
        api_type: str = "Content Safety",
        **kwargs: Any,
    ) -> None:
        configs = {"endpoint": endpoint, "api_version": api_version, "api_type": api_type}
        super().__init__(configs=configs, secrets={"api_key": api_key}, **kwargs)


class FormRecognizerConnection(AzureContentSafetyConnection):
    """Azure Form Recognizer."""

    TYPE = "FormRecognizer"
    YAML_TYPE = "form_recognizer"

    def __init__(
        self,
        api_key: str,
        endpoint: str,
        api_version: str = FORM_RECOGNIZER_API_VERSION,
        api_type: str = "Form Recognizer",
        **kwargs: Any,
    ) -> None:
        super().__init__(api_key, endpoint, api_version, api_type, **kwargs)


def _required_environment(cls: type, *names: str) -> list[str]:
    missing = [name for name in names if os.environ.get(name) is None]
    if missing:
        raise RequiredEnvironmentVariablesNotSetError(
            f"{cls.__name__}.from_env() needs the environment variables {', '.join(missing)}.",
            hint="Set them, or create a connection with `pf connection create`.",
        )
    return [os.environ[name] for name in names]
