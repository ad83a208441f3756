"""Custom connections, free and strong."""

from __future__ import annotations

import logging
import sys
from types import ModuleType

import pytest

from promptflow.connections import CustomConnection, CustomStrongTypeConnection
from promptflow.connections.custom import MODULE_KEY, TYPE_KEY, declared_keys
from promptflow.contracts.types import Secret
from promptflow.exceptions import UserErrorException


class Mine(CustomStrongTypeConnection):
    key: Secret
    base: str = "default"


class Yours(Mine):
    region: str


def test_keys_of_a_custom_connection_are_attributes(caplog: pytest.LogCaptureFixture) -> None:
    connection = CustomConnection(configs={"a": "1"}, secrets={"b": "2"})
    with caplog.at_level(logging.WARNING):
        assert (connection.a, connection.b) == ("1", "2")
    assert (connection.is_secret("b"), connection.is_secret("a")) == (True, False)
    assert caplog.text == ""
    with pytest.raises(AttributeError, match="has no key 'c'"):
        _ = connection.c


def test_annotations_say_which_keys_are_secret() -> None:
    assert declared_keys(Yours) == {"key": True, "base": False, "region": False}


@pytest.mark.parametrize("configs, base", [({}, "default"), ({"base": "given"}, "given")])
def test_a_strong_type_reads_values_before_defaults(configs: dict[str, str], base: str) -> None:
    connection = Mine(secrets={"key": "k"}, configs=configs)
    assert (connection.key, connection.base) == ("k", base)


def test_setting_an_attribute_puts_it_where_it_belongs() -> None:
    connection = Mine(secrets={"key": "k"})
    connection.key, connection.base = Secret("l"), "b"
    assert (connection.secrets, connection.configs) == ({"key": "l"}, {"base": "b"})


def test_a_strong_type_is_stored_as_custom_and_comes_back() -> None:
    stored = Mine(name="m", secrets={"key": "k"})._convert_to_custom()
    assert (stored.configs[TYPE_KEY], stored.configs[MODULE_KEY]) == ("Mine", __name__)
    again = stored._convert_to_custom_strong_type()
    assert isinstance(again, Mine) and again.key == "k"


@pytest.mark.parametrize("by_name", [True, False])
def test_a_free_custom_connection_becomes_the_class_that_a_tool_wants(by_name: bool) -> None:
    free = CustomConnection(name="m", secrets={"key": "k"})
    module: ModuleType | str = __name__ if by_name else sys.modules[__name__]
    assert isinstance(free._convert_to_custom_strong_type(module=module, to_class="Mine"), Mine)
    assert free._convert_to_custom_strong_type(to_class="CustomConnection") is free


@pytest.mark.parametrize(
    "module, name, message", [("no_such_module", "Mine", "cannot be imported"), (__name__, "Nope", "is not a class")]
)
def test_a_class_that_is_not_there(module: str, name: str, message: str) -> None:
    with pytest.raises(UserErrorException, match=message):
        CustomConnection(secrets={"key": "k"})._convert_to_custom_strong_type(module=module, to_class=name)
