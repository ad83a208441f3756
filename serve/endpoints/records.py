"""An endpoint and its deployments, as the workspace keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serve.endpoints.spec import Spec

KEY, TOKEN = "key", "aml_token"
AAD_TOKEN = "aad_token"  # kept as it is written, and treated as TOKEN: there is no directory here to ask
AUTH_MODES = (KEY, TOKEN, AAD_TOKEN)


@dataclass(frozen=True)
class Endpoint:
    """A name with keys, and where its requests go.

    ``traffic``: percent by deployment, which add up to 100, or to 0: then only those that name a deployment are served.
    ``mirror``: percent of the requests of which a deployment gets a copy whose answer nobody waits for.
    ``revision`` counts its changes; 0: not in the store yet.
    """

    name: str
    auth_mode: str = KEY
    traffic: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)  # what the YAML says that only a cloud has
    revision: int = 0
    created: str = ""
    updated: str = ""

    @property
    def takes_tokens(self) -> bool:
        """Whether requests show an expiring token, not a key."""
        return self.auth_mode != KEY


@dataclass(frozen=True)
class Deployment:
    """One way to answer an endpoint's requests. ``revision`` counts its changes: instances of an older one are
    replaced."""

    endpoint: str
    name: str
    spec: Spec
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    created: str = ""
    updated: str = ""

    @property
    def id(self) -> str:
        """``endpoint:ENDPOINT/DEPLOYMENT``, as the uses of assets name it."""
        return f"endpoint:{self.endpoint}/{self.name}"


@dataclass(frozen=True)
class Keys:
    """The two keys of an endpoint: one serves while the other is replaced."""

    primary: str
    secondary: str

    def __repr__(self) -> str:
        return "Keys(primary=***, secondary=***)"
