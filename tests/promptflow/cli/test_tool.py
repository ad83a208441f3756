from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.promptflow.cli.conftest import Pf


def test_a_tool_file(pf: Pf, project: Path) -> None:
    assert pf("tool", "init", "--tool", "shout")[0] == 0
    assert pf("tool", "validate", "--source", "shout.py")[0] == 0
    assert pf("tool", "init", "--tool", "shout")[0] == 1


def test_a_package_of_tools(pf: Pf, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = pf("tool", "init", "--package", "my_shouting", "--tool", "shout", "--set", "category=text")
    assert code == 0
    package = project / "my_shouting"
    assert "category: text" in (package / "my_shouting" / "yamls" / "shout.yaml").read_text()
    monkeypatch.syspath_prepend(package)
    try:
        for source in ("my_shouting.shout", "my_shouting.shout.shout"):
            assert pf("tool", "validate", "--source", source)[0] == 0
    finally:
        for name in [name for name in sys.modules if name.startswith("my_shouting")]:
            del sys.modules[name]


def test_tools_of_the_environment_and_of_a_flow(pf: Pf, project: Path) -> None:
    found = json.loads(pf("tool", "list", "--flow", "f")[1])
    assert "promptflow.tools.llm.llm" in found["package"]
    assert found["code"]["a.py"]["function"] == "echo"
    assert "promptflow.tools.embedding.embedding" in pf("tool", "list", "-o", "quiet")[1].split()


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["init", "--tool", "1x"], 2, "no Python name"),
        (["init", "--tool", "x", "--set", "a=b"], 2, "add --package"),
        (["validate", "--source", "none.py"], 1, "there is no file"),
        (["validate", "--source", "no_such_module"], 1, "no module is called"),
        (["validate", "--source", "json"], 1, "holds no tools"),
        (["validate", "--source", "empty.py"], 1, ""),
    ],
)
def test_what_is_no_tool(pf: Pf, project: Path, words: list[str], code: int, problem: str) -> None:
    (project / "empty.py").write_text("x = 1\n", encoding="utf-8")
    found, out, err = pf("tool", *words)
    assert found == code
    assert problem in err
