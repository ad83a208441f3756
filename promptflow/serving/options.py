"""What is to be served, and how: from the command line, or from the variables of a container."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from promptflow.exceptions import InvalidFlowInitConfig

PROJECT_PATH = "PROMPTFLOW_PROJECT_PATH"
INIT_CONFIG = "PF_FLOW_INIT_CONFIG"
CONNECTIONS_FOLDER = "PF_SERVING_CONNECTIONS_FOLDER"


@dataclass(frozen=True)
class ServeOptions:
    """``connections_folder`` holds YAML files of connections, which count before those of the workspace;
    ``config`` overrides settings of the workspace."""

    source: str = "."
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)
    static_folder: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""
    connections_folder: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **given: Any) -> ServeOptions:
        """What is given, and for the rest what the environment says. Raises InvalidFlowInitConfig."""
        given = {key: value for key, value in given.items() if value}
        given.setdefault("source", environ.get(PROJECT_PATH, "").strip() or ".")
        given.setdefault("connections_folder", environ.get(CONNECTIONS_FOLDER, "").strip())
        given.setdefault("init", init_of(environ))
        return cls(**given)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ServeOptions:
        return cls(**json.loads(text))


def init_of(environ: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a class entry that PF_FLOW_INIT_CONFIG holds. The text is never shown: keys may be in it."""
    text = environ.get(INIT_CONFIG, "").strip()
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidFlowInitConfig(
            f"{INIT_CONFIG} is not JSON: {error}.", location=f"environment: {INIT_CONFIG}"
        ) from None
    if not isinstance(value, dict):
        raise InvalidFlowInitConfig(
            f"{INIT_CONFIG} must hold one JSON object, found {type(value).__name__}.",
            location=f"environment: {INIT_CONFIG}",
        )
    return value
