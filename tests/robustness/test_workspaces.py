"""Workspaces that are newer, broken, read-only, full, or whose database goes away: nothing recorded is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptflow.workspace.migrations import VERSION_TABLE
from tests.postgresql import Server, find_binaries
from tests.robustness.conftest import Pf, command, flow, outputs, rows, run_folder

AS_ROOT_ON_LINUX = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0 or shutil.which("mount") is None, reason="mounts a tmpfs"
)


@pytest.fixture(autouse=True)
def project(folder: Path) -> None:
    """The flow `f` and the data `d.jsonl`."""
    flow(folder / "f")
    rows(folder / "d.jsonl", "1", "2", "3")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 2 MB, where one may be mounted."""
    path = Path(tempfile.mkdtemp(prefix="pf-small-"))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], capture_output=True).returncode:
        path.rmdir()
        pytest.skip("no mounts here")
    yield path
    subprocess.run(["umount", "-l", path], check=True)
    path.rmdir()


def create(name: str, *more: str) -> list[str]:
    return ["run", "create", "--flow", "f", "--data", "d.jsonl", "--name", name, *more]


@pytest.mark.parametrize(
    "words", [["run", "list"], create("s"), ["connection", "list"], ["trace", "list"]], ids=lambda words: words[0]
)
def test_a_newer_workspace_is_left_alone(home: Path, spawn: Pf, words: list[str]) -> None:
    assert spawn(*create("r")).code == 0
    file = home / "workspace.sqlite"
    with sqlite3.connect(file) as database:
        database.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    database.close()
    assert spawn(*words).is_clear_error("version 9999", "hint: pip install --upgrade promptflow")
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT name FROM runs").fetchall() == [("r",)]
    database.close()


def test_a_workspace_that_is_no_database_is_left_alone(home: Path, spawn: Pf) -> None:
    (home / "workspace.sqlite").write_bytes(b"something else" * 400)
    assert spawn("run", "list").is_clear_error("workspace.sqlite", "not a database", "hint: move it away")
    assert (home / "workspace.sqlite").read_bytes() == b"something else" * 400
    assert spawn("flow", "test", "--flow", "f", "--inputs", "x=1").code == 0


def test_a_file_in_the_place_of_the_workspace(folder: Path, spawn: Pf) -> None:
    (folder / "file").write_text("mine")
    told = spawn("run", "list", PF_HOME_DIRECTORY=str(folder / "file"))
    assert told.is_clear_error("Cannot create the folder", "a file is in its place", "hint:")
    assert spawn("flow", "test", "--flow", "f", "--inputs", "x=1", PF_HOME_DIRECTORY=str(folder / "file")).code == 0


@pytest.mark.parametrize("url", ["mysql://x", "nonsense", "postgresql://u:SECRET@127.0.0.1:1/x"])
def test_a_database_url_that_is_none(spawn: Pf, url: str) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    told = spawn("run", "list", PF_DATABASE_URL=url)
    assert told.is_clear_error("PF_DATABASE_URL")
    assert "SECRET" not in told.err


@AS_ROOT_ON_LINUX
def test_a_read_only_workspace_still_tests_flows(small_disk: Path, spawn: Pf) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    there = {"PF_HOME_DIRECTORY": str(small_disk / "home")}
    assert spawn("flow", "test", "--flow", "f", "--inputs", "x=1", **there).json() == {"o": "1"}
    for words in (["run", "list"], create("r"), ["config", "set", "trace.destination=none"]):
        assert spawn(*words, **there).is_clear_error("read-only", "hint: set PF_HOME_DIRECTORY")


@AS_ROOT_ON_LINUX
def test_a_disk_that_fills_up_during_a_run(folder: Path, small_disk: Path, spawn: Pf) -> None:
    flow(folder / "f", "return x * 50_000")
    rows(folder / "d.jsonl", *[str(n % 10) for n in range(60)])
    home = small_disk / "home"
    there = {"PF_HOME_DIRECTORY": str(home)}
    assert spawn(*create("full"), "--no-progress", **there).is_clear_error("disk", "hint: ")
    subprocess.run(["mount", "-o", "remount,size=60m", small_disk], check=True)
    kept = outputs(home, "full")
    assert 0 < len(kept) < 60
    assert all(row["o"] == str(row["line_number"] % 10) * 50_000 for row in kept)
    resumed = spawn("run", "resume", "full", **there)
    assert resumed.code == 0 and "reused" in resumed.err
    assert [row["line_number"] for row in outputs(home, "full")] == list(range(60))


def test_postgresql_goes_away_during_a_run(folder: Path, home: Path, spawn: Pf) -> None:
    pytest.importorskip("psycopg")
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL on this machine")
    flow(folder / "f", f"open(r'{folder}/started', 'w').close()\ntime.sleep(0.3)\nreturn x")
    rows(folder / "d.jsonl", *map(str, range(12)))
    server = Server(binaries)
    server.start()
    try:
        there = {"PF_DATABASE_URL": server.new_database()}
        running = subprocess.Popen(
            command(*create("r")), cwd=folder, env={**os.environ, **there}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not (folder / "started").exists():
            assert running.poll() is None
            time.sleep(0.02)
        server.stop()
        _, error = running.communicate(timeout=60)
        assert running.returncode == 1
        assert "Cannot reach the workspace database" in error and "pf run resume r" in error
        assert "Traceback" not in error
        assert [row["line_number"] for row in outputs(home, "r")] == list(range(12))
        server.start()
        (folder / "started").unlink()
        assert spawn("run", "resume", "r", **there).code == 0
        assert not (folder / "started").exists()  # nothing ran twice
        assert len(outputs(home, "r")) == 12
        assert [run["status"] for run in spawn("run", "list", **there).json()] == ["Completed"]
    finally:
        server.remove()


@pytest.mark.parametrize("name", ["a/b", "../up", ".", "a\nb", "@latest", "-x", "n" * 300])
def test_names_of_runs_that_are_none(home: Path, pf: Pf, name: str) -> None:
    words = ["run", "create", "--flow", "f", "--data", "d.jsonl", f"--name={name}"]
    assert pf(*words).code == 1
    assert pf("run", "list").json() == []
    assert not list(home.glob(".runs/*"))


@pytest.mark.parametrize("name", ["ünï名", "a b", "n" * 200, "per%20cent", "$HOME"])
def test_names_of_runs_that_are_odd(home: Path, pf: Pf, name: str) -> None:
    assert pf(*create(name)).code == 0
    assert pf("run", "show", "-n", name).json()["name"] == name
    assert run_folder(home, name).is_dir()
    assert pf("run", "delete", "-n", name, "-y").code == 0
