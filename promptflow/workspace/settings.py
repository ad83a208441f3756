"""Settings: the environment, then the project's pf.yaml, then the workspace's (Microsoft's format: nested keys)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.locks import file_lock
from promptflow.workspace.yamlfile import edit_yaml, load_yaml

KNOWN = (
    "cache.max_size",
    "cli.installation_id",
    "connection.provider",
    "deployments.allow_pickle",
    "enable_internal_features",
    "index.model",
    "local.idle_seconds",
    "record.http",
    "run.output_path",
    "service.host",
    "telemetry.enabled",
    "trace.destination",
    "user_agent",
)
KNOWN_GROUPS = ("registries.",)  # names of the user's own follow
_OLD_VARIABLES = {"connection.provider": "PROMPTFLOW_CONNECTION_PROVIDER"}
_FILE = "pf.yaml"


@dataclass(frozen=True)
class Setting:
    """A value and where it comes from: ``$VARIABLE`` or a file."""

    key: str
    value: Any
    origin: str


class Settings:
    """Values by dotted key. Nothing is read before it is asked for; files are read again when they change."""

    def __init__(self, home: Path, environ: Mapping[str, str] = os.environ, cwd: str | Path | None = None) -> None:
        self._home = home
        self._environ = environ
        self._cwd = cwd
        self._files: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}

    @property
    def file(self) -> Path:
        """The workspace's own file."""
        return self._home / _FILE

    def get(self, key: str, default: Any = None) -> Any:
        """The value that counts, or ``default``."""
        found = self.find(key)
        return default if found is None else found.value

    def find(self, key: str) -> Setting | None:
        """The value that counts and its origin, or None if it is set nowhere."""
        for variable in variables(key):
            value = self._environ.get(variable, "").strip()
            if value:
                return Setting(key, {"true": True, "false": False}.get(value.lower(), value), f"${variable}")
        for file in self._sources():
            value = _look_up(self._read(file), key)
            if value is not None and not isinstance(value, dict):
                return Setting(key, value, file)
        return None

    def set(self, key: str, value: Any) -> None:
        """Keep a value in the workspace's file, whose comments stay."""
        _check(key, value)
        with file_lock(self._home / "locks" / "settings"), edit_yaml(self.file) as document:
            _parent(document, key)[key.rpartition(".")[2]] = value

    def unset(self, key: str) -> bool:
        """Forget a value of the workspace's file; False if it holds none."""
        if _look_up(self._read(str(self.file)), key) is None:
            return False
        with file_lock(self._home / "locks" / "settings"), edit_yaml(self.file) as document:
            _parent(document, key).pop(key.rpartition(".")[2], None)
        return True

    def show(self, *, origin: bool = False) -> dict[str, Any]:
        """All settings that have a value, by key; with ``origin``, as ``{"value": …, "origin": …}``."""
        keys = {*KNOWN, *(key for file in self._sources() for key in _flatten(self._read(file)))}
        found = [setting for setting in map(self.find, sorted(keys)) if setting is not None]
        return {s.key: {"value": s.value, "origin": s.origin} if origin else s.value for s in found}

    def _sources(self) -> Iterator[str]:
        own = str(self.file)
        folder = _current_folder(self._cwd)
        while folder:
            file = os.path.join(folder, _FILE)
            if file != own and os.path.isfile(file):
                yield file
                break
            parent = os.path.dirname(folder)
            if parent == folder:
                break
            folder = parent
        yield own

    def _read(self, file: str) -> dict[str, Any]:
        try:
            state = os.stat(file)
        except OSError:
            return {}
        stamp = (state.st_mtime_ns, state.st_size)
        known = self._files.get(file)
        if known is None or known[0] != stamp:
            data, marks = load_yaml(file)
            if not isinstance(data, dict):
                raise ValidationException("Settings must be a mapping of keys to values.", location=marks.location())
            known = self._files[file] = (stamp, data)
        return known[1]


def _current_folder(given: str | Path | None) -> str:
    try:
        return os.path.abspath(given or os.getcwd())
    except FileNotFoundError:  # deleted under our feet: then there is no project
        return ""


def variables(key: str) -> tuple[str, ...]:
    """The environment variables that set ``key``: ``trace.destination`` is ``PF_TRACE_DESTINATION``."""
    ours = "PF_" + key.upper().replace(".", "_")
    return (_OLD_VARIABLES[key], ours) if key in _OLD_VARIABLES else (ours,)


def _look_up(data: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(data, dict):
            return None
        data = data.get(part)
    return data


def _parent(document: Any, key: str) -> Any:
    for part in key.split(".")[:-1]:
        if not isinstance(document.get(part), dict):
            document[part] = {}
        document = document[part]
    return document


def _flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _check(key: str, value: Any) -> None:
    if not all(part and part == part.strip() for part in key.split(".")):
        raise ValidationException(f"'{key}' is not the name of a setting.", hint="for example: trace.destination")
    if key == "run.output_path" and str(value).rstrip("/").endswith("${flow_directory}"):
        raise ValidationException(
            "Cannot specify flow directory as run output path.", hint="use a folder in it: ${flow_directory}/.runs"
        )
    if key == "trace.destination":
        text = str(value).lower()
        if text not in ("local", "none") and not text.startswith(("azureml", "http://", "https://")):
            raise ValidationException(f"'{value}' is not a destination of traces.", hint="local, none or an OTLP url")
