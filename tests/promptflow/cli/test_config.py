from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.promptflow.cli.conftest import Pf


def test_settings_are_shown_as_pf_yaml_has_them(pf: Pf, project: Path) -> None:
    assert pf("config", "set", "trace.destination=none", "telemetry.enabled=false")[0] == 0
    found = json.loads(pf("config", "show")[1])
    assert found == {"trace": {"destination": "none"}, "telemetry": {"enabled": False}}


def test_the_origin_of_what_counts(pf: Pf, project: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pf("config", "set", "trace.destination=none", "user_agent=me")
    pf("config", "set", "trace.destination=local", "--path", str(project))
    monkeypatch.setenv("PF_USER_AGENT", "mine")
    rows = {row["key"]: row for row in json.loads(pf("config", "show", "--origin")[1])}
    assert rows["trace.destination"]["origin"] == str(project / "pf.yaml")
    assert (rows["user_agent"]["value"], rows["user_agent"]["origin"]) == ("mine", "$PF_USER_AGENT")


def test_an_unknown_setting_is_kept_with_a_warning(pf: Pf, project: Path) -> None:
    code, out, err = pf("config", "set", "trace.destnation=none")
    assert code == 0
    assert "warning: trace.destnation" in err


@pytest.mark.parametrize(
    ("words", "code"), [(["trace.destination=moon"], 1), (["a=1", "--path", "nowhere"], 2), (["novalue"], 2), ([], 2)]
)
def test_what_cannot_be_set(pf: Pf, project: Path, words: list[str], code: int) -> None:
    assert pf("config", "set", *words)[0] == code
