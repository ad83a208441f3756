from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import ValidationException, WorkspaceError, YamlParseError
from promptflow.workspace import Workspace
from promptflow.workspace.settings import Settings


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder; the tests stand in a folder below it."""
    (tmp_path / "flows" / "web").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "flows" / "web")
    return tmp_path


def test_the_environment_beats_the_project_beats_the_workspace(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Workspace.open().settings
    found = [settings.get("trace.destination", "unset")]
    (home / "pf.yaml").write_text("trace:\n  destination: none\n")
    found.append(settings.get("trace.destination"))
    (project / "pf.yaml").write_text("trace:\n  destination: local\n")
    found.append(settings.get("trace.destination"))
    monkeypatch.setenv("PF_TRACE_DESTINATION", "http://127.0.0.1:4318")
    found.append(settings.get("trace.destination"))
    assert found == ["unset", "none", "local", "http://127.0.0.1:4318"]


def test_each_value_tells_where_it_comes_from(home: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "pf.yaml").write_text("telemetry:\n  enabled: false\nrun: {output_path: /a}\n")
    (project / "pf.yaml").write_text("run: {output_path: /b}\nown: {key: 3}\n")
    monkeypatch.setenv("PROMPTFLOW_CONNECTION_PROVIDER", "local")
    settings = Workspace.open().settings
    assert settings.show(origin=True) == {
        "connection.provider": {"value": "local", "origin": "$PROMPTFLOW_CONNECTION_PROVIDER"},
        "own.key": {"value": 3, "origin": str(project / "pf.yaml")},
        "run.output_path": {"value": "/b", "origin": str(project / "pf.yaml")},
        "telemetry.enabled": {"value": False, "origin": str(home / "pf.yaml")},
    }
    assert settings.show()["run.output_path"] == "/b"


def test_the_nearest_project_file_counts(home: Path, project: Path) -> None:
    (project / "pf.yaml").write_text("user_agent: far\n")
    (project / "flows" / "pf.yaml").write_text("user_agent: near\n")
    assert Workspace.open().settings.get("user_agent") == "near"


def test_setting_keeps_what_microsoft_or_a_person_wrote(home: Path) -> None:
    file = home / "pf.yaml"
    file.write_text("# mine\ncli:\n  installation_id: 1234  # by pf\ntelemetry:\n  enabled: false\n")
    settings = Workspace.open().settings
    settings.set("trace.destination", "none")
    settings.set("telemetry.enabled", True)
    assert file.read_text() == (
        "# mine\ncli:\n  installation_id: 1234  # by pf\ntelemetry:\n  enabled: true\ntrace:\n  destination: none\n"
    )
    assert settings.get("trace.destination") == "none"
    assert settings.unset("trace.destination")
    assert not settings.unset("trace.destination")
    assert settings.get("trace.destination") is None


def test_a_scalar_in_the_way_of_a_nested_key_is_replaced(home: Path) -> None:
    (home / "pf.yaml").write_text("trace: old\n")
    settings = Workspace.open().settings
    settings.set("trace.destination", "local")
    assert settings.get("trace.destination") == "local"


@pytest.mark.parametrize("text", ["true", "TRUE"])
def test_booleans_in_the_environment_are_booleans(home: Path, text: str) -> None:
    settings = Settings(home, {"PF_TELEMETRY_ENABLED": text})
    assert settings.get("telemetry.enabled") is True


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trace.destination", "everywhere"),
        ("run.output_path", "${flow_directory}"),
        ("run.output_path", "${flow_directory}/"),
        ("", "x"),
        ("a..b", "x"),
        (" a", "x"),
    ],
)
def test_wrong_settings_are_refused_and_not_kept(home: Path, key: str, value: Any) -> None:
    with pytest.raises(ValidationException):
        Workspace.open().settings.set(key, value)
    assert not (home / "pf.yaml").exists()


@pytest.mark.parametrize(("text", "error"), [("a: [", YamlParseError), ("- a\n", ValidationException)])
def test_a_broken_file_is_named(home: Path, text: str, error: type[Exception]) -> None:
    (home / "pf.yaml").write_text(text)
    with pytest.raises(error) as caught:
        Workspace.open().settings.get("trace.destination")
    assert str(home / "pf.yaml") in caught.value.location  # type: ignore[attr-defined]


def test_a_current_folder_that_is_gone_is_no_project(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert Workspace.open(home).settings.get("user_agent", "unset") == "unset"


def test_processes_that_set_at_once_lose_nothing(home: Path, start_python: Callable[..., Any]) -> None:
    code = "import sys; from promptflow.workspace import Workspace\n"
    code += "for n in range(10): Workspace.open().settings.set(f'{sys.argv[1]}.k{n}', n)"
    writers = [start_python(code, f"w{n}") for n in range(3)]
    assert [writer.communicate(timeout=60)[1] for writer in writers] == ["", "", ""]
    assert len(Workspace.open().settings.show()) == 30


def test_a_full_disk_keeps_the_old_settings(small_disk: Path) -> None:
    settings = Workspace.open(small_disk, "").settings
    settings.set("user_agent", "old")
    with pytest.raises(OSError), (small_disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(WorkspaceError, match="disk is full"):
        settings.set("user_agent", "new")
    assert settings.get("user_agent") == "old"
