"""Connections as YAML files and ``.env`` files."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from promptflow.connections.custom import (
    MODULE_KEY,
    PACKAGE_KEY,
    PACKAGE_VERSION_KEY,
    TYPE_KEY,
    CustomConnection,
    CustomStrongTypeConnection,
    declared_keys,
    find_strong_type,
)
from promptflow.connections.models import ENTRA_TOKEN, KEY, USER_INPUT, _Connection, is_scrubbed
from promptflow.connections.references import variable_name
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace.yamlfile import Marks, dump_yaml, load_yaml

_HEADING = ("$schema", "name", "type", "module", "created_date", "last_modified_date", "expiry_time")
# Spellings of older files and of the OpenAI SDK.
_LEGACY = {
    "azure_open_ai": {"azure_endpoint": "api_base", "endpoint": "api_base", "base_url": "api_base"},
    "open_ai": {"api_base": "base_url", "organisation": "organization"},
    "serverless": {"base_url": "api_base", "endpoint": "api_base"},
    "azure_ai_services": {"api_base": "endpoint"},
    "azure_content_safety": {"api_base": "endpoint"},
    "form_recognizer": {"api_base": "endpoint"},
}
_AUTH_MODES = {KEY: KEY, "api_key": KEY, ENTRA_TOKEN: ENTRA_TOKEN, "aad": ENTRA_TOKEN}


def load_connection(
    source: str | PathLike[str], params_override: Iterable[Mapping[str, Any]] | None = None, **kwargs: Any
) -> _Connection:
    """The connection of a YAML or ``.env`` file. ``params_override``: ``[{"configs.key": value}, {"name": …}]``.

    References ``${env:X}`` stay as they are: they are resolved when the connection is used.
    """
    path = Path(source)
    if path.name.endswith(".env"):
        return _load_env(path, params_override)
    if not path.is_file():
        raise UserErrorException(f"Connection file {path} does not exist.")
    data, marks = load_yaml(path)
    return from_mapping(data, params_override, marks)


def from_mapping(
    data: Any, params_override: Iterable[Mapping[str, Any]] | None = None, marks: Marks | None = None
) -> _Connection:
    """The connection that a parsed YAML file describes. All that is wrong with it is said at once."""
    at = marks.location if marks else lambda *keys: ""
    if not isinstance(data, Mapping):
        raise ValidationException("A connection is a mapping of keys to values.", location=at())
    data = _overridden(data, params_override or ())
    kind = _find_type(data.get("type"), at("type"))
    if issubclass(kind, CustomConnection):
        return _custom(data, at)
    fields = _fields(kind)
    values = _renamed(kind, data)
    if "auth_mode" in values:
        mode = _AUTH_MODES.get(str(values["auth_mode"]).lower())
        if mode is None:
            raise ValidationException(
                f"auth_mode '{values['auth_mode']}' is not known.", location=at("auth_mode"), hint="key or meid_token"
            )
        values["auth_mode"] = mode
    missing = [key for key in kind.REQUIRED if not values.get(key)]
    if fields.get("api_key") and not values.get("api_key") and values.get("auth_mode", KEY) == KEY:
        missing.append("api_key")
    if missing:
        raise ValidationException(
            f"Connection '{data.get('name')}' of type {kind.YAML_TYPE} lacks {', '.join(missing)}.", location=at()
        )
    _check_texts({key: value for key, value in values.items() if key in fields}, at)
    given: dict[str, Any] = {key: _text(value) for key, value in values.items() if key in fields and value is not None}
    if fields.get("api_key"):
        given.setdefault("api_key", None)
    return kind(**given, **_heading(data))


def dump_connection(connection: _Connection, *, with_secrets: bool = False, secrets_from_env: bool = False) -> str:
    """A connection as YAML. ``secrets_from_env`` writes ``${env:NAME_KEY}`` for each secret, as containers want."""
    data = {key: value for key, value in connection.to_dict(with_secrets).items() if value is not None}
    data.pop("created_date", None)
    data.pop("last_modified_date", None)
    if secrets_from_env:
        references = {
            key: f"${{env:{variable_name(connection.name or 'connection', key)}}}" for key in connection.secrets
        }
        data = {**data, "secrets": references} if "secrets" in data else {**data, **references}
    return dump_yaml(data)


def secrets_to_ask(connection: _Connection, *, updating: bool = False) -> list[str]:
    """The secrets that a person must be asked for: ``<user-input>``, and on creation also empty or starred ones.
    A model of this machine needs none."""
    needed = not updating and connection.TYPE != "Local"
    return [key for key, value in connection.secrets.items() if value == USER_INPUT or (needed and is_scrubbed(value))]


def _load_env(path: Path, params_override: Iterable[Mapping[str, Any]] | None) -> CustomConnection:
    name = next((one["name"] for one in params_override or () if one.get("name")), None)
    if not name:
        raise UserErrorException("Please specify --name when creating connection from .env.")
    if not path.is_file():
        raise UserErrorException(f"File {path} does not exist.")
    from dotenv import dotenv_values

    values = {key: value for key, value in dotenv_values(path).items() if value is not None}
    if not values:
        raise UserErrorException(f"Nothing could be read from {path}: is it empty?")
    return CustomConnection(name=name, secrets=values)


def _overridden(data: Mapping[str, Any], overrides: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    result = dict(data)
    for override in overrides:
        for key, value in override.items():
            if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
                result[key] = {**result[key], **value}
            elif "." in key and not key.startswith("$"):
                outer, _, inner = key.partition(".")
                result[outer] = {**(result.get(outer) or {}), inner: value}
            else:
                result[key] = value
    return result


def _find_type(text: Any, location: str) -> type[_Connection]:
    known = {kind.YAML_TYPE: kind for kind in _Connection.SUPPORTED_TYPES.values()}
    wanted = _plain(str(text or "").removesuffix("Connection"))
    for name, kind in known.items():
        if _plain(name) == wanted:
            return kind
    problem = f"Connection type '{text}' is not supported." if text else "type is required for connection."
    raise ValidationException(problem, location=location, hint=f"one of: {', '.join(sorted(known))}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _fields(kind: type[_Connection]) -> dict[str, bool]:
    """Parameters of a connection class, and whether they are required."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    named = [p for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]
    required = {p.name: p.default is p.empty for p in named}
    # Where a token may stand in for the key, the key is required unless it does.
    if "auth_mode" in required:
        required["api_key"] = True
    return required


def _renamed(kind: type[_Connection], data: Mapping[str, Any]) -> dict[str, Any]:
    legacy = _LEGACY.get(kind.YAML_TYPE, {})
    values = {key: value for key, value in data.items() if key not in _HEADING}
    for old, new in legacy.items():
        if old in values and not values.get(new):
            values[new] = values.pop(old)
    return values


def _check_texts(values: Mapping[str, Any], at: Any) -> None:
    """Refuse what cannot be sent in a header or a URL. The value is not shown: it may be the key."""
    for key, value in values.items():
        if isinstance(value, Mapping | list | tuple | set):
            found = "a mapping" if isinstance(value, Mapping) else "a list"
            raise ValidationException(f"{key} is {found}; it is one text.", location=at(key))
        if isinstance(value, str) and any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
            raise ValidationException(
                f"{key} has a line break or another control character in it.",
                location=at(key),
                hint=f"write it on one line: {key}: VALUE",
            )


def _heading(data: Mapping[str, Any]) -> dict[str, Any]:
    heading = {key: data[key] for key in ("created_date", "last_modified_date") if data.get(key)}
    return {**heading, "name": str(data["name"]) if data.get("name") is not None else None}


def _custom(data: Mapping[str, Any], at: Any) -> CustomConnection:
    values: dict[str, dict[str, str]] = {}
    for key in ("configs", "secrets"):
        given = data.get(key)
        if given is not None and not isinstance(given, Mapping):
            raise ValidationException(f"'{key}' of a custom connection is a mapping.", location=at(key))
        values[key] = {str(k): _text(v) for k, v in (given or {}).items()}
    if "secrets" not in data:
        raise ValidationException(
            f"Connection '{data.get('name')}' of type custom lacks secrets.",
            location=at(),
            hint="put what must not be shown under `secrets`",
        )
    configs, secrets = values["configs"], values["secrets"]
    name, module = data.get("custom_type"), data.get("module")
    if name:
        _check_strong_type(str(name), module, configs, secrets, at)
        configs |= {TYPE_KEY: str(name), MODULE_KEY: str(module)}
        for key, mark in (("package", PACKAGE_KEY), ("package_version", PACKAGE_VERSION_KEY)):
            if data.get(key) is not None:
                configs[mark] = str(data[key])
    return CustomConnection(configs=configs, secrets=secrets, **_heading(data))


def _check_strong_type(name: str, module: Any, configs: Mapping[str, str], secrets: Mapping[str, str], at: Any) -> None:
    if not module:
        raise ValidationException(f"`custom_type: {name}` needs `module`.", location=at("custom_type"))
    found = find_strong_type(module, name)
    if not issubclass(found, CustomStrongTypeConnection):
        return
    keys = declared_keys(found)
    for section, given, wanted in (("configs", configs, False), ("secrets", secrets, True)):
        allowed = {key for key, secret in keys.items() if secret is wanted}
        unknown = [key for key in given if key not in allowed and not key.startswith("promptflow.connection.")]
        if unknown and keys:
            raise ValidationException(
                f"{', '.join(unknown)} under {section}: {name} has no such key.",
                location=at(section, unknown[0]),
                hint=f"{section} of {name}: {', '.join(sorted(allowed)) or 'none'}",
            )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value)
