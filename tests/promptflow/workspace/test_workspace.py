from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from promptflow.exceptions import WorkspaceError
from promptflow.workspace import Workspace
from promptflow.workspace.home import find_home

LOADED = """
import sys
from promptflow.workspace import Workspace
workspace = Workspace.open()
{use}
print(*sorted({{name.partition(".")[0] for name in sys.modules}} & set(sys.argv[1:])), end="")
if "sqlalchemy.orm" in sys.modules: print(" sqlalchemy.orm", end="")
"""
HEAVY = "aiohttp alembic asyncio cryptography fsspec jinja2 orjson pandas rich ruamel sqlalchemy sqlite3 yaml".split()


def test_opening_writes_nothing(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    assert workspace.settings.get("trace.destination") is None
    assert workspace.processes.list() == []
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("use", "heavy"),
    [
        ("", set()),
        ("workspace.settings.get('trace.destination'); workspace.processes.list(); workspace.db", set()),
        ("workspace.secrets.encrypt('x')", {"cryptography"}),
        ("workspace.processes.start('p', ['true'])", set()),
    ],
)
def test_the_database_is_not_imported_before_it_is_used(
    run_python: Callable[..., str], use: str, heavy: set[str]
) -> None:
    assert set(run_python(LOADED.format(use=use), *HEAVY).split()) == heavy


def test_an_up_to_date_database_is_opened_without_alembic_or_orm(home: Path, run_python: Callable[..., str]) -> None:
    with Workspace.open() as workspace:
        workspace.store.list("runs")
    found = set(run_python(LOADED.format(use="workspace.store.list('runs')"), *HEAVY).split())
    assert found - {"asyncio"} == {"orjson", "sqlalchemy", "sqlite3"}


def test_a_new_database_is_made_without_alembic(run_python: Callable[..., str]) -> None:
    assert "alembic" not in run_python(LOADED.format(use="workspace.store.list('runs')"), *HEAVY)


def test_folder_and_database_come_from_the_environment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Workspace.open().home == home
    monkeypatch.setenv("PF_DATABASE_URL", f"sqlite:///{tmp_path / 'other.sqlite'}")
    Workspace.open().store.list("runs")
    assert (tmp_path / "other.sqlite").exists()
    assert not (home / "workspace.sqlite").exists()
    Workspace.open(database_url="").store.list("runs")
    assert (home / "workspace.sqlite").exists()


def test_microsofts_own_files_are_left_alone(home: Path) -> None:
    (home / "pf.sqlite").write_bytes(b"theirs")
    (home / ".runs").mkdir()
    workspace = Workspace.open()
    workspace.store.list("runs")
    workspace.require_writable()
    assert (home / "pf.sqlite").read_bytes() == b"theirs"
    assert workspace.runs_folder == home / ".runs"
    assert workspace.traces_folder == home / "traces"
    assert not list(home.glob(".writable*"))


@pytest.mark.parametrize(
    ("given", "environ", "folder"),
    [
        ("/a/b", {"PF_HOME_DIRECTORY": "/c"}, "/a/b"),
        (None, {"PF_HOME_DIRECTORY": "/c/../d"}, "/d"),
        (None, {"PF_HOME_DIRECTORY": "  "}, str(Path.home() / ".promptflow")),
        (None, {}, str(Path.home() / ".promptflow")),
        ("~/x", {}, str(Path.home() / "x")),
    ],
)
def test_the_folder_is_the_one_given_or_named_or_the_users(
    given: str | None, environ: dict[str, str], folder: str
) -> None:
    assert find_home(given, environ).folder == Path(folder)


def test_a_user_without_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkspaceError) as caught:
        find_home("~nobody-of-this-name/x", {})
    assert "PF_HOME_DIRECTORY" in caught.value.hint
