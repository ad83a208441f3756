from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import promptflow
from tests.promptflow.cli.conftest import Pf


def states(pf: Pf) -> tuple[int, dict[str, str], str]:
    """(exit code, worst state by check, everything that was said)."""
    code, out, err = pf("doctor", "-o", "json")
    found: dict[str, str] = {}
    order = ["ok", "note", "warning", "error"]
    for check in json.loads(out):
        found[check["name"]] = max(found.get(check["name"], "ok"), check["state"], key=order.index)
    return code, found, out


def test_a_sound_workspace(pf: Pf, project: Path) -> None:
    assert states(pf)[0] == 0
    pf("run", "create", "--flow", "f", "--data", "good.jsonl")
    (project / "c.yaml").write_text("name: c\ntype: custom\nsecrets: {a: b}\n", encoding="utf-8")
    pf("connection", "create", "-f", "c.yaml")
    code, found, said = states(pf)
    assert code == 0
    assert {name for name, state in found.items() if state in ("warning", "error")} == set()
    code, out, err = pf("doctor")
    assert (code, err.strip()) == (0, "all is well")


def test_a_key_file_that_holds_no_key(pf: Pf, home: Path) -> None:
    (home / "secret.key").write_text("rubbish", encoding="utf-8")
    (home / "secret.key").chmod(0o600)
    code, found, said = states(pf)
    assert (code, found["key"]) == (1, "error")


def test_a_key_file_that_others_can_read(pf: Pf, project: Path, home: Path) -> None:
    (project / "c.yaml").write_text("name: c\ntype: custom\nsecrets: {a: b}\n", encoding="utf-8")
    pf("connection", "create", "-f", "c.yaml")
    (home / "secret.key").chmod(0o644)
    code, found, said = states(pf)
    assert (code, found["key"]) == (1, "error")
    assert f"chmod 600 {home / 'secret.key'}" in said


def test_secrets_of_another_key(pf: Pf, project: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "c.yaml").write_text("name: c\ntype: custom\nsecrets: {a: b}\n", encoding="utf-8")
    pf("connection", "create", "-f", "c.yaml")
    monkeypatch.setenv("PF_SECRET_KEY", "another passphrase")
    code, found, said = states(pf)
    assert (code, found["secrets"]) == (1, "error")
    assert "connection c" in said


def test_an_unreachable_database_is_named_without_its_password(pf: Pf, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("PF_DATABASE_URL", "postgresql://me:hushhush@127.0.0.1:1/db")
    code, found, said = states(pf)
    assert (code, found["database"]) == (1, "error")
    assert "hushhush" not in said


def test_a_workspace_of_a_newer_version(pf: Pf, project: Path, home: Path) -> None:
    pf("run", "list")
    connection = sqlite3.connect(home / "workspace.sqlite")
    table = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%version%'").fetchone()[0]
    connection.execute(f"UPDATE {table} SET version_num = '9999'")
    connection.commit()
    connection.close()
    code, found, said = states(pf)
    assert (code, found["database"]) == (1, "error")
    assert "pip install --upgrade promptflow" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(pf: Pf, home: Path) -> None:
    home.chmod(0o500)
    try:
        assert states(pf)[1]["folder"] == "error"
    finally:
        home.chmod(0o700)


def test_a_workspace_that_is_a_file(pf: Pf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    monkeypatch.setenv("PF_HOME_DIRECTORY", str(tmp_path / "file"))
    code, found, said = states(pf)
    assert (code, found["folder"]) == (1, "error")


def test_connections_of_promptflow_1_are_named(pf: Pf, home: Path) -> None:
    connection = sqlite3.connect(home / "pf.sqlite")
    connection.execute("CREATE TABLE connection (connectionName TEXT PRIMARY KEY)")
    connection.execute("INSERT INTO connection VALUES ('old_one')")
    connection.commit()
    connection.close()
    code, found, said = states(pf)
    assert (code, found["predecessor"]) == (0, "note")
    assert "old_one" in said


def distribution(site: Path, name: str, version: str) -> None:
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


def test_the_packages_of_microsoft_are_named_with_the_fix(
    pf: Pf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "promptflow-core", "1.18.5")
    distribution(tmp_path, "promptflow-azure", "1.18.5")
    monkeypatch.syspath_prepend(tmp_path)
    code, found, said = states(pf)
    assert (code, found["packages"]) == (1, "error")
    assert "promptflow-core 1.18.5, promptflow-azure 1.18.5" in said
    assert "pip uninstall -y promptflow-core promptflow-azure" in said


def test_even_when_they_have_overwritten_our_files(tmp_path: Path) -> None:
    copied = tmp_path / "site" / "promptflow"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(promptflow.__file__ or "").parent, copied, ignore=ignored)
    (copied / "exceptions.py").write_text("class PromptflowException(Exception): ...\n", encoding="utf-8")
    distribution(tmp_path / "site", "promptflow-core", "1.18.5")
    done = subprocess.run(
        [sys.executable, "-m", "promptflow.cli.main", "doctor"], cwd=tmp_path / "site", capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: promptflow-core 1.18.5: from Microsoft")
    assert "pip uninstall -y promptflow-core" in done.stderr
