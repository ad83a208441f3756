"""A batch endpoint, its deployments and their jobs, as the workspace keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from serve.endpoints.spec import Spec

APPEND_ROW, SUMMARY_ONLY = "append_row", "summary_only"
OUTPUT_ACTIONS = (APPEND_ROW, SUMMARY_ONLY)
LEVELS = ("debug", "info", "warning", "error", "critical")
OUTPUT = "score"  # what the output of a job is called


@dataclass(frozen=True)
class Settings:
    """How a deployment goes through its input.

    ``mini_batch_size`` is in files, of tables in rows; with ``mini_batch_bytes`` it is those of a table instead.
    ``workers`` are processes at once. ``error_threshold``: a job with more failed files, or rows of tables, than that
    ends; -1: none does. Every mini-batch has ``timeout`` seconds, and is tried ``max_retries`` times more.
    """

    mini_batch_size: int = 10
    mini_batch_bytes: int = 0
    workers: int = 1
    output_action: str = APPEND_ROW
    output_file: str = "predictions.csv"
    error_threshold: int = -1
    max_retries: int = 3
    timeout: float = 30.0
    logging_level: str = "info"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Names of a newer version are left out, missing ones have their defaults."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True)
class BatchEndpoint:
    """A name to send data to. ``default`` is the deployment that gets it where none is named. ``revision`` counts the
    changes; 0: not in the store yet."""

    name: str
    default: str = ""
    auth_mode: str = "aad_token"
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)  # what the YAML says that only a cloud has
    revision: int = 0
    created: str = ""
    updated: str = ""


@dataclass(frozen=True)
class BatchDeployment:
    """What goes through the data: of ``spec``, what is for answering requests has no meaning here."""

    endpoint: str
    name: str
    spec: Spec
    settings: Settings = field(default_factory=Settings)
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 0
    created: str = ""
    updated: str = ""

    @property
    def id(self) -> str:
        """``batch:ENDPOINT/DEPLOYMENT``, as jobs and the uses of assets name it."""
        return f"batch:{self.endpoint}/{self.name}"
