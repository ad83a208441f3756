from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.promptflow.cli.conftest import Pf

CUSTOM = "name: mine\ntype: custom\nconfigs: {a: '1'}\nsecrets: {b: hush}\n"
OPENAI = "name: oa\ntype: open_ai\napi_key: <user-input>\n"


@pytest.fixture
def files(project: Path) -> Path:
    (project / "custom.yaml").write_text(CUSTOM, encoding="utf-8")
    (project / "openai.yaml").write_text(OPENAI, encoding="utf-8")
    return project


def test_secrets_are_never_shown(pf: Pf, files: Path, home: Path) -> None:
    code, out, err = pf(
        "connection", "create", "-f", "custom.yaml", "--set", "configs.a=7", "secrets.b=hush", "-n", "other"
    )
    made = json.loads(out)
    assert code == 0
    assert (made["name"], made["configs"], made["secrets"]) == ("other", {"a": "7"}, {"b": "******"})
    shown = pf("connection", "show", "-n", "oth")[1] + pf("connection", "list")[1]
    assert "hush" not in shown
    assert all(b"hush" not in file.read_bytes() for file in home.rglob("*") if file.is_file())


def test_a_secret_is_asked_for_on_a_terminal_only(pf: Pf, files: Path) -> None:
    code, out, err = pf("connection", "create", "-f", "openai.yaml")
    assert code == 1
    assert "hint: add --set api_key=..." in err
    assert pf("connection", "create", "-f", "openai.yaml", "--set", "api_key=k")[0] == 0


def test_a_model_of_this_machine_gets_a_name(pf: Pf, files: Path) -> None:
    code, out, err = pf("connection", "create", "--from-model", "builtin/intent-mini", "-n", "small")
    made = json.loads(out)
    assert (code, made["name"], made["type"], made["model"]) == (0, "small", "local", "builtin/intent-mini")
    code, out, err = pf("connection", "create", "--from-model", "builtin/nope")
    assert code == 1 and "No model called builtin/nope" in err
    assert pf("connection", "create", "--from-model", "builtin/intent-mini", "-f", "custom.yaml")[0] == 2


def test_an_update_keeps_the_secrets_that_are_not_given(pf: Pf, files: Path) -> None:
    pf("connection", "create", "-f", "openai.yaml", "--set", "api_key=k")
    updated = json.loads(pf("connection", "update", "-n", "oa", "--set", "base_url=http://127.0.0.1:1")[1])
    assert (updated["base_url"], updated["api_key"]) == ("http://127.0.0.1:1", "******")
    code, out, err = pf("connection", "update", "-n", "oa", "--set", "base_ulr=x")
    assert (code, "did you mean base_url?" in err) == (2, True)


def test_a_connection_from_dotenv(pf: Pf, files: Path) -> None:
    (files / "keys.env").write_text("KEY=v\n", encoding="utf-8")
    assert json.loads(pf("connection", "create", "-f", "keys.env", "-n", "env")[1])["secrets"] == {"KEY": "******"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: q\ntype: azure_open_ai\n", "lacks"),
        ("name: q\ntype: banana\n", "not supported"),
        ("type: custom\nsecrets: {a: b}\n", "has no name"),
        ("a\n", "mapping"),
    ],
)
def test_a_bad_file_is_exit_1(pf: Pf, files: Path, text: str, problem: str) -> None:
    (files / "bad.yaml").write_text(text, encoding="utf-8")
    code, out, err = pf("connection", "create", "-f", "bad.yaml")
    assert (code, out) == (1, "")
    assert problem in err


def test_deleting_needs_a_yes_and_a_whole_name(pf: Pf, files: Path) -> None:
    pf("connection", "create", "-f", "custom.yaml")
    assert pf("connection", "delete", "-n", "mine")[0] == 2
    assert pf("connection", "delete", "-n", "mi", "-y")[0] == 2
    assert pf("connection", "delete", "-n", "mine", "-y")[0] == 0
    assert json.loads(pf("connection", "list")[1]) == []
