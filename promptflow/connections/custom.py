"""Connections whose keys the user chooses: free ones, and ones that a class of the user's own describes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from promptflow.connections.models import _Connection
from promptflow.contracts.types import Secret
from promptflow.exceptions import UserErrorException

PREFIX = "promptflow.connection."
TYPE_KEY = PREFIX + "custom_type"
MODULE_KEY = PREFIX + "module"
PACKAGE_KEY = PREFIX + "package"
PACKAGE_VERSION_KEY = PREFIX + "package_version"


class CustomConnection(_Connection):
    """Any keys: ``configs`` are shown, ``secrets`` are not. Both are attributes too."""

    TYPE = "Custom"
    YAML_TYPE = "custom"

    def __init__(
        self, secrets: Mapping[str, Any] | None = None, configs: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(configs=configs, secrets=secrets, **kwargs)
        self.custom_type = kwargs.get("custom_type") or self.configs.get(TYPE_KEY)

    def __getattr__(self, key: str) -> Any:
        # Only reached when normal lookup fails; __dict__ is asked so that copying and unpickling cannot recurse.
        for values in ("secrets", "configs"):
            found = self.__dict__.get(values, {})
            if key in found:
                return found[key]
        raise AttributeError(f"Connection '{self.__dict__.get('name')}' has no key '{key}'.")

    @classmethod
    def _from_values(cls, name: str, values: dict[str, Any], secret_keys: set[str]) -> CustomConnection:
        secrets = {key: value for key, value in values.items() if key in secret_keys}
        configs = {key: value for key, value in values.items() if key not in secret_keys}
        return cls(name=name, configs=configs, secrets=secrets)

    def _body(self, configs: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
        return {"configs": dict(configs), "secrets": dict(secrets)}

    def _is_custom_strong_type(self) -> bool:
        return bool(self.configs.get(TYPE_KEY))

    def _convert_to_custom_strong_type(
        self, module: ModuleType | str | None = None, to_class: str | None = None
    ) -> _Connection:
        """This connection as an instance of a class of the user's (by default the one it was made for)."""
        if to_class == type(self).__name__:
            return self
        place = self.configs.get(MODULE_KEY) or module
        cls = find_strong_type(place, self.configs.get(TYPE_KEY) or to_class)
        converted: _Connection = cls(name=self.name, configs=self.configs, secrets=self.secrets)
        return converted


class CustomStrongTypeConnection(_Connection):
    """Base of a connection class of your own: annotate its keys, the secret ones with ``Secret``.

    class MyConnection(CustomStrongTypeConnection):
        api_key: Secret
        api_base: str = "https://example.org"
    """

    def __init__(
        self, secrets: Mapping[str, Any] | None = None, configs: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(configs=configs, secrets=secrets, **kwargs)
        self.module = kwargs.get("module") or type(self).__module__
        self.custom_type = kwargs.get("custom_type") or type(self).__name__
        self.package = kwargs.get("package")
        self.package_version = kwargs.get("package_version")

    def __getattribute__(self, key: str) -> Any:
        # Not __getattr__: an annotation with a default is a class attribute, which normal lookup would find first.
        get = super().__getattribute__
        if key.startswith("__") or key not in declared_keys(get("__class__")):
            return get(key)
        for values in (get("secrets"), get("configs")):
            if key in values:
                return values[key]
        return get(key)

    def __setattr__(self, key: str, value: Any) -> None:
        keys = declared_keys(type(self))
        if key in keys:
            (self.secrets if keys[key] else self.configs)[key] = value
        else:
            super().__setattr__(key, value)

    def _body(self, configs: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
        return {"custom_type": self.custom_type, "configs": dict(configs), "secrets": dict(secrets)}

    def _convert_to_custom(self) -> CustomConnection:
        """The form in which it is stored: a custom connection that remembers its class."""
        marks = {TYPE_KEY: self.custom_type, MODULE_KEY: self.module}
        if self.package and self.package_version:
            marks |= {PACKAGE_KEY: self.package, PACKAGE_VERSION_KEY: self.package_version}
        return CustomConnection(name=self.name, configs={**self.configs, **marks}, secrets=self.secrets)


CustomStrongTypeConnection.YAML_TYPE = CustomConnection.YAML_TYPE


def declared_keys(cls: type) -> dict[str, bool]:
    """The annotated keys of a strong custom type, and whether each is secret."""
    cached: dict[str, bool] | None = cls.__dict__.get("_declared_keys")
    if cached is not None:
        return cached
    keys: dict[str, bool] = {}
    for base in reversed(cls.__mro__[: cls.__mro__.index(CustomStrongTypeConnection)]):
        for key, annotation in base.__dict__.get("__annotations__", {}).items():
            # With `from __future__ import annotations` an annotation is its text.
            keys[key] = annotation is Secret or str(annotation).rpartition(".")[2] == "Secret"
    cls._declared_keys = keys  # type: ignore[attr-defined]
    return keys


def find_strong_type(module: ModuleType | str | None, name: str | None) -> type[Any]:
    """The user's connection class ``name`` in ``module``."""
    if isinstance(module, str):
        try:
            module = importlib.import_module(module)
        except ImportError as error:
            raise UserErrorException(
                f"Module '{module}' of connection type '{name}' cannot be imported: {error}.",
                hint="Install the package that defines it, or mend `module` in the connection's YAML.",
            ) from error
    found = getattr(module, name, None) if module is not None and name else None
    if not isinstance(found, type):
        place = getattr(module, "__name__", module)
        raise UserErrorException(f"Connection type '{name}' is not a class of module '{place}'.")
    return found
