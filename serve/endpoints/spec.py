"""What a deployment runs, and how: all that an instance and its supervisor need to know. Times are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Self

SCRIPT, MODEL, FLOW, LLM = "script", "model", "flow", "llm"
KINDS = (SCRIPT, MODEL, FLOW, LLM)


@dataclass(frozen=True)
class EnvironmentSpec:
    """The packages that the code and the model need. With none of ``conda``, ``requirements`` and ``curated`` it is
    the environment of the server itself.

    ``conda`` is the content of a conda file, ``requirements`` lines as pip reads them, ``curated`` the name of an
    environment of Azure's. ``image`` and ``inference`` (routes and ports of a container) are kept as they were written;
    containers are not run here. ``name`` is the reference as it was written.
    """

    name: str = ""
    conda: Mapping[str, Any] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    curated: str = ""
    image: str = ""
    inference: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_own(self) -> bool:
        """Whether it is anything but the environment of the server."""
        return bool(self.conda or self.requirements or self.curated)


@dataclass(frozen=True)
class RequestSettings:
    """``timeout`` of one request; how many an instance takes at once; how long one may wait for its turn."""

    timeout: float = 5.0
    concurrency: int = 1
    queue_wait: float = 0.5


@dataclass(frozen=True)
class Probe:
    """How an instance is asked. Failures of the first ``initial_delay`` seconds do not count; a success always does:
    what is ready sooner is used sooner. ``success`` and ``failure`` are how many in a row decide."""

    initial_delay: float = 10.0
    period: float = 10.0
    timeout: float = 2.0
    success: int = 1
    failure: int = 30


@dataclass(frozen=True)
class Collection:
    """One of the streams that are kept, and the data asset that it becomes."""

    enabled: bool = True
    name: str = ""
    version: str = ""
    path: str = ""


@dataclass(frozen=True)
class Collector:
    """What is kept of requests: ``collections`` by name (model_inputs, model_outputs, request, response, or one that
    the code writes itself), the share of the requests, and how often a new file is begun (minute, hour, day, month)."""

    collections: Mapping[str, Collection] = field(default_factory=dict)
    sampling_rate: float = 1.0
    rolling_rate: str = "hour"
    capture_headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """``kind``: a ``script`` with init() and run(), a ``model`` that needs no code, a ``flow``, or an ``llm``.

    ``model`` is the name of what was asked for (``iris:3``, ``builtin/intent-mini``, ``ORG/NAME:REVISION``; empty where
    it was given by its path), and ``model_path`` its file or folder, whose parent is AZUREML_MODEL_DIR. ``code`` is a
    copy of the code's folder (of a flow: of the flow's, and ``scoring_script`` its file); both never change.
    ``assets`` are the ids that are held while the deployment is there. ``model_mount`` is where the code looks for the
    model's parent, if it says so itself. ``recorded`` is what the YAML says that only a cloud has.

    ``target_in_flight`` of an instance decides on their number between ``min_instances`` and ``max_instances``; after
    ``idle_seconds`` without requests there are none (0: never). ``instance_count`` is the number where the two are
    equal. ``memory_limit`` of an instance is in bytes, 0 for none.
    ``options``: ``engine``, ``adapters``, ``batching``… as the kind has them.
    """

    kind: str
    model: str = ""
    model_path: Path | None = None
    model_type: str = ""
    code: Path | None = None
    scoring_script: str = ""
    environment: EnvironmentSpec = field(default_factory=EnvironmentSpec)
    variables: Mapping[str, str] = field(default_factory=dict)
    instance_count: int = 1
    min_instances: int = 1
    max_instances: int = 1
    target_in_flight: float = 1.0
    idle_seconds: float = 0.0
    request: RequestSettings = field(default_factory=RequestSettings)
    liveness: Probe = field(default_factory=Probe)
    readiness: Probe = field(default_factory=Probe)
    memory_limit: int = 0
    collector: Collector | None = None
    allow_pickle: bool = False
    model_mount: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    assets: tuple[str, ...] = ()
    recorded: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON values; paths are texts."""
        plain: dict[str, Any] = _plain(self)
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The spec that :meth:`to_json` told of. Keys of a newer version are left out, missing ones have defaults."""
        values = _known(cls, data)
        for name in ("model_path", "code"):
            values[name] = Path(values[name]) if values.get(name) else None
        values["environment"] = _made(EnvironmentSpec, data.get("environment", {}), "requirements")
        values["request"] = _made(RequestSettings, data.get("request", {}))
        for name in ("liveness", "readiness"):
            values[name] = _made(Probe, data.get(name, {}))
        if data.get("collector") is not None:
            collector = _made(Collector, data["collector"], "capture_headers")
            collections = {name: _made(Collection, one) for name, one in collector.collections.items()}
            values["collector"] = replace(collector, collections=collections)
        values["assets"] = tuple(values.get("assets", ()))
        return cls(**values)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _known(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(cls)}
    return {name: value for name, value in data.items() if name in names}


def _made(cls: type, data: Mapping[str, Any], *tuples: str) -> Any:
    values = _known(cls, data)
    return cls(**{name: tuple(value) if name in tuples else value for name, value in values.items()})
