from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from promptflow.exceptions import SecretError, WorkspaceError
from promptflow.workspace import Workspace

VALUE = "sk-very-secret-é\ud800"


def test_a_secret_is_kept_encrypted(workspace: Workspace) -> None:
    workspace.secrets.set("openai", VALUE)
    assert workspace.secrets.get("openai") == VALUE
    with workspace.db.read() as connection:
        stored = connection.execute(text("SELECT value FROM secrets")).scalar_one()
    assert "secret" not in stored


def test_secrets_are_listed_by_name_replaced_and_deleted(workspace: Workspace) -> None:
    workspace.secrets.set("b", "1")
    workspace.secrets.set("a", "1")
    workspace.secrets.set("b", "2")
    assert workspace.secrets.names() == ["a", "b"]
    assert workspace.secrets.get("b") == "2"
    assert workspace.secrets.delete("b")
    assert not workspace.secrets.delete("b")
    assert workspace.secrets.get("b") is None


def test_the_key_file_is_the_users_alone(home: Path) -> None:
    Workspace.open(home, "").secrets.encrypt("x")
    assert stat.S_IMODE((home / "secret.key").stat().st_mode) == 0o600


def test_the_key_is_neither_made_nor_changed_by_reading(home: Path) -> None:
    with pytest.raises(SecretError, match="cannot be read"):
        Workspace.open(home, "").secrets.decrypt("gAAAA")
    assert not (home / "secret.key").exists()


@pytest.mark.parametrize(
    "key", ["a passphrase", Fernet.generate_key().decode(), "  padded  ", "é"], ids=["words", "key", "padded", "accent"]
)
def test_a_key_in_the_environment_opens_what_it_closed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("PF_SECRET_KEY", key)
    token = Workspace.open(home, "").secrets.encrypt(VALUE)
    assert Workspace.open(tmp_path / "another machine", "").secrets.decrypt(token) == VALUE
    assert not (home / "secret.key").exists()


def test_another_key_is_an_error_that_shows_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Workspace.open(home, "").secrets
    token = secrets.encrypt(VALUE)
    monkeypatch.setenv("PF_SECRET_KEY", "another passphrase")
    with pytest.raises(SecretError, match="another key") as caught:
        secrets.decrypt(token)
    shown = f"{caught.value}{caught.value.hint}{secrets!r}{Workspace.open(home)!r}"
    assert not any(text in shown for text in ("passphrase", "very-secret", token))


@pytest.mark.parametrize("content", ["", "short", "x" * 44])
def test_a_broken_key_file_is_never_replaced(home: Path, content: str) -> None:
    (home / "secret.key").write_text(content)
    with pytest.raises(SecretError, match="does not hold a key"):
        Workspace.open(home, "").secrets.encrypt("x")
    assert (home / "secret.key").read_text() == content


@pytest.mark.parametrize("token", ["", "plain text", "é", "gAAAAA=="])
def test_what_is_not_encrypted_is_an_error(home: Path, token: str) -> None:
    secrets = Workspace.open(home, "").secrets
    secrets.encrypt("x")
    with pytest.raises(SecretError):
        secrets.decrypt(token)


def test_processes_that_start_together_agree_on_one_key(home: Path, start_python: Callable[..., object]) -> None:
    code = "from promptflow.workspace import Workspace; print(Workspace.open().secrets.encrypt('x'))"
    makers = [start_python(code) for _ in range(5)]
    outputs = [maker.communicate(timeout=60) for maker in makers]  # type: ignore[attr-defined]
    secrets = Workspace.open(home, "").secrets
    assert [(secrets.decrypt(token.strip()), errors) for token, errors in outputs] == [("x", "")] * 5


def test_a_key_that_cannot_be_written_is_an_error_and_leaves_none(small_disk: Path) -> None:
    with pytest.raises(OSError), (small_disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(WorkspaceError, match="disk is full"):
        Workspace.open(small_disk, "").secrets.encrypt("x")
    assert not (small_disk / "secret.key").exists()
