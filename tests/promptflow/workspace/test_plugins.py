from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from promptflow.exceptions import MissingExtraError, ValidationException
from promptflow.workspace.optional import need
from promptflow.workspace.plugins import Registry


@pytest.fixture
def engines() -> Registry[Callable[[], str]]:
    registry: Registry[Callable[[], str]] = Registry("engine", group="promptflow.test_engines")

    @registry.register("echo")
    def echo() -> str:
        return "echo"

    return registry


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution that adds engines."""
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[promptflow.test_engines]\nfast = stranger_engine:make\nbroken = stranger_engine:absent\necho = stranger_engine:make\n"
    )
    (tmp_path / "stranger_engine.py").write_text("def make():\n    return 'fast'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("stranger_engine", None)


def test_a_registered_thing_is_found_by_name(engines: Registry[Callable[[], str]]) -> None:
    assert engines.get("echo")() == "echo"
    assert engines.names() == ["echo"]
    assert "echo" in engines and "absent" not in engines


def test_an_unknown_name_tells_the_nearest(engines: Registry[Callable[[], str]]) -> None:
    with pytest.raises(ValidationException, match="no engine 'ecco'") as caught:
        engines.get("ecco")
    assert caught.value.hint == "did you mean 'echo'?"
    with pytest.raises(ValidationException) as caught:
        engines.get("zzz")
    assert caught.value.hint == "there are: echo"


def test_a_name_is_registered_once(engines: Registry[Callable[[], str]]) -> None:
    engines.register("echo")(engines.get("echo"))
    with pytest.raises(ValidationException, match="registered twice"):
        engines.register("echo")(lambda: "other")


@pytest.mark.usefixtures("stranger")
def test_strangers_add_theirs_but_do_not_replace_ours(engines: Registry[Callable[[], str]]) -> None:
    assert engines.names() == ["broken", "echo", "fast"]
    assert "stranger_engine" not in sys.modules
    assert (engines.get("fast")(), engines.get("echo")()) == ("fast", "echo")


@pytest.mark.usefixtures("stranger")
def test_a_strangers_broken_thing_is_named(engines: Registry[Callable[[], str]]) -> None:
    with pytest.raises(ValidationException, match="'broken' of 'stranger' cannot be loaded: AttributeError"):
        engines.get("broken")


def test_a_missing_extra_tells_how_to_install_it() -> None:
    assert need("json", extra="x").loads("1") == 1
    for name in ("surely_absent", "surely_absent.part"):
        with pytest.raises(MissingExtraError, match="'surely_absent'") as caught:
            need(name, extra="gpu")
        assert caught.value.hint == "pip install 'promptflow[gpu]'"


def test_a_package_that_is_installed_but_broken_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import surely_absent\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="surely_absent"):
        need("half_installed", extra="gpu")
